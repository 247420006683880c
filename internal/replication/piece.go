package replication

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// chunkRows is about how many rows of a backlog are committed at once.
const chunkRows = 1_000_000

// An commitUnknownError says that the destination did not tell whether it committed.
type commitUnknownError struct{ error }

func (e *commitUnknownError) Unwrap() error { return e.error }

// load moves the rows: in parts, if the table is large and read whole; in
// pieces, if a large backlog can be ordered by its key; else at once. It is not
// done when it has committed pieces and the rest wants another snapshot.
func (c *copying) load(ctx context.Context) (done bool, err error) {
	if err := c.findGreatest(ctx); err != nil {
		return false, &sourceError{err}
	}
	w := c.step.window
	if w.since != nil && (w.from != "" || w.unseen == "") || c.divides() { // else rows with any key are looked through
		if err := c.extraction.preferIndex(ctx, w.key); err != nil {
			return false, &sourceError{err}
		}
	}
	if w.since != nil {
		empty, err := c.extraction.isEmpty(ctx, w)
		if err != nil {
			return false, &sourceError{err}
		}
		if empty {
			return true, c.commit(ctx, w, true, func(loading) (loaded, error) { return loaded{}, nil })
		}
	}
	for {
		began := time.Now()
		end, err := c.pieceEnd(ctx, w)
		if err != nil {
			return false, &sourceError{err}
		}
		if parts := c.parts(); end == nil && len(parts) > 1 {
			return true, c.loadParts(ctx, parts)
		}
		w.upTo = end
		err = c.commit(ctx, w, end == nil, func(ld loading) (loaded, error) { return c.loadWindow(ctx, ld, end == nil) })
		if errors.Is(err, errTargetLocked) {
			return false, nil
		}
		if err != nil || end == nil {
			return true, err
		}
		if w.since == nil || c.extraction.open || tooOldFor(c.extraction.held(), time.Since(began), c.maxSnapshot) {
			return false, nil
		}
		w = w.next()
	}
}

// pieceEnd returns the greatest key of the next piece of a window, or nil if all
// that is left is one.
func (c *copying) pieceEnd(ctx context.Context, w window) (*string, error) {
	if w.since == nil && !c.divides() {
		return nil, nil
	}
	return c.extraction.pieceEnd(ctx, w, c.rows)
}

// findGreatest finds the greatest key of the table, before rows are read. If it
// lies before the bookmark, the table was emptied and its keys started over, or the
// last rows were deleted: then rows with any key are looked through, and the
// bookmark goes back.
func (c *copying) findGreatest(ctx context.Context) (err error) {
	w := &c.step.window
	if c.selection.Method != Incremental {
		return nil
	}
	if c.greatest, c.newest, err = c.extraction.greatestKey(ctx, *w); err != nil || c.greatest != nil || w.unseen == "" {
		return err
	}
	if c.greatest, c.newest, err = c.extraction.greatest(ctx, w.key, "true"); err != nil || c.greatest == nil {
		return err
	}
	w.from, w.back = "", true
	c.note(fmt.Sprintf("no row has the key of the bookmark, %s, or a later one: rows with any key were looked through", *w.since))
	return nil
}

// loadWindow loads the rows of one window through this worker's connections.
func (c *copying) loadWindow(ctx context.Context, ld loading, last bool) (loaded, error) {
	fill := func(copyIn string) (copied, error) {
		if last {
			defer c.closeIfRead(ctx)
		}
		return relay(ctx, c.sessions.source.conn.PgConn(), c.extraction.copySQL(ld.layout, ld.window), c.sessions.destination.conn.PgConn(), copyIn)
	}
	if ld.layout.exists {
		return ld.stageAndMerge(ctx, fill)
	}
	return ld.create(ctx, fill)
}

// closeIfRead ends the extraction once all that is wanted of it was read: its
// snapshot holds back VACUUM at the source.
func (c *copying) closeIfRead(ctx context.Context) {
	if c.unit.Verify == VerifyNone && !c.step.comparesKeys() {
		c.endSnapshot(ctx)
	}
}

// commit runs f in a transaction of the destination that ends with its rows, the
// bookmark after them and the report. last says that the table is done then.
func (c *copying) commit(ctx context.Context, w window, last bool, f func(loading) (loaded, error)) error {
	report := c.report // as it is, should this fail
	tx, err := c.takeTarget(ctx)
	if err != nil {
		return err
	}
	bookmark, table := c.bookmarkAfter(w), c.loadedTableAfter(last)
	defer rollback(ctx, tx)
	ld := loading{tx: tx, step: c.step}
	ld.window = w
	moved, err := f(ld)
	if err != nil {
		return err
	}
	report.RowsExtracted += moved.rows
	report.RowsLoaded += moved.changed
	report.Bytes += moved.bytes
	report.NullKeys += moved.nullKeys
	if moved.undone > 0 {
		report.Notes = append(slices.Clip(report.Notes), fmt.Sprintf("%d rows were removed that were read after the point to which the source has gone back, and are not there any more", moved.undone))
	}
	report.Snapshot = max(report.Snapshot, c.extraction.held())
	report.Status = catalog.Interrupted // until the last piece
	if bookmark.Bookmark != nil {
		report.Bookmark = *bookmark.Bookmark
	}
	if last {
		report.Status = catalog.Succeeded
		if report.RowsLoaded > 0 && c.step.comparesKeys() {
			dropped, err := c.dropSuperseded(ctx, tx)
			if err != nil {
				return err
			}
			moved.grown -= dropped
		}
		if report.Verification, err = c.verify(ctx, tx); err != nil {
			return err
		}
	}
	if c.inParts || c.extraction.open {
		if same, err := c.extraction.sameLeaves(ctx, c.inParts); err != nil || !same {
			return cmp.Or[error](err, errPartitionsChanged)
		}
	}
	if err := c.letReadersRead(ctx, tx, &report); err != nil {
		return err
	}
	growth, err := c.growth(ctx, tx, moved)
	if err != nil {
		return err
	}
	report.Duration = elapsed(c.began)
	err = postgres.Send(ctx, tx, "record the load", func(batch *pgx.Batch) {
		catalog.QueueLoadedTable(batch, table, c.target.SQL(), growth)
		catalog.QueueBookmark(batch, bookmark)
		catalog.QueueReport(batch, c.run.ID, report)
		if last {
			catalog.QueueFinishUnit(batch, c.unit, report.RowsExtracted, report.Bytes)
		} else {
			catalog.QueueHold(batch, c.unit)
		}
	})
	if err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		if code := postgres.Code(err); code == "" || strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57") {
			return &commitUnknownError{fmt.Errorf("commit: %w", err)}
		}
		return fmt.Errorf("commit: %w", err)
	}
	c.report = report
	return nil
}

// loadedTableAfter returns what is known of the table once a window has been loaded,
// the last one or not.
func (c *copying) loadedTableAfter(last bool) catalog.LoadedTable {
	step, table := c.step, c.extraction.table
	status := catalog.Ready
	if !last && (step.window.since == nil || c.there.loaded != nil && c.there.loaded.Status == catalog.Copying) {
		status = catalog.Copying
	}
	return catalog.LoadedTable{
		Replication: c.replication, TableName: c.target.Name, SourceTable: c.unit.Table, Status: status, TableVersion: step.version,
		Columns: step.layout.filled(), Attributes: step.layout.attributes(),
		Source: c.sessions.source.identity.String(), SourceOID: table.OID, SourceColumns: lastColumn(table), SourceParts: c.sourceParts(),
		Position: c.position(), Meaning: c.extraction.meaningOf(c.selection),
	}
}

// sourceParts returns the tables that hold the rows at the source.
func (c *copying) sourceParts() map[uint32]string {
	if parts := c.extraction.heap.parts; parts != nil {
		return parts
	}
	return map[uint32]string{} // of a view
}

// position returns where the history of the source is, and rows by which to know it.
func (c *copying) position() catalog.Position {
	p, judged := c.extraction.position, c.extraction.judged
	var before catalog.Position
	if c.there.loaded != nil {
		before = c.there.loaded.Position
	}
	if judged.why != "" {
		before = catalog.Position{Commits: commitsUntil(before.Commits, judged.back)}
	}
	p.Rows = remember(c.newest, before.Rows)
	p.Commits = remembersCommit(before.Commits, catalog.Commit{LSN: p.LSN, Sequence: c.committing.UnixMicro() * 1000})
	return p
}

// growth returns what a commit has done to the rows of the table. Of one that was
// there and was merged whole, what earlier commits left says nothing: they are counted.
func (c *copying) growth(ctx context.Context, tx pgx.Tx, moved loaded) (catalog.Growth, error) {
	g := catalog.Growth{Rows: moved.grown, Changed: moved.changed > 0}
	switch {
	case c.step.window.since != nil:
	case !c.step.layout.exists:
		g.Total = &moved.grown
	case c.step.full: // each run compares all of it
		g.Total = &moved.rows
	default:
		holds, err := countRows(ctx, tx, c.target)
		if err != nil {
			return catalog.Growth{}, err
		}
		g.Total, g.Sequence = &holds.rows, holds.sequence
	}
	return g, nil
}

// bookmarkAfter returns the bookmark once the window has been loaded.
func (c *copying) bookmarkAfter(w window) catalog.Bookmark {
	step := c.step
	b := catalog.Bookmark{
		Replication: c.replication, TableName: c.target.Name, Method: c.selection.Method,
		ReplicationKey: c.selection.ReplicationKey, KeyType: w.key.sql, Run: c.run.ID,
	}
	if c.selection.Method != Incremental {
		return b
	}
	// The last piece ends with the greatest key; without any, the bookmark stays.
	for _, key := range []*string{w.upTo, c.greatest, w.since} {
		if b.Bookmark == nil {
			b.Bookmark = key
		}
	}
	var before catalog.Horizon
	if c.there.bookmark != nil {
		before = c.there.bookmark.Horizon
	}
	b.Horizon = horizonAfter(before, c.step.window, c.extraction.sight, b.Bookmark, step.late, c.there.now)
	return b
}

// pieceEnd is the key of the row after which so many of the window have come, or
// nil. Only where an index orders the keys can it be found cheaply.
func (e *extraction) pieceEnd(ctx context.Context, w window, rows int) (*string, error) {
	if !e.ordered {
		return nil, nil
	}
	key, later := w.key.extract, w.key.extract+" IS NOT NULL"
	if w.since != nil {
		later = key + " OPERATOR(pg_catalog.>) " + postgresLiteral(*w.since, w.key.sql)
	}
	many, err := e.expectsMore(ctx, fmt.Sprintf("SELECT FROM %s WHERE %s", w.table.SQL(), later), rows)
	if err != nil || !many {
		return nil, err
	}
	return textOrNil(e.tx.QueryRow(ctx, fmt.Sprintf("SELECT k::pg_catalog.text FROM (SELECT %[1]s AS k FROM %[2]s WHERE %[3]s AND %[4]s ORDER BY %[1]s OFFSET %[5]d LIMIT 1) AS piece",
		key, w.table.SQL(), later, finite(w.key), rows-1), once), "divide the backlog of "+w.table.String())
}

// expectsMore reports whether the planner expects a query to return more rows.
func (e *extraction) expectsMore(ctx context.Context, query string, rows int) (bool, error) {
	var text []byte
	if err := e.tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) "+query, once).Scan(&text); err != nil {
		return false, fmt.Errorf("estimate how many rows are new: %w", err)
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) != 1 {
		return false, fmt.Errorf("estimate how many rows are new: read the plan: %w", err)
	}
	return plans[0].Plan.Rows > float64(rows), nil
}
