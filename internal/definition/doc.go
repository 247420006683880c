// Package definition says what a replication is, and what may be wrong with it. It reads
// nothing and connects to nothing.
//
// It guarantees:
//
//   - What can be wrong with a definition is found without a server, or from the structure of
//     the source's tables: each problem names the table and the attribute, and says what to do
//     (check.go).
//   - A revision is a hash of all that changes rows at the destination, and of nothing else
//     (definition.go).
//   - Two tables of a definition never have the same name in the destination, and none has a
//     name or a column of the engine's own (check.go, system_columns.go).
//   - A table that the definition does not name has no name at the source. The engine asks here
//     for each name that it reads (check.go).
package definition
