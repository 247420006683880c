// Package replication is the engine: it stores definitions, checks them against the source,
// and runs them.
//
//	structure sync -> extraction -> load -> bookmark
//
// One worker leads a run; its session holds the replication's lock. It makes a unit of work
// of each table. Workers claim units from the catalog, each through a connection of its own
// to both sides, as many as both servers' max_connections allow (run.go, worker.go). Workers
// know of each other through the catalog alone, and may belong to several processes. The
// engine divides a large table that is read whole into ranges of its pages, read in one
// exported snapshot (ranges.go). It divides a large backlog of INCREMENTAL into chunks by its
// key (chunks.go).
//
// Each table goes one way, down these functions (sync.go, and the files named here):
//
//	tablesync.SyncTable -> copyWithRetry -> attempt -> inSnapshot -> planAndLoad
//	facts      prepare: destination.lock -> source.OpenSnapshot (facts.go)
//	decision   plan: decide (plan.go), and what it leaves open is asked of the snapshot (facts.go)
//	effects    alter, then facts again; load (chunks.go) or loadRanges (ranges.go)
//	           -> commit -> relay -> merge -> verify -> bookmark -> COMMIT (commit.go)
//
// The types say what is valid for how long. A job is a run's; sessions and the queue are a
// worker's; a tableSync is a table's, over all attempts; a reading, its facts and the plan
// end with a snapshot; a loading ends with a commit. Facts and plans are values that no code
// changes once they are made. The code that reads a source, the code that writes a
// destination and the code that joins them are in files of their own (arrows_test.go).
//
// The package guarantees:
//
//   - Rows, bookmark and loading report of a table, or of a chunk, commit in one transaction
//     of the destination, which also ends the unit. A crash repeats work; it never skips or
//     doubles a row. A worker whose unit another attempt or another run has taken over cannot
//     commit. If a COMMIT gets no reply, the worker asks the destination whether it took
//     place (commit.go, sync.go).
//   - A run ends by what the catalog says: when each of its units is done, by whatever
//     process, with the reports that are there. No worker waits for one that died: others
//     claim its units again, a few times. Without a leader no worker begins another table
//     (worker.go, outcome.go, catalog/lease.go).
//   - A run finds rows that are committed late, with a replication key before the bookmark,
//     within the late-commit window, by the index on the key and without further privileges
//     (source_late_commits.go, source_key_range.go). Where rows do not tell which transaction
//     wrote them - views, foreign tables, other storage - the report says that late rows are
//     missed.
//   - A run reads rows before a bookmark again when they hold what was never loaded: another
//     database, table, key or column (plan.go). It does so too when the table in the
//     destination is not the one that the last commit left (target_age.go), when the source
//     has gone back in time or may have (source_age.go), and when stored values read
//     otherwise than before (meaning.go).
//   - The structure that a run reads is that of the rows. It locks tables against changes of
//     their structure before it takes the snapshot. Where a login or the lock table does not
//     allow that, it compares the structure that the snapshot shows with the one after it
//     (source_snapshot.go).
//   - The destination has one row for all keys that the source takes for the same, however
//     they are written (same_key.go).
//   - A comparison after loading tells rows that are missing from rows that a method keeps
//     (verify.go, partners.go).
//   - No code of other roles decides what is read. Each transaction at the source writes
//     nothing and pins role, path and settings, whatever the functions of views did to the
//     session before (source_session.go). Output functions write values, and the index's
//     operators compare them (columns.go, merge.go). Units of work are values, which the
//     definition must name (ranges.go).
//   - A run locks the target before it takes the snapshot, waits for a lock on a table for no
//     longer than two seconds at a time, and ends a snapshot in the time that the definition
//     allows (destination_lock.go, lock.go, snapshot_age.go).
//   - Row-level security is an error. The settings of a login neither cut a run short nor
//     change what is loaded. A run refuses another cluster than before until the definition
//     accepts it; servers behind a load balancer do not share a run (session_settings.go,
//     run.go, source_session.go).
//   - Rows cross as COPY and are never decoded: bytes go from one connection to the other, in
//     bounded memory whatever the rows are and whatever else servers send. Both ends must
//     count the same number of rows (relay.go, wire.go).
//   - A column arrives in its own type wherever the destination has it, and as text where it
//     does not. A table crosses in binary form, or in text form where a type's binary form
//     could mean something else (columns.go).
//   - Readers of the destination see all of a load or nothing of it. A load takes no lock
//     that blocks them, except for a table that gets another primary key. Structure changes
//     commit alone before it, with bounded waits (destination_lock.go, layout.go).
//   - Readers that a definition names may read a table from the moment it exists, and not
//     before, even if the readers change during the load. No load fails because a reader
//     cannot be granted access (readers.go, access.go).
//   - A table that exists is loaded by comparison: rows that are the same are not rewritten
//     and, with FULL_TABLE, rows that are gone are deleted. The cost is an unlogged staging
//     table and a join at the destination. In return, views, indexes and grants on the table
//     stay, and a load of unchanged rows writes next to nothing (merge.go).
//   - Transient errors - a conflict with a standby's recovery, a deadlock, a lost connection
//   - are retried, a few times. One table's failure does not stop the others. A cancelled
//     run keeps what it committed and reports that it was interrupted (sync.go, run.go).
//
// The package has these limits. INCREMENTAL does not notice rows that are deleted at the
// source. A key that is not a time and was set far ahead of the others hides the rows that
// follow it, once the window has passed. A table that was emptied by DELETE and filled again
// beyond its bookmark looks like one that grew: of its new rows, a run misses those with keys
// before the window.
package replication
