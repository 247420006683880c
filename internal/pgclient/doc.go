// Package pgclient reaches a PostgreSQL server as one login of it: what is managed there
// is the business of packages privilege and postgres.
//
// It guarantees:
//
//   - A server is dialled on first use, never more often than needed, and never
//     with more connections at once than its Config allows; one is enough for
//     everything but a replication within one server (server.go, pool.go).
//   - Nothing is taken from the environment: no PGHOST, no ~/.pgpass, no
//     fallback to localhost (config.go).
//   - A server with an SSH host is reached through it and in no other way, each
//     connection by a tunnel of its own, and TLS is verified against the server's
//     own name (config.go).
//   - A server is answered SCRAM-SHA-256 anywhere, bound to its certificate where it
//     offers that; MD5, SCRAM with few iterations and clear text only where it has
//     proved who it is, or where the entry allows it; and no other way to log in, on
//     no attempt. One that has not proved who it is must ask for the password that
//     the entry has: or else it proves nothing by the login either (auth.go).
//   - A server may send 64 KiB in a message and 1 MiB in all until the login is
//     complete, within connect_timeout; after that 64 MiB in a message, 1 MiB in an error, and
//     256 MiB in answer to a request, where each message counts 256 bytes more, beside
//     1 GiB of notices. What is beyond is refused before room is made for it, and what
//     pgconn would not survive is refused (limits.go).
//   - In a plan, a server has two minutes to answer what is asked on one connection, and
//     counts as unreachable after that (OnConn, server.go). Else how long it may be
//     silent, or go on, is up to the context: nobody knows how long a database takes
//     to copy or a role to drop. When the context ends, so does the wait
//     (ExecToTheEnd, tx.go).
//   - In a plan, all resources share one reading of what they ask for, for ten seconds or
//     until this process changes something (shared_read.go).
//   - A pool that gives connections no sessions of their own is found out (proxy.go).
//   - A password appears in no error (password_command.go).
//   - Only PostgreSQL's own functions, operators, types and relations are used,
//     whatever other roles create in schemas of the search_path: each session and each
//     transaction pins it to pg_catalog, pg_temp, and each name is written with its
//     schema, but for operators of built-in types (settings.go, tx.go).
//   - A lock is waited for two seconds at a time, so that no session waits behind
//     this one for longer, and a bounded number of times (retry.go); the error names the
//     sessions that may hold it (refusal.go).
//   - Names travel raw and are quoted once, by Ident (name.go). Values are bound.
//   - An error keeps the server's detail and hint for Explain (errors.go).
package pgclient
