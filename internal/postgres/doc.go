// Package postgres manages what is on a PostgreSQL server: database users, databases and
// schemas. Package privilege manages who may do what there, and package pgclient reaches the
// server.
//
// It guarantees:
//
//   - An exported function is one transaction, except where PostgreSQL forbids
//     it (CREATE and DROP DATABASE). It reads the present state, decides in a pure
//     function what differs, and changes only that.
//   - A password reaches a server only as a SCRAM-SHA-256 verifier, or as an MD5 one
//     if the configuration asks for it (scram.go, user_password.go).
//   - An object that exists already is taken over only if it is what would have been created
//     and has not been used since: what a process that died left behind (user_adopt.go,
//     database_adopt.go, schema_adopt.go).
//   - Nothing that would be lost is dropped unless the configuration allows it: the error
//     lists it (contents.go), what depends on a user (dependents.go), and who is connected
//     (sessions.go).
//   - CREATE DATABASE is waited for to the end, even when it is cancelled. It leaves
//     nothing behind, or the error says what (database_create.go).
package postgres
