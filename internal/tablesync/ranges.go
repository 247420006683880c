package tablesync

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// ranges returns what several workers may copy at once: the ranges of a large table that is
// read whole, by a run that has several workers.
func (s *tableSync) ranges(f source.Facts, p plan) []source.PageRange {
	if p.rows.After != nil || s.job.Streams < 2 || !f.Storage.IsHeap || f.Major < source.RangesSince {
		return nil
	}
	return f.Storage.Ranges(s.job.RangeBytes)
}

// loadRanges copies ranges into a staging table, each in a transaction of its own. It then
// makes that table the target or merges it, in one transaction.
func (s *tableSync) loadRanges(ctx context.Context, unit catalog.Unit, r reading, p plan, ranges []source.PageRange) error {
	r.lock.Rollback(ctx) // ranges are copied through the same session
	staging := destination.StagingTable(s.target.Name.Schema, unit.ID, unit.Attempt)
	defer s.dropStaging(ctx, unit, staging)
	units, err := s.shareRanges(ctx, unit, r.snapshot, p, ranges)
	if err != nil {
		return err
	}
	err = s.sessions.Destination.In(ctx, func(tx pgx.Tx) error {
		if err := p.layout.CreateStaging(ctx, tx, staging); err != nil {
			return err
		}
		refused, err := destination.RevokeFromReaders(ctx, tx, staging, s.job.Definition.Readers)
		if refused != nil {
			s.note("readers could see the table before it was completely loaded: " + refused.Error())
		}
		if err != nil {
			return err
		}
		if err := catalog.DeleteRanges(ctx, tx, unit.ID); err != nil { // of an earlier attempt
			return err
		}
		return pgclient.Send(ctx, tx, "divide the table", func(batch *pgx.Batch) { catalog.QueueRanges(batch, s.job.Run.ID, unit, units) })
	})
	if err != nil {
		return err
	}
	copied, err := s.copyRanges(ctx, unit, r.facts.source.Table)
	if err != nil {
		return err
	}
	s.closeIfRead(ctx, unit, r.snapshot, p)
	return s.commit(ctx, unit, r, p, chunk{rows: p.rows, last: true, inRanges: true}, func(ld destination.Loading) (copyResult, error) {
		result, err := ld.LoadStaging(ctx, staging, copied.Rows)
		return copyResult{result, copied.Bytes}, err
	})
}

// errPartitionsChanged says that the snapshot did not protect what was read.
var errPartitionsChanged = errors.New("partitions were added or removed while the table was read")

// A rangeError is the error that another worker met in a range.
type rangeError struct{ text, code string }

func (e *rangeError) Error() string { return e.text }

// shareRanges describes ranges for other workers. They share the snapshot, which lasts as
// long as this worker reads.
func (s *tableSync) shareRanges(ctx context.Context, unit catalog.Unit, snap *source.Snapshot, p plan, ranges []source.PageRange) ([]catalog.Range, error) {
	name, err := snap.Export(ctx)
	if err != nil {
		return nil, &copywire.SourceError{Err: err}
	}
	if s.job.MaxSnapshot > 0 {
		s.job.Expiries.Store(name, snap.Began.Add(s.job.MaxSnapshot))
	}
	shared := make([]catalog.Range, len(ranges))
	for i, r := range ranges {
		shared[i] = catalog.Range{Snapshot: name, First: r.First, End: r.End, Attempt: unit.Attempt, Text: p.layout.Text}
	}
	return shared, nil
}

// copyRanges copies ranges of a unit until each is done, and waits for those that other
// workers copy. It copies the ranges of lost workers itself, unless others do.
func (s *tableSync) copyRanges(ctx context.Context, unit catalog.Unit, table relation.Table) (copywire.Copied, error) {
	for {
		next, err := s.queue.Claim(ctx, unit.ID)
		if err == nil {
			if err := (RangeCopier{s.job, s.sessions}).copy(ctx, next, table); err != nil {
				return copywire.Copied{}, err
			}
			continue
		}
		if !errors.Is(err, catalog.ErrNotFound) {
			return copywire.Copied{}, err
		}
		progress, err := s.progress(ctx, unit)
		switch {
		case err != nil:
			return copywire.Copied{}, err
		case progress.Error != "":
			return copywire.Copied{}, &rangeError{progress.Error, progress.Code}
		case progress.Waiting == 0:
			return copywire.Copied{Rows: progress.Rows, Bytes: progress.Bytes}, nil
		}
		if _, err := s.queue.MaintainLeases(ctx, unit.ID); err != nil {
			return copywire.Copied{}, err
		}
		if err := pgclient.Pause(ctx, PollInterval); err != nil {
			return copywire.Copied{}, err
		}
	}
}

// progress reads how many ranges of a unit are done.
func (s *tableSync) progress(ctx context.Context, unit catalog.Unit) (progress catalog.Progress, err error) {
	err = s.sessions.Destination.In(ctx, func(tx pgx.Tx) (err error) {
		progress, err = catalog.ProgressOf(ctx, tx, unit.ID)
		return err
	})
	return progress, err
}

// dropStaging forgets the ranges, and drops the table that they were copied into unless it
// has become the target. If it cannot drop the table, because others still copy into it, the
// next run does.
func (s *tableSync) dropStaging(ctx context.Context, unit catalog.Unit, staging relation.TableName) {
	// Two transactions, because workers lock first the table and then their unit.
	_ = s.sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error { return catalog.DeleteRanges(ctx, tx, unit.ID) })
	_ = s.sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, session.LockTimeoutSQL+"; DROP TABLE IF EXISTS "+staging.SQL())
		return err
	})
}

// A RangeCopier copies ranges of tables. Any worker of a run can have one.
type RangeCopier struct {
	Job      Job
	Sessions *Sessions
}

// CopyInTime copies a range of a table that another worker reads, and stops when the snapshot
// that it shares has become too old.
func (r RangeCopier) CopyInTime(ctx context.Context, unit catalog.Unit) error {
	if r.Job.MaxSnapshot == 0 {
		return r.copyInSnapshot(ctx, unit)
	}
	shared, _ := r.Job.Expiries.Load(unit.Range.Snapshot)
	expiry, ok := shared.(time.Time)
	if !ok { // another process shares it
		expiry = time.Now().Add(r.Job.MaxSnapshot)
	}
	limited, cancel := context.WithDeadlineCause(ctx, expiry, ErrSnapshotAge)
	defer cancel()
	err := r.copyInSnapshot(limited, unit)
	if err != nil && errors.Is(context.Cause(limited), ErrSnapshotAge) {
		return ErrSnapshotAge
	}
	return err
}

var snapshotName = regexp.MustCompile(`^[0-9A-F]+-[0-9A-F]+-[0-9]+$`)

// copyInSnapshot copies a range in the snapshot that it was made for.
func (r RangeCopier) copyInSnapshot(ctx context.Context, unit catalog.Unit) error {
	name, err := r.Job.Definition.SourceTable(unit.Table)
	if err != nil {
		return err
	}
	if !snapshotName.MatchString(unit.Range.Snapshot) {
		return fmt.Errorf("the catalog holds %q, which is not the name of a snapshot", unit.Range.Snapshot)
	}
	tx, table, err := r.Sessions.Source.Session.Join(ctx, unit.Range.Snapshot, name)
	if err != nil {
		return &copywire.SourceError{Err: err}
	}
	defer session.Rollback(ctx, tx)
	return r.copy(ctx, unit, table)
}

// copy copies one range of a table. The source's session is already in the snapshot. What is
// extracted follows from the definition, from the structure of the table, and from that of
// the staging table, which this login has created.
func (r RangeCopier) copy(ctx context.Context, unit catalog.Unit, table relation.Table) error {
	selected := r.Job.Definition.Tables[unit.Table].Selected(table)
	staging := destination.StagingTable(r.Job.Definition.SchemaName, unit.Parent, unit.Range.Attempt)
	from, to := r.Sessions.Source.Conn, r.Sessions.Destination.Conn
	return r.Sessions.Destination.In(ctx, func(tx pgx.Tx) error {
		money, err := fractionsOf(ctx, selected, from.Conn, tx)
		if err != nil {
			return err
		}
		columns := destination.ExtractedColumns(selected, r.Sessions.Destination.Types, pgclient.Version(from.Conn), pgclient.Version(to.Conn), money)
		l, err := destination.LockStaging(ctx, tx, staging, columns)
		if err != nil {
			return err
		}
		l.Text = unit.Range.Text
		condition := source.PageRange{First: unit.Range.First, End: unit.Range.End}.Condition()
		copyOut := source.CopyOutSQL(table.Name, l.ExtractList(), l.Format(), condition)
		c, err := copywire.Relay(ctx, from.PgConn(), copyOut, to.PgConn(), l.CopyInSQL(staging.SQL()))
		if err != nil {
			return err
		}
		return pgclient.Send(ctx, tx, "record that a range was copied", func(batch *pgx.Batch) { catalog.QueueFinishUnit(batch, unit, c.Rows, c.Bytes) })
	})
}
