// Package postgres speaks to one PostgreSQL server: connections, database
// users, databases, schemas, grants, and the structure of tables.
//
// It guarantees:
//
//   - A server is dialled on first use, never more often than needed, and never
//     with more connections at once than its Config allows; one is enough for
//     everything but a replication within one server (server.go).
//   - Nothing is taken from the environment: no PGHOST, no ~/.pgpass, no
//     fallback to localhost (config.go).
//   - A password reaches a server only as a SCRAM-SHA-256 verifier (scram.go)
//     or inside the login handshake, and appears in no error (config.go).
//   - An exported method is one transaction, except where PostgreSQL forbids
//     it (CREATE and DROP DATABASE); it reads what is there, decides in a pure
//     function what differs, and changes only that.
//   - Changes of rights are made one at a time in a database, and again if others
//     interfered; what a login may not do is said in SQL before anything is
//     changed (rights_lock.go, rights.go).
//   - A membership that it takes to act on what a role owns begins and ends within
//     one transaction, and is never committed (ownership.go).
//   - Names travel raw and are quoted once, by ident (name.go). Values are bound.
//   - An error keeps the server's detail and hint for Explain (errors.go).
package postgres
