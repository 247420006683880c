// Package syncrun runs replications, and says what runs did.
//
//	structure sync -> extraction -> load -> bookmark
//
// One worker leads a run; its session holds the replication's lock. It makes a unit of work of
// each table (run.go). Workers claim units from the catalog, each through a connection of its
// own to both sides, as many as both servers' max_connections allow (worker.go). Workers know
// of each other through the catalog alone, and may belong to several processes. What a worker
// does with a unit is the business of package tablesync.
//
// The package guarantees:
//
//   - A run ends by what the catalog says: when each of its units is done, by whatever
//     process, with the reports that are there. No worker waits for one that died: others
//     claim its units again, a few times. Without a leader no worker begins another table
//     (worker.go, outcome.go, catalog/lease.go).
//   - A run refuses another cluster than before until the definition accepts it, and a
//     definition that was changed while it began (run.go).
//   - One table's failure does not stop the others. A cancelled run keeps what it committed
//     and reports that it was interrupted (outcome.go). A run that could not begin is recorded
//     too (failed_start.go).
//   - A fault of the engine ends one worker, not the process (worker.go).
//   - What the last run did is read back as the catalog has it (recorded.go).
//
// It has these limits. INCREMENTAL does not notice rows that are deleted at the source. A key
// that is not a time and was set far ahead of the others hides the rows that follow it, once
// the window has passed. A table that was emptied by DELETE and filled again beyond its
// bookmark looks like one that grew: of its new rows, a run misses those with keys before the
// window.
//
// The tests of this package are stories: real runs between real servers, of whatever the
// packages below promise (env_test.go).
package syncrun
