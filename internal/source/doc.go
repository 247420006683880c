// Package source reads a source: which database it is, what its tables look like, and which
// rows a run must extract. It knows nothing of the destination.
//
// It guarantees:
//
//   - No code of other roles decides what is read. Each transaction writes nothing and pins
//     role, path and settings, whatever the functions of views did to the session before
//     (session.go).
//   - The structure that a run reads is that of the rows. A snapshot locks the table against
//     changes of its structure before it is taken. Where a login or the lock table does not
//     allow that, the structure that the snapshot shows is compared with the one after it
//     (snapshot.go).
//   - All connections of a run read the same server. Servers behind a load balancer do not
//     share a run (session.go, identity.go).
//   - Rows that are committed late, with a replication key before the bookmark, are found
//     within the late-commit window, by the index on the key and without further privileges
//     (late_commits.go, key_range.go, open_transactions.go). Where rows do not tell which
//     transaction wrote them - views, foreign tables, other storage - nothing is promised
//     (storage.go).
//   - It is noticed when the source has gone back in time or may have (age.go), and when
//     stored values read otherwise than before (meaning.go).
//   - Keys that the source takes for the same are compared by the source, however they are
//     written (key_comparison.go).
//   - A range of keys has one meaning for reading, comparing and continuing (key_range.go,
//     questions.go).
package source
