// Package session is what the sessions of a run have in common, at the source and at the
// destination: their settings, how they wait for locks, and how they write SQL.
//
// It guarantees:
//
//   - The settings of a login neither cut a run short nor change what is loaded. Row-level
//     security, which would leave rows out silently, becomes an error. A session is pinned by
//     statements that resolve no name and run no code of other roles (settings.go).
//   - A session whose client is gone ends within a minute or so, with its locks (settings.go).
//   - A statement that waits for a lock on a table gives way after two seconds at a time. The
//     wait as a whole has an end, and its error names who holds the lock (lock.go).
//   - An error of a function that does not find what it names says how to let it
//     (path_advice.go).
package session
