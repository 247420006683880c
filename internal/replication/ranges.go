package replication

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// ranges returns what several workers may copy at once: the ranges of a large table that is
// read whole, by a run that has several workers.
func (s *tableSync) ranges(f sourceFacts, p plan) []pageRange {
	if p.rows.after != nil || s.job.streams < 2 || !f.storage.isHeap || f.major < rangesSince {
		return nil
	}
	return f.storage.ranges(s.job.rangeBytes)
}

// loadRanges copies ranges into a staging table, each in a transaction of its own. It then
// makes that table the target or merges it, in one transaction.
func (s *tableSync) loadRanges(ctx context.Context, unit catalog.Unit, r reading, p plan, ranges []pageRange) error {
	r.lock.leave(ctx) // ranges are copied through the same session
	staging := stagingTable(s.target.name.Schema, unit.ID, unit.Attempt)
	defer s.dropStaging(ctx, unit, staging)
	units, err := s.shareRanges(ctx, unit, r.snapshot, p, ranges)
	if err != nil {
		return err
	}
	err = s.sessions.destination.in(ctx, func(tx pgx.Tx) error {
		if err := p.layout.createStaging(ctx, tx, staging); err != nil {
			return err
		}
		refused, err := hideFromReaders(ctx, tx, staging, s.job.definition.Readers)
		if refused != nil {
			s.note("readers may see a table that is loaded in ranges before it is whole: " + refused.Error())
		}
		if err != nil {
			return err
		}
		if err := catalog.DropParts(ctx, tx, unit.ID); err != nil { // of an earlier attempt
			return err
		}
		return pgclient.Send(ctx, tx, "divide the table", func(batch *pgx.Batch) { catalog.QueueRanges(batch, s.job.run.ID, unit, units) })
	})
	if err != nil {
		return err
	}
	copied, err := s.copyRanges(ctx, unit, r.facts.source.table)
	if err != nil {
		return err
	}
	s.closeIfRead(ctx, unit, r.snapshot, p)
	return s.commit(ctx, unit, r, p, chunk{rows: p.rows, last: true, inRanges: true}, func(ld loading) (moved, error) {
		result, err := ld.takeStaging(ctx, staging, copied.rows)
		return moved{result, copied.bytes}, err
	})
}

// errPartitionsChanged says that the snapshot did not protect what was read.
var errPartitionsChanged = errors.New("partitions came or went while the table was read")

// A rangeError is the error that another worker met in a range.
type rangeError struct{ text, code string }

func (e *rangeError) Error() string { return e.text }

// shareRanges describes ranges for other workers. They share the snapshot, which lasts as
// long as this worker reads.
func (s *tableSync) shareRanges(ctx context.Context, unit catalog.Unit, snap *snapshot, p plan, ranges []pageRange) ([]catalog.Range, error) {
	name, err := snap.export(ctx)
	if err != nil {
		return nil, &sourceError{err}
	}
	if s.job.maxSnapshot > 0 {
		s.job.expiries.Store(name, snap.began.Add(s.job.maxSnapshot))
	}
	shared := make([]catalog.Range, len(ranges))
	for i, r := range ranges {
		shared[i] = catalog.Range{Snapshot: name, First: r.first, End: r.end, Attempt: unit.Attempt, Text: p.layout.text}
	}
	return shared, nil
}

// copyRanges copies ranges of a unit until each is done, and waits for those that other
// workers copy. It copies the ranges of lost workers itself, unless others do.
func (s *tableSync) copyRanges(ctx context.Context, unit catalog.Unit, table relation.Table) (copied, error) {
	for {
		next, err := s.queue.claim(ctx, unit.ID)
		if err == nil {
			if err := (rangeCopier{s.job, s.sessions}).copy(ctx, next, table); err != nil {
				return copied{}, err
			}
			continue
		}
		if !errors.Is(err, catalog.ErrNotFound) {
			return copied{}, err
		}
		progress, err := s.progress(ctx, unit)
		switch {
		case err != nil:
			return copied{}, err
		case progress.Error != "":
			return copied{}, &rangeError{progress.Error, progress.Code}
		case progress.Waiting == 0:
			return copied{rows: progress.Rows, bytes: progress.Bytes}, nil
		}
		if _, err := s.queue.tend(ctx, unit.ID); err != nil {
			return copied{}, err
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return copied{}, err
		}
	}
}

// progress reads how many ranges of a unit are done.
func (s *tableSync) progress(ctx context.Context, unit catalog.Unit) (progress catalog.Progress, err error) {
	err = s.sessions.destination.in(ctx, func(tx pgx.Tx) (err error) {
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
	_ = s.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error { return catalog.DropParts(ctx, tx, unit.ID) })
	_ = s.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, lockTurnSQL+"; DROP TABLE IF EXISTS "+staging.SQL())
		return err
	})
}

// A rangeCopier copies ranges of tables. Any worker of a run can have one.
type rangeCopier struct {
	job      job
	sessions *sessions
}

// copyInTime copies a range of a table that another worker reads, and stops when the snapshot
// that it shares has become too old.
func (r rangeCopier) copyInTime(ctx context.Context, unit catalog.Unit) error {
	if r.job.maxSnapshot == 0 {
		return r.copyInSnapshot(ctx, unit)
	}
	shared, _ := r.job.expiries.Load(unit.Range.Snapshot)
	expiry, ok := shared.(time.Time)
	if !ok { // another process shares it
		expiry = time.Now().Add(r.job.maxSnapshot)
	}
	limited, cancel := context.WithDeadlineCause(ctx, expiry, errSnapshotAge)
	defer cancel()
	err := r.copyInSnapshot(limited, unit)
	if err != nil && errors.Is(context.Cause(limited), errSnapshotAge) {
		return errSnapshotAge
	}
	return err
}

var snapshotName = regexp.MustCompile(`^[0-9A-F]+-[0-9A-F]+-[0-9]+$`)

// copyInSnapshot copies a range in the snapshot that it was made for.
func (r rangeCopier) copyInSnapshot(ctx context.Context, unit catalog.Unit) error {
	name, err := r.job.definition.sourceTable(unit.Table)
	if err != nil {
		return err
	}
	if !snapshotName.MatchString(unit.Range.Snapshot) {
		return fmt.Errorf("the catalog holds %q for a snapshot", unit.Range.Snapshot)
	}
	tx, table, err := r.sessions.source.session.join(ctx, unit.Range.Snapshot, name)
	if err != nil {
		return &sourceError{err}
	}
	defer rollback(ctx, tx)
	return r.copy(ctx, unit, table)
}

// copy copies one range of a table. The source's session is already in the snapshot. What is
// extracted follows from the definition, from the structure of the table, and from that of
// the staging table, which this login has created.
func (r rangeCopier) copy(ctx context.Context, unit catalog.Unit, table relation.Table) error {
	selected := r.job.definition.Tables[unit.Table].selected(table)
	staging := stagingTable(r.job.definition.SchemaName, unit.PartOf, unit.Range.Attempt)
	source, destination := r.sessions.source.conn, r.sessions.destination.conn
	return r.sessions.destination.in(ctx, func(tx pgx.Tx) error {
		money, err := fractionsOf(ctx, selected, source.Conn, tx)
		if err != nil {
			return err
		}
		columns := extractedColumns(selected, r.sessions.destination.types, pgclient.Version(source.Conn), pgclient.Version(destination.Conn), money)
		l, err := lockStaging(ctx, tx, staging, columns)
		if err != nil {
			return err
		}
		l.text = unit.Range.Text
		condition := pageRange{unit.Range.First, unit.Range.End}.condition()
		copyOut := copyOutSQL(table.Name, l.extractList(), l.format(), condition)
		c, err := relay(ctx, source.PgConn(), copyOut, destination.PgConn(), l.copyInSQL(staging.SQL()))
		if err != nil {
			return err
		}
		return pgclient.Send(ctx, tx, "end a range", func(batch *pgx.Batch) { catalog.QueueFinishUnit(batch, unit, c.rows, c.bytes) })
	})
}
