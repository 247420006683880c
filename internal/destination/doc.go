// Package destination writes a destination: what a loaded table looks like, how staged rows
// are merged into it, and who may read it. It knows nothing of the session at the source.
//
// It guarantees:
//
//   - A load runs no code of other roles. A loaded table to which others have attached code is
//     refused, and the error names object, code and owner (loaded_table.go). Output functions
//     write values, and the index's operators compare them (columns.go, merge.go).
//   - A column arrives in its own type wherever the destination has it, and as text where it
//     does not. A table crosses in binary form, or in text form where a type's binary form
//     could mean something else (columns.go).
//   - A table that exists is loaded by comparison: rows that are the same are not rewritten
//     and, with FULL_TABLE, rows that are gone are deleted. The cost is an unlogged staging
//     table and a join. In return, views, indexes and grants on the table stay, and a load of
//     unchanged rows writes next to nothing (merge.go, load.go, staging.go).
//   - Readers see all of a load or nothing of it. A load takes no lock that blocks them, except
//     for a table that gets another primary key. Structure changes commit alone before it, with
//     bounded waits (lock.go, layout.go).
//   - Readers that a definition names may read a table from the moment it exists, and not
//     before, even if the readers change during the load. No load fails because a reader cannot
//     be granted access (access.go).
//   - It is noticed when the table is not the one that the last commit left (target_age.go).
//   - Other workers learn from the catalog whether a worker's session lives. Only the session
//     of the leader holds the replication's lock (session.go).
package destination
