// Package pgtest makes fixtures for tests of packages that use pgclient: servers of the sandbox
// as logins see them, databases with contents, and what PostgreSQL reads of quoted text.
package pgtest
