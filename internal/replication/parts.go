package replication

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

const (
	rangeBytes = 128 << 20 // of a table, about how much is one part
	maxParts   = 64
	// Older majors read the whole table for each range of places.
	rangesSince = 14
)

// A pageRange is the rows of a table that lie on the pages from first up to, but
// without, end; 0 for end is the end of the table.
type pageRange struct{ first, end int64 }

// pageRanges divides a table into parts of about the same size.
func pageRanges(h heap, bytes int64) []pageRange {
	n := min(h.bytes/bytes, maxParts, h.pages)
	if n < 2 {
		return []pageRange{{}}
	}
	all := make([]pageRange, n)
	for i := range n {
		all[i] = pageRange{h.pages * i / n, h.pages * (i + 1) / n}
	}
	all[n-1].end = 0
	return all
}

// condition is the condition for rows of the range. For a partitioned table it
// is about the pages of each partition.
func (s pageRange) condition() string {
	condition := fmt.Sprintf("ctid >= '(%d,0)'::pg_catalog.tid", s.first)
	if s.end > 0 {
		condition += fmt.Sprintf(" AND ctid < '(%d,0)'::pg_catalog.tid", s.end)
	}
	return condition
}

// parts returns what several workers may copy at once: of a large table that is
// read whole, by a run that has several.
func (c *copying) parts() []pageRange {
	e := c.extraction
	if c.step.window.since != nil || c.streams < 2 || !e.heap.plain || e.version < rangesSince {
		return nil
	}
	return pageRanges(e.heap, c.rangeBytes)
}

// loadParts copies the parts into a table that nobody sees yet, each in a
// transaction of its own, and then makes it the table or merges it, in one.
func (c *copying) loadParts(ctx context.Context, parts []pageRange) error {
	c.inParts = true
	c.leaveTarget(ctx) // parts are copied through the same session
	hidden := hiddenTable(c.target.Schema, c.unit.ID, c.unit.Attempt)
	defer c.dropHidden(ctx, hidden)
	ranges, err := c.spread(ctx, parts)
	if err != nil {
		return err
	}
	err = c.sessions.destination.in(ctx, func(tx pgx.Tx) error {
		sql := c.step.layout.createSQL(hidden.SQL())
		if c.step.layout.exists {
			sql = c.step.layout.sharedStageSQL(hidden.SQL())
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("create %s: %w", hidden, err)
		}
		if err := c.hideFromReaders(ctx, tx, hidden); err != nil {
			return err
		}
		if err := catalog.DropParts(ctx, tx, c.unit.ID); err != nil { // of an attempt before
			return err
		}
		return postgres.Send(ctx, tx, "divide the table", func(batch *pgx.Batch) { catalog.QueueRanges(batch, c.run.ID, c.unit, ranges) })
	})
	if err != nil {
		return err
	}
	moved, err := c.workOnParts(ctx)
	if err != nil {
		return err
	}
	c.closeIfRead(ctx)
	return c.commit(ctx, c.step.window, true, func(ld loading) (loaded, error) {
		if err := lockLoaded(ctx, ld.tx, hidden); err != nil {
			return loaded{}, err
		}
		if ld.layout.exists {
			return ld.merge(ctx, hidden.SQL(), moved)
		}
		if err := ld.alone(ctx, lockPatience, hidden, "ALTER TABLE "+hidden.SQL()+" RENAME TO "+postgres.Ident(c.target.Name)); err != nil {
			return loaded{}, fmt.Errorf("name the table that was loaded: %w", err)
		}
		return ld.complete(ctx, moved)
	})
}

// errPartitionsChanged is met when a snapshot does not protect what is read.
var errPartitionsChanged = errors.New("partitions came or went while the table was read")

// errWorkerLost is met when a worker is gone that had claimed a part.
var errWorkerLost = errors.New("a worker that copied a part of the table is gone")

// A rangeError is what another worker met with a part.
type rangeError struct{ text, code string }

func (e *rangeError) Error() string { return e.text }

// spread makes ranges of the parts. They share the snapshot of the extraction,
// which lasts as long as this worker reads.
func (c *copying) spread(ctx context.Context, parts []pageRange) ([]catalog.Range, error) {
	var snapshot string
	if err := c.extraction.tx.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&snapshot); err != nil {
		return nil, &sourceError{fmt.Errorf("share the snapshot: %w", err)}
	}
	if c.maxSnapshot > 0 {
		c.expiries.Store(snapshot, c.extraction.began.Add(c.maxSnapshot))
	}
	ranges := make([]catalog.Range, len(parts))
	for i, s := range parts {
		ranges[i] = catalog.Range{Snapshot: snapshot, First: s.first, End: s.end, Attempt: c.unit.Attempt, Text: c.text}
	}
	return ranges, nil
}

// workOnParts copies parts until none is left, and waits for those that other
// workers copy.
func (c *copying) workOnParts(ctx context.Context) (copied, error) {
	for {
		unit, err := c.queue.claim(ctx, c.unit.ID)
		if errors.Is(err, catalog.ErrNotFound) {
			break
		}
		if err != nil {
			return copied{}, err
		}
		if err := c.copyPart(ctx, unit, c.extraction.table); err != nil {
			return copied{}, err
		}
	}
	for {
		alone := c.busy.Load() == 1 // asked before: who was at work may have finished since
		var progress catalog.Progress
		err := c.sessions.destination.in(ctx, func(tx pgx.Tx) (err error) {
			progress, err = catalog.ProgressOf(ctx, tx, c.unit.ID)
			return err
		})
		switch {
		case err != nil:
			return copied{}, err
		case progress.Error != "":
			return copied{}, &rangeError{progress.Error, progress.Code}
		case progress.Waiting == 0:
			return copied{rows: progress.Rows, bytes: progress.Bytes}, nil
		case alone:
			return copied{}, errWorkerLost
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return copied{}, err
		}
	}
}

// pollInterval is how often a worker looks what others have done.
const pollInterval = 50 * time.Millisecond

// copyPart copies one part of a table. The source's session is in the snapshot
// already. What is extracted follows from the definition, from the structure of the
// table, and from that of the hidden one, which this login has made.
func (w *worker) copyPart(ctx context.Context, unit catalog.Unit, table postgres.Table) error {
	selection := w.definition.Tables[unit.Table]
	hidden := hiddenTable(w.definition.SchemaName, unit.PartOf, unit.Range.Attempt)
	return w.sessions.destination.in(ctx, func(tx pgx.Tx) error {
		money, err := fractionsOf(ctx, selection.selected(table), w.sessions.source.conn.Conn, tx)
		if err != nil {
			return err
		}
		columns := selection.extracted(table, w.sessions.destination.types, postgres.Version(w.sessions.source.conn.Conn), postgres.Version(w.sessions.destination.conn.Conn), money)
		l, err := lockHidden(ctx, tx, hidden, columns)
		if err != nil {
			return err
		}
		l.text = unit.Range.Text
		condition := pageRange{unit.Range.First, unit.Range.End}.condition()
		c, err := relay(ctx, w.sessions.source.conn.PgConn(), copyOutSQL(l, table.Name, condition), w.sessions.destination.conn.PgConn(), l.copyInSQL(hidden.SQL()))
		if err != nil {
			return err
		}
		return postgres.Send(ctx, tx, "end a part", func(batch *pgx.Batch) { catalog.QueueFinishUnit(batch, unit, c.rows, c.bytes) })
	})
}

// lockHidden is lockLoaded for a hidden table. It also finds out, in the same round
// trip, which column of the source each column is for: those are named as in the
// table that is loaded.
func lockHidden(ctx context.Context, tx pgx.Tx, hidden postgres.TableName, columns []column) (layout, error) {
	var harmless bool
	var tables map[postgres.TableName]postgres.Table
	err := postgres.Send(ctx, tx, fmt.Sprintf("lock %s", hidden), func(batch *pgx.Batch) {
		batch.Queue("LOCK TABLE ONLY " + hidden.SQL() + " IN ROW EXCLUSIVE MODE")
		queueHarmless(batch, hidden, &harmless)
		postgres.QueueTablesWithoutTypes(batch, []postgres.TableName{hidden}, &tables)
	})
	if err == nil {
		err = refuseCode(ctx, tx, hidden, harmless)
	}
	if err != nil {
		return layout{}, err
	}
	l := layout{target: hidden}
	for _, into := range tables[hidden].Columns {
		i := slices.IndexFunc(columns, func(c column) bool { return c.name == into.Name })
		if i < 0 {
			i = slices.IndexFunc(columns, func(c column) bool { return splitName(c.name, c.sql) == into.Name })
		}
		if i < 0 {
			return layout{}, fmt.Errorf("%s has a column %q that no column of the source is for", hidden, into.Name)
		}
		c := columns[i]
		c.name = into.Name
		if c.sql != "text" && into.SQL == "text" && base(c.source.Type).Extension != "" {
			c = c.asText()
		}
		l.columns = append(l.columns, c)
	}
	if len(l.columns) != len(columns) {
		return layout{}, fmt.Errorf("%s has %d columns and %d of the source are replicated", hidden, len(l.columns), len(columns))
	}
	return l, nil
}

var snapshotName = regexp.MustCompile(`^[0-9A-F]+-[0-9A-F]+-[0-9]+$`)

func (w *worker) copyPartInSnapshot(ctx context.Context, unit catalog.Unit) error {
	name, err := w.definition.sourceTable(unit.Table)
	if err != nil {
		return err
	}
	if !snapshotName.MatchString(unit.Range.Snapshot) {
		return fmt.Errorf("the catalog holds %q for a snapshot", unit.Range.Snapshot)
	}
	tx, err := w.sessions.source.session.begin(ctx, pgx.RepeatableRead)
	if err != nil {
		return &sourceError{err}
	}
	defer rollback(ctx, tx)
	if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+postgres.Literal(unit.Range.Snapshot)); err != nil {
		return &sourceError{fmt.Errorf("import the snapshot: %w", err)}
	}
	tables, err := postgres.ReadTables(ctx, tx, []postgres.TableName{name})
	if err != nil {
		return &sourceError{err}
	}
	return w.copyPart(ctx, unit, tables[name])
}

// hiddenPrefix starts the names of tables that are being loaded in parts.
const hiddenPrefix = reservedPrefix + "_loading_"

// hiddenTable names the table into which an attempt at a unit copies its parts.
func hiddenTable(schema string, unit int64, attempt int) postgres.TableName {
	return postgres.TableName{Schema: schema, Name: fmt.Sprintf("%s%d_%d", hiddenPrefix, unit, attempt)}
}

// dropHidden forgets the parts, and drops the table that they were copied into
// unless it has become the table. What it cannot drop, because others still
// copy into it, the next run does.
func (c *copying) dropHidden(ctx context.Context, hidden postgres.TableName) {
	// One after the other: workers first lock the table, and then their unit.
	_ = c.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error { return catalog.DropParts(ctx, tx, c.unit.ID) })
	_ = c.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, lockTurnSQL+"; DROP TABLE IF EXISTS "+hidden.SQL())
		return err
	})
}

const hiddenSQL = `
	SELECT c.relname
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
	WHERE n.nspname = $1 AND c.relkind = 'r' AND r.rolname = current_user AND pg_catalog.strpos(c.relname::pg_catalog.text, $2) = 1
	ORDER BY c.relname`

// dropLeftOver drops what runs of this login that were killed were loading. It
// returns why it has kept some: a view upon a table, which nobody needs a right on it
// to make, or a lock. As no two units have the same id, it is in nobody's way.
func dropLeftOver(ctx context.Context, tx pgx.Tx, schema string) (kept []error, err error) {
	rows, _ := tx.Query(ctx, hiddenSQL, schema, hiddenPrefix)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list what earlier runs left in schema %q: %w", schema, err)
	}
	wait := "" // one turn is enough for all
	for _, name := range names {
		table := postgres.TableName{Schema: schema, Name: name}
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, fmt.Sprintf("%s; LOCK TABLE %[2]s IN ACCESS EXCLUSIVE MODE%s; DROP TABLE %[2]s", lockTurnSQL, table.SQL(), wait))
			return err
		})
		switch postgres.Code(err) {
		case "":
			if err != nil {
				return nil, err
			}
			continue
		case lockNotAvailable:
			wait = " NOWAIT"
		}
		kept = append(kept, fmt.Errorf("drop %s, which an earlier load left: %w", table, nameHolders(ctx, tx, table, true, err)))
	}
	return kept, nil
}

// dropLeftOver drops what tables could not drop while others copied into it, and
// returns notes on what it cannot drop either. The next run tries it again.
func (w *worker) dropLeftOver(ctx context.Context) (notes []string) {
	_ = w.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error { // if it fails, the next run does that too
		kept, err := dropLeftOver(ctx, tx, w.definition.SchemaName)
		notes = nil
		for _, why := range kept {
			notes = append(notes, postgres.Explain(why)+"\nNo run fails for it: the next one tries again.")
		}
		return err
	})
	return notes
}
