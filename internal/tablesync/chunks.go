package tablesync

import (
	"context"
	"errors"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// ChunkRows is about how many rows of a backlog one transaction commits.
const ChunkRows = 1_000_000

// A chunk is what one transaction of the destination commits.
type chunk struct {
	rows     source.KeyRange
	last     bool // whether it completes the table
	inRanges bool // whether several workers have read it
}

// load moves the rows. It reads a large table that is read whole in ranges, a large backlog
// that can be ordered by its key in chunks, and all else at once. It is not done when it has
// committed chunks and the rest needs another snapshot.
func (s *tableSync) load(ctx context.Context, unit catalog.Unit, r reading, p plan) (done bool, err error) {
	rows := p.rows
	if rows.After != nil {
		empty, err := r.snapshot.IsEmpty(ctx, rows)
		if err != nil {
			return false, &copywire.SourceError{Err: err}
		}
		if empty {
			nothing := func(destination.Loading) (copyResult, error) { return copyResult{}, nil }
			return true, s.commit(ctx, unit, r, p, chunk{rows: rows, last: true}, nothing)
		}
	}
	for {
		began := time.Now()
		end, err := s.chunkEnd(ctx, r.snapshot, p, rows)
		if err != nil {
			return false, &copywire.SourceError{Err: err}
		}
		if ranges := s.ranges(r.facts.source, p); end == nil && len(ranges) > 1 {
			return true, s.loadRanges(ctx, unit, r, p, ranges)
		}
		rows.UpTo = end
		c := chunk{rows: rows, last: end == nil}
		err = s.commit(ctx, unit, r, p, c, func(ld destination.Loading) (copyResult, error) { return s.copyChunk(ctx, unit, r, p, c, ld) })
		if errors.Is(err, errTargetLocked) {
			return false, nil
		}
		if err != nil || c.last {
			return true, err
		}
		if rows.After == nil || r.facts.source.Unlocked || tooOldFor(r.snapshot.Age(), time.Since(began), s.job.MaxSnapshot) {
			return false, nil
		}
		rows = rows.Next()
	}
}

// chunkEnd returns the greatest key of the next chunk of a range, or nil if the rest of the
// range is one chunk.
func (s *tableSync) chunkEnd(ctx context.Context, snap *source.Snapshot, p plan, rows source.KeyRange) (*string, error) {
	if !p.ordered || rows.After == nil && !s.dividesFirstLoad(p) {
		return nil, nil
	}
	return snap.ChunkEnd(ctx, rows, s.learned.chunkRows)
}

// copyResult says what went through a relay, and what the load made of it.
type copyResult struct {
	loadResult destination.LoadResult
	bytes      int64
}

// copyChunk loads the rows of one chunk through this worker's connections.
func (s *tableSync) copyChunk(ctx context.Context, unit catalog.Unit, r reading, p plan, c chunk, ld destination.Loading) (m copyResult, err error) {
	copyRows := func(copyIn string) (int64, error) {
		if c.last {
			defer s.closeIfRead(ctx, unit, r.snapshot, p)
		}
		copyOut := c.rows.CopySQL(p.layout.ExtractList(), p.layout.Format())
		copied, err := copywire.Relay(ctx, s.sessions.Source.Conn.PgConn(), copyOut, s.sessions.Destination.Conn.PgConn(), copyIn)
		m.bytes = copied.Bytes
		return copied.Rows, err
	}
	if p.layout.Exists {
		m.loadResult, err = ld.StageAndMerge(ctx, copyRows)
	} else {
		m.loadResult, err = ld.Create(ctx, copyRows)
	}
	return m, err
}

// closeIfRead ends the snapshot once the run has read all that it needs: a snapshot holds
// back VACUUM at the source.
func (s *tableSync) closeIfRead(ctx context.Context, unit catalog.Unit, snap *source.Snapshot, p plan) {
	if unit.Verify == VerifyNone && !p.comparesKeys() {
		s.endSnapshot(ctx, snap)
	}
}
