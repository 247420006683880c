// Package pgclient reaches a PostgreSQL server as one login. Packages privilege and postgres
// manage what is on the server.
//
// It guarantees:
//
//   - A server is dialled on first use, never more often than needed, and never
//     with more connections at once than its Config allows; one is enough for
//     everything but a replication within one server (server.go, pool.go).
//   - Nothing is taken from the environment: no PGHOST, no ~/.pgpass, no
//     fallback to localhost (config.go).
//   - A server with an SSH host is reached through it and in no other way. Each
//     connection has a tunnel of its own, and TLS is verified against the server's
//     own name (config.go).
//   - Any server may ask for SCRAM-SHA-256, which is bound to its certificate if the server
//     offers that. A server may ask for MD5, SCRAM with few iterations or clear text only if
//     it has proved its identity, or if the entry allows it. No other login method is
//     answered, on any attempt. A server that has not proved its identity must ask for the
//     entry's password: otherwise the login proves nothing either (auth.go).
//   - Until the login is complete, within connect_timeout, a server may send 64 KiB in a
//     message and 1 MiB in all. After that it may send 64 MiB in a message, 1 MiB in an error,
//     and 256 MiB in answer to a request, where each message counts 256 bytes more, plus
//     1 GiB of notices. A larger message is refused before memory is allocated for it. A
//     message that pgconn would not survive is refused, too (limits.go).
//   - In a plan, a server has two minutes to answer what is asked on one connection, and
//     counts as unreachable after that (OnConn, server.go). Otherwise the context decides how
//     long the server may be silent or busy: how long it takes to copy a database or to drop
//     a role is unknown. The wait ends when the context ends (ExecToTheEnd, tx.go).
//   - In a plan, all resources share one reading of what they ask for, for ten seconds or
//     until this process changes something (shared_read.go).
//   - A pool that gives connections no sessions of their own is detected (proxy.go).
//   - A password appears in no error (password_command.go).
//   - Only PostgreSQL's own functions, operators, types and relations are used,
//     whatever other roles create in schemas of the search_path: each session and each
//     transaction pins it to pg_catalog, pg_temp, and each name is written with its
//     schema, except operators of built-in types (settings.go, tx.go).
//   - A statement waits for a lock for two seconds at a time, so that no session waits behind
//     this one for longer, and a bounded number of times (retry.go); the error names the
//     sessions that may hold the lock (refusal.go).
//   - Names are passed unquoted and are quoted once, by Ident (name.go). Values are bound.
//   - An error keeps the server's detail and hint for Explain (errors.go).
package pgclient
