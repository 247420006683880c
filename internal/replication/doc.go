// Package replication is the engine: it stores definitions, checks them against
// the source, and runs them.
//
// A run reads a source and writes a destination, each through one connection:
//
//	structure sync -> extraction -> load -> bookmark
//
// It guarantees:
//
//   - Rows, bookmark and loading report of a table commit in one transaction of
//     the destination, on the session that holds the replication's lock: a
//     crash repeats work and never skips or doubles a row (table.go, run.go).
//   - Rows before a bookmark are read again when they hold what was never
//     loaded: another database, table, key or column (step.go).
//   - The structure read is that of the rows: tables are locked against changes
//     of it before the snapshot is taken (extract.go).
//   - The settings of a login neither cut a run short nor change what is loaded
//     (session.go).
//   - Rows cross as binary COPY and are never decoded: bytes go from one
//     connection to the other, in bounded memory whatever the rows are. Both
//     ends must count the same number of them (relay.go, wire.go).
//   - A column arrives in its own type wherever the destination has it, and as
//     text where it does not (columns.go).
//   - Readers of the destination see all of a load or nothing of it. A load
//     takes no lock that blocks them; structure changes commit alone before it,
//     with bounded waits (load.go, layout.go).
//   - A full-table load of a table that exists is a comparison: rows that are the
//     same are not rewritten, rows that are gone are deleted. It costs a sort or
//     a hash join at the destination, and keeps views, indexes and grants
//     (merge.go).
//   - One table's failure does not stop the others. A cancelled run keeps what
//     it committed and says that it was interrupted (run.go).
//
// What it does not know: a transaction that wrote an older replication key and
// commits after the run that passed it is not found by INCREMENTAL, and neither
// are deletes. Rows whose key is null are extracted by the first run only.
package replication
