package tablesync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// A snapshot holds back VACUUM at the source. The lock that comes with it holds up changes of
// the table's structure, and every session that queues behind those. A definition may bound
// how long a snapshot is held.

// ErrSnapshotAge says that a snapshot was held for longer than the definition allows.
var ErrSnapshotAge = errors.New("the snapshot was held for too long")

// minChunkRows is the smallest number of rows of a backlog that are committed at once.
const minChunkRows = 1000

// A snapshotAgeError says what could not be read in time, and what to do.
type snapshotAgeError struct {
	error
	ordered bool // whether the rows could have been read in chunks
}

func (e *snapshotAgeError) Unwrap() error { return e.error }

// A limitFunc limits the age of a snapshot that began at that time, until stop is called.
type limitFunc = func(began time.Time) (stop func() bool)

// ageLimit returns the age limit of snapshots. A snapshot that reaches it is cancelled by
// tooOld.
func (s *tableSync) ageLimit(tooOld context.CancelCauseFunc) limitFunc {
	return func(began time.Time) (stop func() bool) {
		if s.job.MaxSnapshot == 0 {
			return func() bool { return true }
		}
		return time.AfterFunc(time.Until(began.Add(s.job.MaxSnapshot)), func() { tooOld(ErrSnapshotAge) }).Stop
	}
}

// endSnapshot ends a snapshot, and records in the report how long it was held.
func (s *tableSync) endSnapshot(ctx context.Context, snap *source.Snapshot) {
	snap.Close(ctx)
	s.noteSnapshot(snap)
}

func (s *tableSync) noteSnapshot(snap *source.Snapshot) {
	s.report.Snapshot = max(s.report.Snapshot, snap.Age())
}

// openTransactionsInTime is source.ReadOpenAfterKey with an age limit: it may scan the whole
// table, and holds a snapshot during the scan.
func (s *tableSync) openTransactionsInTime(ctx context.Context, table relation.Table, key source.Key, limit limitFunc) (*source.OpenTransactions, error) {
	began := time.Now()
	defer limit(began)()
	open, err := source.ReadOpenAfterKey(ctx, s.sessions.Source.Session, table, key)
	s.report.Snapshot = max(s.report.Snapshot, source.Elapsed(began))
	if err != nil {
		return nil, &copywire.SourceError{Err: err}
	}
	return open, nil
}

// explainAge says what could not be read in time, and what to do. ordered says whether an
// index orders the rows.
func (s *tableSync) explainAge(ordered bool) error {
	advice := "Raise max_snapshot_minutes, or replicate the table with INCREMENTAL and an indexed replication_key: then runs read it in chunks"
	if s.selection.Method == definition.Incremental {
		advice = "Raise max_snapshot_minutes, or give the replication key an index of its own: then runs read the table in chunks"
	}
	if ordered {
		advice = "Raise max_snapshot_minutes"
	}
	return &snapshotAgeError{
		fmt.Errorf("read %s: %w: max_snapshot_minutes allows %s. Rows that were committed before stay. %s", s.table, ErrSnapshotAge, s.job.MaxSnapshot, advice), ordered,
	}
}

// shrinkChunks makes chunks smaller, and reports whether that can help.
func (s *tableSync) shrinkChunks() bool {
	if s.learned.chunkRows <= minChunkRows {
		return false
	}
	s.learned.chunkRows = max(s.learned.chunkRows/8, minChunkRows)
	return true
}

// dividesFirstLoad reports whether a table that was never loaded is read in chunks: only if a
// snapshot may not be held for as long as reading the whole table takes.
func (s *tableSync) dividesFirstLoad(p plan) bool {
	return s.job.MaxSnapshot > 0 && !p.full && p.rows.After == nil && !p.layout.Exists
}

// tooOldFor reports whether a snapshot that was held for that long would become too old
// during another chunk that takes as long as the last one.
func tooOldFor(held, chunk, limit time.Duration) bool { return limit > 0 && held+chunk > limit }
