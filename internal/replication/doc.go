// Package replication is the engine: it stores definitions, checks them against
// the source, and runs them.
//
//	structure sync -> extraction -> load -> bookmark
//
// A run is led by one worker, whose session holds the replication's lock. It
// makes a unit of work of each table; workers claim units from the catalog, each
// through a connection of its own to both sides, as many as both servers'
// max_connections allow (run.go, worker.go). Workers know of each other by the
// catalog alone, and may be those of several processes. A large table that is read whole is
// divided into ranges of its pages, read in one exported snapshot (ranges.go). A
// large backlog of INCREMENTAL is divided into chunks by its key (chunks.go).
//
// Each table goes one way, down these functions (sync.go, and where it is said):
//
//	syncTable -> copyWithRetry -> attempt -> inSnapshot -> planAndLoad
//	facts      prepare: destination.lock -> openSnapshot (facts.go)
//	decision   plan: decide (plan.go), and what it leaves open is asked of the snapshot (facts.go)
//	effects    alter, then facts again; load (chunks.go) or loadRanges (ranges.go)
//	           -> commit -> relay -> merge -> verify -> bookmark -> COMMIT (commit.go)
//
// What holds for how long is told by the types. A job is a run's; sessions and the
// queue are a worker's; a tableSync is a table's, over all attempts; a reading, its
// facts and the plan end with a snapshot; a loading ends with a commit. Facts and plans
// are values that nobody writes afterwards. What reads a source, what writes a
// destination and what joins them are files of their own (arrows_test.go).
//
// It guarantees:
//
//   - Rows, bookmark and loading report of a table, or of a chunk, commit in one
//     transaction of the destination, which also ends the unit: a crash repeats
//     work and never skips or doubles a row. A worker whose unit was taken over,
//     by another attempt or another run, cannot commit; whether a COMMIT took
//     place that was not answered is asked for (commit.go, sync.go).
//   - A run ends by what the catalog says: when each of its units is done, by whatever
//     process, with the reports that are there. A worker that dies is not waited for:
//     what it had claimed is claimed again, a few times. Without a leader no further
//     table is begun (worker.go, outcome.go, catalog/lease.go).
//   - Rows that are committed late, with a replication key before the bookmark,
//     are found within the late-commit window, by the index on the key and without
//     further rights (source_late_commits.go, source_key_range.go). Where rows do not tell
//     which transaction wrote them - views, foreign tables, other storage - the
//     report says that they are missed.
//   - Rows before a bookmark are read again when they hold what was never
//     loaded: another database, table, key or column (plan.go). So are they when the
//     table in the destination is not the one that the last commit left (target_age.go),
//     when the source has gone back in time, or that is unknown (source_age.go), and
//     when stored values read otherwise than before (meaning.go).
//   - The structure read is that of the rows: tables are locked against changes
//     of it before the snapshot is taken, or compared with what they are after it,
//     where a login or the lock table does not let them be locked (source_snapshot.go).
//   - The destination has one row for what the source takes for one key, however
//     it is written (same_key.go).
//   - A comparison after loading tells rows that are missing from those that a
//     method keeps (verify.go, partners.go).
//   - Nobody else's code decides what is read. Each transaction at the source writes
//     nothing and pins role, path and settings, after whatever functions of views did
//     to the session before (source_session.go). Values are written by output functions, and
//     compared by operators of the index (columns.go, merge.go). Units of work are
//     values, which the definition must name (ranges.go).
//   - The target is locked before the snapshot is taken, nothing waits for a lock on
//     a table for longer than two seconds at a time, and a snapshot ends in the time
//     that the definition allows (destination_lock.go, lock.go, snapshot_age.go).
//   - Row-level security is an error, and the settings of a login neither cut a
//     run short nor change what is loaded. Another cluster than before is refused
//     until it is accepted; servers behind a load balancer do not share a run
//     (session_settings.go, run.go, source_session.go).
//   - Rows cross as COPY and are never decoded: bytes go from one connection to
//     the other, in bounded memory whatever the rows are and whatever else servers
//     send. Both ends must count the same number of them (relay.go, wire.go).
//   - A column arrives in its own type wherever the destination has it, and as
//     text where it does not. A table crosses in binary form, or in text form
//     where a type's binary form could mean something else (columns.go).
//   - Readers of the destination see all of a load or nothing of it. A load takes
//     no lock that blocks them, but for a table that gets another primary key;
//     structure changes commit alone before it, with bounded waits (destination_lock.go, layout.go).
//   - Readers that a definition names may read a table from the moment that it is
//     there, and not before, also if they are changed meanwhile; no load fails for
//     what they cannot be granted (readers.go, access.go).
//   - A table that exists is loaded by comparison: rows that are the same are not
//     rewritten and, with FULL_TABLE, rows that are gone are deleted. That costs a
//     staging table, which is not logged, and a join at the destination; for it, views,
//     indexes and grants upon the table stay, and a load of what has not changed
//     writes next to nothing (merge.go).
//   - What passes - a conflict with a standby's recovery, a deadlock, a lost
//     connection - is tried again, a few times. One table's failure does not stop
//     the others. A cancelled run keeps what it committed and says that it was
//     interrupted (sync.go, run.go).
//
// What it does not know: rows that are deleted at the source are not missed by
// INCREMENTAL. A key that is no time and was set far ahead of the others hides
// what comes after it, once the window has passed. A table that was emptied by
// DELETE and filled again beyond its bookmark looks like one that grew: of its
// new rows, those with keys before the window are missed.
package replication
