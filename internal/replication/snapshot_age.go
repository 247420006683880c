package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A snapshot holds back VACUUM at the source, and the lock that comes with it holds
// up changes of the table's structure, and whoever queues behind those. A
// definition may say for how long that is.

// errSnapshotAge is met when a snapshot is held for longer than the definition allows.
var errSnapshotAge = errors.New("the snapshot was held for too long")

// leastRows is how many rows of a backlog are committed at once at least.
const leastRows = 1000

// inTime is inSnapshot, which ends when a snapshot has become too old. It is not cut
// short any more once that was given back.
func (c *copying) inTime(ctx context.Context) (done bool, err error) {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.tooOld = func() { cancel(errSnapshotAge) }
	done, err = c.inSnapshot(limited)
	var unknown *commitUnknownError // of which the destination is asked
	if err != nil && errors.Is(context.Cause(limited), errSnapshotAge) && !errors.As(err, &unknown) {
		err = c.explainAge()
	}
	return done, err
}

// limit makes a snapshot that began then become too old, until stop is called.
func (c *copying) limit(began time.Time) (stop func() bool) {
	if c.maxSnapshot == 0 {
		return func() bool { return true }
	}
	return time.AfterFunc(time.Until(began.Add(c.maxSnapshot)), c.tooOld).Stop
}

// endSnapshot ends the extraction, and has the report say for how long it was held.
func (c *copying) endSnapshot(ctx context.Context) {
	c.extraction.close(ctx)
	c.report.Snapshot = max(c.report.Snapshot, c.extraction.held())
}

// surveyInTime is surveyTable, which may look through all of the table, and holds a
// snapshot meanwhile.
func (c *copying) surveyInTime(ctx context.Context, table postgres.Table, key column) (*survey, error) {
	began := time.Now()
	defer c.limit(began)()
	s, err := surveyTable(ctx, c.sessions.source.session, table, key)
	c.report.Snapshot = max(c.report.Snapshot, elapsed(began))
	if err != nil {
		return nil, &sourceError{err}
	}
	return s, nil
}

// copyPartInTime is copyPartInSnapshot, which ends when the snapshot has become too
// old for the worker that shares it.
func (w *worker) copyPartInTime(ctx context.Context, unit catalog.Unit) error {
	if w.maxSnapshot == 0 {
		return w.copyPartInSnapshot(ctx, unit)
	}
	shared, _ := w.expiries.Load(unit.Range.Snapshot)
	expiry, ok := shared.(time.Time)
	if !ok { // another process shares it
		expiry = time.Now().Add(w.maxSnapshot)
	}
	limited, cancel := context.WithDeadlineCause(ctx, expiry, errSnapshotAge)
	defer cancel()
	err := w.copyPartInSnapshot(limited, unit)
	if err != nil && errors.Is(context.Cause(limited), errSnapshotAge) {
		return errSnapshotAge
	}
	return err
}

// explainAge says what could not be read in time, and what to do.
func (c *copying) explainAge() error {
	advice := "raise max_snapshot_minutes, or replicate the table with INCREMENTAL and an indexed replication_key, which is read in pieces"
	if c.selection.Method == Incremental {
		advice = "raise max_snapshot_minutes, or give the replication key an index of its own, by which a table is read in pieces"
	}
	if c.extraction != nil && c.extraction.ordered {
		advice = "raise max_snapshot_minutes"
	}
	return fmt.Errorf("read %s: %w: max_snapshot_minutes allows %s. What was committed before stays; %s", c.unit.Table, errSnapshotAge, c.maxSnapshot, advice)
}

// lessAtOnce makes pieces smaller, and reports whether that can be of use.
func (c *copying) lessAtOnce() bool {
	if c.extraction == nil || !c.extraction.ordered || c.rows <= leastRows {
		return false
	}
	c.rows = max(c.rows/8, leastRows)
	return true
}

// divides reports whether a table that was never loaded is read in pieces: only if
// a snapshot may not be held for as long as all of it takes.
func (c *copying) divides() bool {
	return c.maxSnapshot > 0 && c.selection.Method == Incremental && c.step.window.since == nil && !c.step.layout.exists
}

// tooOldFor reports whether a snapshot that is as old as held would become too old
// in a piece that takes as long as the one before.
func tooOldFor(held, piece, limit time.Duration) bool { return limit > 0 && held+piece > limit }

// LongSnapshots returns the tables of FULL_TABLE that probably take longer to read
// than a snapshot may be held, with how long: from their rows now, and how fast the
// last run that replicated them was.
func LongSnapshots(ctx context.Context, source, destination postgres.Endpoint, d Definition) ([]string, error) {
	last, err := LastRun(ctx, destination, d.SchemaName)
	if err != nil {
		return nil, err
	}
	var relations map[postgres.TableName]postgres.Relation
	err = source.Server.OnConn(ctx, source.Database, func(conn *pgx.Conn) error {
		return postgres.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			relations, err = postgres.ReadRelations(ctx, tx, d.sourceTables(), false)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	var long []string
	for _, r := range last.Tables {
		name, err := d.sourceTable(r.SourceTable)
		if err != nil || d.Tables[r.SourceTable].Method != FullTable {
			continue
		}
		if takes := expectedSnapshot(r, relations[name].Rows); takes > d.maxSnapshot() {
			long = append(long, fmt.Sprintf("%s: about %s", r.SourceTable, takes.Round(time.Second)))
		}
	}
	return long, nil
}

// expectedSnapshot is for how long a snapshot will be held to read so many rows, as
// fast as in the report. Of a table that failed the rate is not known, but it took
// at least as long.
func expectedSnapshot(r catalog.Report, rows int64) time.Duration {
	if r.Status != catalog.Succeeded || r.RowsExtracted == 0 {
		return r.Snapshot
	}
	return time.Duration(float64(r.Snapshot) * max(float64(rows)/float64(r.RowsExtracted), 1))
}
