package replication

import (
	"context"
	"errors"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
)

// chunkRows is about how many rows of a backlog one transaction commits.
const chunkRows = 1_000_000

// A chunk is what one transaction of the destination commits.
type chunk struct {
	rows     keyRange
	last     bool // whether it completes the table
	inRanges bool // whether several workers have read it
}

// load moves the rows. It reads a large table that is read whole in ranges, a large backlog
// that can be ordered by its key in chunks, and all else at once. It is not done when it has
// committed chunks and the rest needs another snapshot.
func (s *tableSync) load(ctx context.Context, unit catalog.Unit, r reading, p plan) (done bool, err error) {
	rows := p.rows
	if rows.after != nil {
		empty, err := r.snapshot.isEmpty(ctx, rows)
		if err != nil {
			return false, &sourceError{err}
		}
		if empty {
			nothing := func(loading) (moved, error) { return moved{}, nil }
			return true, s.commit(ctx, unit, r, p, chunk{rows: rows, last: true}, nothing)
		}
	}
	for {
		began := time.Now()
		end, err := s.chunkEnd(ctx, r.snapshot, p, rows)
		if err != nil {
			return false, &sourceError{err}
		}
		if ranges := s.ranges(r.facts.source, p); end == nil && len(ranges) > 1 {
			return true, s.loadRanges(ctx, unit, r, p, ranges)
		}
		rows.upTo = end
		c := chunk{rows: rows, last: end == nil}
		err = s.commit(ctx, unit, r, p, c, func(ld loading) (moved, error) { return s.copyChunk(ctx, unit, r, p, c, ld) })
		if errors.Is(err, errTargetLocked) {
			return false, nil
		}
		if err != nil || c.last {
			return true, err
		}
		if rows.after == nil || r.facts.source.unlocked || tooOldFor(r.snapshot.held(), time.Since(began), s.job.maxSnapshot) {
			return false, nil
		}
		rows = rows.next()
	}
}

// chunkEnd returns the greatest key of the next chunk of a range, or nil if the rest of the
// range is one chunk.
func (s *tableSync) chunkEnd(ctx context.Context, snap *snapshot, p plan, rows keyRange) (*string, error) {
	if !p.ordered || rows.after == nil && !s.dividesFirstLoad(p) {
		return nil, nil
	}
	return snap.chunkEnd(ctx, rows, s.learned.chunkRows)
}

// moved says what went through a relay, and what the load made of it.
type moved struct {
	loadResult loadResult
	bytes      int64
}

// copyChunk loads the rows of one chunk through this worker's connections.
func (s *tableSync) copyChunk(ctx context.Context, unit catalog.Unit, r reading, p plan, c chunk, ld loading) (m moved, err error) {
	copyRows := func(copyIn string) (int64, error) {
		if c.last {
			defer s.closeIfRead(ctx, unit, r.snapshot, p)
		}
		copyOut := c.rows.copySQL(p.layout.extractList(), p.layout.format())
		copied, err := relay(ctx, s.sessions.source.conn.PgConn(), copyOut, s.sessions.destination.conn.PgConn(), copyIn)
		m.bytes = copied.bytes
		return copied.rows, err
	}
	if p.layout.exists {
		m.loadResult, err = ld.stageAndMerge(ctx, copyRows)
	} else {
		m.loadResult, err = ld.create(ctx, copyRows)
	}
	return m, err
}

// closeIfRead ends the snapshot once the run has read all that it needs: a snapshot holds
// back VACUUM at the source.
func (s *tableSync) closeIfRead(ctx context.Context, unit catalog.Unit, snap *snapshot, p plan) {
	if unit.Verify == VerifyNone && !p.comparesKeys() {
		s.endSnapshot(ctx, snap)
	}
}
