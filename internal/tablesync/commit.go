package tablesync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// commit runs load in a transaction of the destination that ends with the rows, the bookmark
// after them and the report.
func (s *tableSync) commit(ctx context.Context, unit catalog.Unit, r reading, p plan, c chunk, load func(destination.Loading) (copyResult, error)) error {
	tx, began, err := s.targetTx(ctx, r, p, c)
	if err != nil {
		return err
	}
	defer session.Rollback(ctx, tx)
	report := s.report // the report as it is, should this commit fail
	m, err := load(destination.Loading{Tx: tx, Plan: p.mergePlan(c.rows)})
	if err != nil {
		return err
	}
	bookmark := s.bookmarkAfter(r.facts, p, c)
	addCopyResult(&report, m, bookmark)
	report.Snapshot = max(report.Snapshot, r.snapshot.Age())
	report.Status = catalog.Interrupted // until the last chunk
	if c.last {
		report.Status = catalog.Succeeded
		dropped, err := s.reconcile(ctx, tx, unit, r, p, &report)
		if err != nil {
			return err
		}
		m.loadResult.Grown -= dropped
	}
	if c.inRanges || r.facts.source.Unlocked {
		if same, err := r.snapshot.SamePartitions(ctx, c.inRanges); err != nil || !same {
			return cmp.Or[error](err, errPartitionsChanged)
		}
	}
	if err := s.grantToReaders(ctx, tx, r.facts.target, p, &report); err != nil {
		return err
	}
	growth, err := s.growth(ctx, tx, p, m.loadResult)
	if err != nil {
		return err
	}
	report.Duration = source.Elapsed(s.began)
	err = pgclient.Send(ctx, tx, "record the load", func(batch *pgx.Batch) {
		catalog.QueueLoadedTable(batch, s.loadedTableAfter(r.facts, p, c, began), s.target.Name.SQL(), growth)
		catalog.QueueBookmark(batch, bookmark)
		catalog.QueueReport(batch, s.job.Run.ID, report)
		if c.last {
			catalog.QueueFinishUnit(batch, unit, report.RowsExtracted, report.Bytes)
		} else {
			catalog.QueueRenewLease(batch, unit)
		}
	})
	if err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		if code := pgclient.Code(err); code == "" || strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57") {
			return &commitUnknownError{fmt.Errorf("commit: %w", err)}
		}
		return fmt.Errorf("commit: %w", err)
	}
	s.report = report
	return nil
}

// addCopyResult adds to a report what a commit moves.
func addCopyResult(report *catalog.Report, m copyResult, bookmark catalog.Bookmark) {
	report.RowsExtracted += m.loadResult.Rows
	report.RowsLoaded += m.loadResult.Changed
	report.Bytes += m.bytes
	report.NullKeys += m.loadResult.NullKeys
	if undone := m.loadResult.Undone; undone > 0 {
		report.Notes = append(slices.Clip(report.Notes), fmt.Sprintf("%d rows were deleted: they were read after the point to which the source has gone back, and the source no longer has them", undone))
	}
	if bookmark.Bookmark != nil {
		report.Bookmark = *bookmark.Bookmark
	}
}

// reconcile makes the rows that were loaded last agree with the source where their values
// alone do not ensure it, and verifies them. It returns how many rows it deleted for that.
func (s *tableSync) reconcile(ctx context.Context, tx pgx.Tx, unit catalog.Unit, r reading, p plan, report *catalog.Report) (dropped int64, err error) {
	if report.RowsLoaded > 0 && p.comparesKeys() {
		if dropped, err = s.dropSuperseded(ctx, tx, r, p, report); err != nil {
			return 0, err
		}
	}
	report.Verification, err = s.verify(ctx, tx, unit.Verify, r, p)
	return dropped, err
}

// errTargetLocked says that other sessions lock the destination table between two chunks.
var errTargetLocked = errors.New("the table in the destination is locked")

// targetTx returns the transaction that locked the table before the snapshot, once, and
// when it began, by the destination's clock. Later calls return another transaction, in which
// the table must be the same. targetTx fails with errTargetLocked if it would have to hold
// the snapshot while other sessions lock the table, and the snapshot can be given back
// instead.
func (s *tableSync) targetTx(ctx context.Context, r reading, p plan, c chunk) (pgx.Tx, time.Time, error) {
	if tx := r.lock.Detach(); tx != nil {
		return tx, r.facts.target.Now, nil
	}
	maxWait := time.Duration(0)
	if c.inRanges {
		maxWait = session.MaxLockWait
	}
	lock, err := s.sessions.Destination.Relock(ctx, s.target, r.facts.target, p.rows.After != nil, maxWait)
	if !c.inRanges && pgclient.Code(err) == pgclient.LockNotAvailable {
		err = errTargetLocked
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return lock.Detach(), lock.State.Now, nil
}

// grantToReaders ends the load of a table that is new to the replication. It notes a failure
// in the report, and the rows are loaded all the same.
func (s *tableSync) grantToReaders(ctx context.Context, tx pgx.Tx, before destination.TargetState, p plan, report *catalog.Report) error {
	if p.layout.Exists && before.Bookmark != nil {
		return nil
	}
	refused, err := destination.GrantToReaders(ctx, tx, s.target, !p.layout.Exists, len(s.job.Definition.Readers) > 0)
	if refused != nil {
		report.Notes = append(slices.Clip(report.Notes), "not all readers can read the table: "+refused.Error())
	}
	return err
}

// growth returns how a commit has changed the number of rows of the table. For an existing
// table that was merged whole, the counts of earlier commits say nothing, so growth counts
// its rows.
func (s *tableSync) growth(ctx context.Context, tx pgx.Tx, p plan, result destination.LoadResult) (catalog.Growth, error) {
	g := catalog.Growth{Rows: result.Grown, Changed: result.Changed > 0}
	switch {
	case p.rows.After != nil:
	case !p.layout.Exists:
		g.Total = &result.Grown
	case p.full: // each run compares all of it
		g.Total = &result.Rows
	default:
		holds, err := destination.CountRows(ctx, tx, s.target.Name)
		if err != nil {
			return catalog.Growth{}, err
		}
		g.Total, g.Sequence = &holds.Rows, holds.Sequence
	}
	return g, nil
}
