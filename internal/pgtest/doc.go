// Package pgtest makes fixtures for tests of packages that use pgclient: servers of the sandbox
// as logins see them, and databases with contents.
package pgtest
