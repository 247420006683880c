// Package linux speaks to one Linux host: users and their authorized keys.
package linux
