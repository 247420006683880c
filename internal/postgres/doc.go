// Package postgres manages what is on a PostgreSQL server: database users, databases and
// schemas. Package privilege manages who may do what there, and pgclient is how a server
// is reached.
//
// It guarantees:
//
//   - An exported function is one transaction, except where PostgreSQL forbids
//     it (CREATE and DROP DATABASE); it reads what is there, decides in a pure
//     function what differs, and changes only that.
//   - A password reaches a server only as a SCRAM-SHA-256 verifier, or as an MD5 one
//     where that is asked for (scram.go, user_password.go).
//   - What exists already is taken over only if it is what would have been created and
//     nothing has become of it: what a process that died left (user_adopt.go,
//     database_adopt.go, schema_adopt.go).
//   - What would be lost is not dropped unless that is wanted: the error lists it
//     (contents.go), what depends on a user (dependents.go), and who is connected
//     (sessions.go).
//   - CREATE DATABASE is waited for to the end, also when it is cancelled, and leaves
//     nothing, or says what (database_create.go).
package postgres
