// Package tablesync replicates one table: it reads facts of both sides, decides what to do,
// and carries that out. It is the only package that knows source and destination alike.
//
// Each table goes one way, down these functions (sync.go, and the files named here):
//
//	SyncTable -> copyWithRetry -> attempt -> inSnapshot -> planAndLoad
//	facts      prepare: Destination.Lock -> source.OpenSnapshot (facts.go)
//	decision   plan: decide (plan.go), and what it leaves open is asked of the snapshot (facts.go)
//	effects    alter, then facts again; load (chunks.go) or loadRanges (ranges.go)
//	           -> commit -> copywire.Relay -> merge -> verify -> bookmark -> COMMIT (commit.go)
//
// The types say what is valid for how long. A Job is a run's; Sessions and the Queue are a
// worker's; a tableSync is a table's, over all attempts; a reading, its facts and the plan
// end with a snapshot; a loading ends with a commit. Facts and plans are values that no code
// changes once they are made.
//
// A large table that is read whole is divided into ranges of its pages, read in one exported
// snapshot (ranges.go). A large backlog of INCREMENTAL is divided into chunks by its key
// (chunks.go).
//
// The package guarantees:
//
//   - Rows, bookmark and loading report of a table, or of a chunk, commit in one transaction
//     of the destination, which also ends the unit. A crash repeats work; it never skips or
//     doubles a row. A worker whose unit another attempt or another run has taken over cannot
//     commit. If a COMMIT gets no reply, the worker asks the destination whether it took
//     place (commit.go, sync.go).
//   - Rows before a bookmark are read again when they hold what was never loaded: another
//     database, table, key or column. So they are when the table in the destination is not the
//     one that the last commit left, when the source has gone back in time or may have, and
//     when stored values read otherwise than before (plan.go, plan_reasons.go).
//   - The destination has one row for all keys that the source takes for the same, however
//     they are written (same_key.go).
//   - An amount of money is the same amount on both sides, or the table is refused (money.go).
//   - A comparison after loading tells rows that are missing from rows that a method keeps
//     (verify.go, row_comparison.go).
//   - The target is locked before the snapshot is taken. A snapshot ends in the time that the
//     definition allows (facts.go, snapshot_age.go).
//   - Units of work are values, which the definition must name (ranges.go).
//   - Transient errors - a conflict with a standby's recovery, a deadlock, a lost connection -
//     are retried, a few times (sync.go, sessions.go).
//   - The report says which guarantee is weaker for a table, and why (plan.go). An error says
//     what to do about it (advice.go).
package tablesync
