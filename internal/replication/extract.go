package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// An extraction is the source's side of one table: a snapshot, and what the
// table looks like in it.
type extraction struct {
	tx     pgx.Tx
	source sourceSession
	table  postgres.Table
	sight  sight
	heap   heap
	money  fractions         // here and in the destination
	files  map[uint32]uint32 // in which the rows of each table or partition lie

	meaning []meaningFact // what decides what values read as

	position catalog.Position // of the source's history
	judged   judgement        // what has become of that since the table was loaded

	began, ended time.Time   // of the snapshot; ended is zero while it is held
	stopLimit    func() bool // keeps it from becoming too old, once it has ended; nil if it has no limit

	open    bool // whether partitions are not locked, see sameLeaves
	version int  // major, of the server
	ordered bool // whether an index orders the rows by the replication key, see preferIndex
}

// A heap is where the rows of a table lie, with those of its partitions.
type heap struct {
	plain  bool              // whether each row has a place (ctid) and tells its transaction (xmin)
	told   bool              // whether the login may read those
	leaves []uint32          // the tables that hold them
	names  []string          // of those
	parts  map[uint32]string // for each of those, how it was attached
	pages  int64             // of the largest
	bytes  int64             // of all, with what is stored aside
}

// heapSQL follows partitions and children. Whoever is attached has a row in pg_inherits
// that the transaction wrote which attached it: with those of the tables above, that
// tells whether it has been one all the time.
const heapSQL = `
	WITH RECURSIVE path AS (
		SELECT c.oid, c.relkind, c.relam, c.relfilenode, ''::pg_catalog.text AS attached
		FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass($1)
		UNION
		SELECT c.oid, c.relkind, c.relam, c.relfilenode, pg_catalog.format('%s %s', path.attached, i.xmin)
		FROM path
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = path.oid
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
	), part AS (
		SELECT p.oid, p.relkind, p.relam, p.relfilenode, pg_catalog.string_agg(p.attached, ',' ORDER BY p.attached) AS attached
		FROM path AS p
		GROUP BY p.oid, p.relkind, p.relam, p.relfilenode
	)
	SELECT pg_catalog.txid_current_snapshot()::pg_catalog.text, pg_catalog.clock_timestamp()::pg_catalog.text,
		coalesce(pg_catalog.bool_and(part.relkind IN ('r', 'm') AND (part.relam = 0 OR a.amname = 'heap')), true),
		coalesce(pg_catalog.array_agg(part.oid ORDER BY part.oid), '{}'::pg_catalog.oid[]),
		coalesce(pg_catalog.array_agg(pg_catalog.convert_to(part.oid::pg_catalog.regclass::pg_catalog.text, ` + postgres.NameEncodingSQL + `) ORDER BY part.oid), '{}'::pg_catalog.bytea[]),
		coalesce(pg_catalog.array_agg(part.relfilenode ORDER BY part.oid), '{}'::pg_catalog.oid[]),
		coalesce(pg_catalog.array_agg(part.attached ORDER BY part.oid), '{}'::pg_catalog.text[]),
		coalesce(pg_catalog.max(pg_catalog.pg_relation_size(part.oid)) / pg_catalog.current_setting('block_size')::bigint, 0),
		coalesce(pg_catalog.sum(pg_catalog.pg_table_size(part.oid))::bigint, 0),
		coalesce((
			SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'))
			FROM pg_catalog.pg_attribute AS a
			WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname IN ('xmin', 'ctid', 'tableoid') AND a.attnum < 0
		), true)
	FROM part
	LEFT JOIN pg_catalog.pg_am AS a ON a.oid = part.relam
	WHERE part.relkind <> 'p'`

// queueHeap looks by a batch where the rows of a table are, and what can be seen of them.
func (e *extraction) queueHeap(batch *pgx.Batch, name postgres.TableName) {
	batch.Queue(heapSQL, name.SQL()).QueryRow(func(row pgx.Row) error {
		var files []uint32
		var attached []string
		var names [][]byte
		h := &e.heap
		if err := row.Scan(&e.sight.snapshot, &e.sight.clock, &h.plain, &h.leaves, &names, &files, &attached, &h.pages, &h.bytes, &h.told); err != nil {
			return fmt.Errorf("look where the rows of %s are: %w", name, err)
		}
		if err := postgres.SameLength(len(h.leaves), len(names), len(files), len(attached)); err != nil {
			return err
		}
		for _, name := range names {
			h.names = append(h.names, strings.ToValidUTF8(string(name), "?"))
		}
		e.sight.files, h.parts = map[uint32]uint32{}, map[uint32]string{}
		for i, leaf := range h.leaves {
			e.sight.files[leaf], h.parts[leaf] = files[i], attached[i]
		}
		e.files = e.sight.files
		return nil
	})
}

// orderedSQL also makes the planner use what it finds: it takes the rows of a
// window for many, and spread over the table, and would rather read all of it.
const orderedSQL = `
	SELECT pg_catalog.set_config('enable_seqscan', 'off', true)
	FROM pg_catalog.pg_index AS i
	JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
	JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
	JOIN pg_catalog.pg_opclass AS o ON o.oid = i.indclass[0]
	JOIN pg_catalog.pg_attribute AS k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[0]
	WHERE i.indrelid = $1 AND i.indkey[0] = $2 AND i.indpred IS NULL AND i.indisvalid
		AND a.amname = 'btree' AND o.opcdefault AND i.indcollation[0] = k.attcollation
	LIMIT 1`

// preferIndex looks for an index that orders the rows by the key, and has it used.
func (e *extraction) preferIndex(ctx context.Context, key column) error {
	if key.source.ForeignCollation { // an index orders by that
		return nil
	}
	found, err := textOrNil(e.tx.QueryRow(ctx, orderedSQL, e.table.OID, key.source.Number), "look for an index on "+key.source.Name)
	e.ordered = found != nil
	return err
}

// sameLeaves reports whether what was read is what the snapshot shows, although parts of
// it were not locked: none of the partitions has gone, or lies in another file, and none
// came if several sessions have read. It ends the extraction: statements see partitions
// as they are, but what a transaction reads of the catalog is as old as its snapshot.
func (e *extraction) sameLeaves(ctx context.Context, several bool) (bool, error) {
	e.close(ctx)
	var now extraction
	err := e.source.read(ctx, func(tx pgx.Tx) error {
		return postgres.Send(ctx, tx, "read the partitions of "+e.table.Name.String()+" again", func(batch *pgx.Batch) { now.queueHeap(batch, e.table.Name) })
	})
	for leaf, file := range e.files {
		if found, ok := now.files[leaf]; !ok || now.heap.parts[leaf] != e.heap.parts[leaf] || e.open && found != file {
			return false, err
		}
	}
	return !several || len(now.files) == len(e.files), err
}

// close ends the snapshot. Nothing was written, so there is nothing to lose.
func (e *extraction) close(ctx context.Context) {
	if e.ended.IsZero() {
		rollback(ctx, e.tx)
		e.ended = time.Now()
		if e.stopLimit != nil {
			e.stopLimit()
		}
	}
}

// held is for how long the snapshot was held, or is held by now, as precisely as the
// catalog keeps it.
func (e *extraction) held() time.Duration {
	if e.ended.IsZero() {
		return elapsed(e.began)
	}
	return e.ended.Sub(e.began).Truncate(time.Millisecond)
}

// holdsMore reports whether rows before the window hold other values in the
// columns than a plain ADD COLUMN gave to them.
func (e *extraction) holdsMore(ctx context.Context, s step) (bool, error) {
	var conditions []string
	for _, c := range s.doubtful {
		if c.source.Missing == nil {
			conditions = append(conditions, c.extract+" IS NOT NULL")
		} else {
			// Compared as values are written, which works for types without equality.
			conditions = append(conditions, fmt.Sprintf("(%s OPERATOR(pg_catalog.=) (%s::pg_catalog.text[])[1]) IS NOT TRUE",
				outputText(postgres.Ident(c.source.Name), c.source.Type), postgres.Literal(*c.source.Missing)))
		}
	}
	var holds bool
	err := e.tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE (%s) AND %s)",
		e.table.Name.SQL(), strings.Join(conditions, " OR "), s.window.before(len(s.layout.key) == 0)), once).Scan(&holds)
	if err != nil {
		return false, fmt.Errorf("look for values of new columns: %w", err)
	}
	return holds, nil
}

// constant is the value of an expression of a type. By a constant the planner leaves
// partitions out, and does not even lock them.
func (e *extraction) constant(ctx context.Context, expression, sql string) (string, error) {
	var text string
	if err := e.tx.QueryRow(ctx, fmt.Sprintf("SELECT (%s)::pg_catalog.text", expression), once).Scan(&text); err != nil {
		return "", fmt.Errorf("find out where the window begins: %w", err)
	}
	return postgresLiteral(text, sql), nil
}

// isEmpty reports whether the window holds no row. Most often there are some with
// later keys, which are found without looking through those before.
func (e *extraction) isEmpty(ctx context.Context, w window) (bool, error) {
	var empty bool
	err := e.tx.QueryRow(ctx, fmt.Sprintf("SELECT NOT (EXISTS (SELECT FROM %[1]s WHERE %[2]s OPERATOR(pg_catalog.>) %[3]s) OR EXISTS (SELECT FROM %[1]s WHERE %[4]s))",
		e.table.Name.SQL(), w.key.extract, postgresLiteral(*w.since, w.key.sql), w.where()), once).Scan(&empty)
	if err != nil {
		return false, fmt.Errorf("look for new rows: %w", err)
	}
	return empty && w.attached == "", nil
}

// greatestKey returns the greatest key of the window, as the source writes it,
// or nil if no row has one, and the rows to remember. Infinite keys are no place to continue from: later
// rows would all lie before it.
func (e *extraction) greatestKey(ctx context.Context, w window) (*string, []catalog.Remembered, error) {
	limit := "true"
	if w.upTo != nil {
		limit = w.key.extract + " OPERATOR(pg_catalog.<=) " + postgresLiteral(*w.upTo, w.key.sql)
	} else if w.since == nil && e.sight.survey != nil && e.sight.survey.oid == e.table.OID {
		if e.sight.survey.key == nil {
			return nil, nil, nil // there was none; those that came since are found by the next run
		}
		limit = w.key.extract + " OPERATOR(pg_catalog.<=) " + postgresLiteral(*e.sight.survey.key, w.key.sql)
	}
	if w.since != nil {
		limit += " AND " + w.key.extract + " OPERATOR(pg_catalog.>=) " + postgresLiteral(*w.since, w.key.sql)
	}
	return e.greatest(ctx, w.key, limit)
}

// greatest finds the greatest key of the rows that meet a condition, and those with the
// greatest keys, if they tell their transaction.
func (e *extraction) greatest(ctx context.Context, key column, condition string) (*string, []catalog.Remembered, error) {
	if e.sight.snapshot == "" {
		found, err := greatest(ctx, e.tx, e.table.Name, key, condition)
		return found, nil, err
	}
	// The columns have no names that could mean others in ORDER BY.
	rows, _ := e.tx.Query(ctx, fmt.Sprintf("SELECT g.k::pg_catalog.text, g.part, g.place::pg_catalog.text, g.writer::pg_catalog.text FROM ("+
		"SELECT %[1]s, tableoid, ctid, xmin FROM %[2]s WHERE %[1]s IS NOT NULL AND %[3]s AND %[4]s ORDER BY 1 DESC LIMIT %[5]d) AS g (k, part, place, writer)",
		key.extract, e.table.Name.SQL(), condition, finite(key), rememberedRows), once)
	var found *string
	newest, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r catalog.Remembered, err error) {
		var text, writer string
		if err := row.Scan(&text, &r.Part, &r.Place, &writer); err != nil {
			return r, err
		}
		if found == nil {
			found = &text
		}
		return e.remembered(r, writer)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("find the greatest %s: %w", key.source.Name, err)
	}
	return found, newest, nil
}

// once has a statement that names a table, and so is not asked again, cost one
// round trip: it is not prepared.
const once = pgx.QueryExecModeExec

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func greatest(ctx context.Context, q querier, table postgres.TableName, key column, condition string) (*string, error) {
	// In a query of its own, or ORDER BY would mean the text of that name.
	sql := fmt.Sprintf("SELECT k::pg_catalog.text FROM (SELECT %[1]s AS k FROM %[2]s WHERE %[1]s IS NOT NULL AND %[3]s AND %[4]s ORDER BY %[1]s DESC LIMIT 1) AS greatest",
		key.extract, table.SQL(), condition, finite(key))
	return textOrNil(q.QueryRow(ctx, sql, once), "find the greatest "+key.source.Name)
}

// textOrNil reads a text, or nil if there is no row.
func textOrNil(row pgx.Row, what string) (*string, error) {
	var text string
	err := row.Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &text, nil
}

// finite is the condition for keys that are not infinite or NaN.
func finite(key column) string {
	switch base(key.source.Type).Name {
	case "date", "timestamp", "timestamptz":
		return "pg_catalog.isfinite(" + key.extract + ")"
	case "numeric":
		return "(" + key.extract + ")::pg_catalog.text NOT IN ('NaN', 'Infinity', '-Infinity')"
	}
	return "true"
}

// copySQL sends the rows of the window to the client.
func (e *extraction) copySQL(l layout, w window) string {
	if w.attached != "" {
		return copyOutSQL(l, e.table.Name, w.where(), w.whereAttached())
	}
	return copyOutSQL(l, e.table.Name, w.where())
}

// copyOutSQL sends the rows that meet one of the conditions, of which no two
// are met by one row.
func copyOutSQL(l layout, table postgres.TableName, conditions ...string) string {
	queries := make([]string, len(conditions))
	for i, condition := range conditions {
		queries[i] = fmt.Sprintf("SELECT %s FROM %s WHERE %s", l.extractList(), table.SQL(), condition)
	}
	return fmt.Sprintf("COPY (%s) TO STDOUT (FORMAT %s)", strings.Join(queries, " UNION ALL "), l.format())
}

// rowsOf is the condition for rows of some of the table's partitions. What they
// are for lets the planner leave the others out.
func (e *extraction) rowsOf(ctx context.Context, leaves []uint32) (string, error) {
	rows, _ := e.tx.Query(ctx, `
		SELECT pg_catalog.format('tableoid = %s AND (%s)', l.oid, coalesce(pg_catalog.pg_get_partition_constraintdef(l.oid), 'true'))
		FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS l (oid)
		ORDER BY l.oid`, leaves)
	conditions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("look what new partitions of %s are for: %w", e.table.Name, err)
	}
	return strings.Join(conditions, " OR "), nil
}

// holdsAttached reports whether partitions that were attached hold rows that the
// window does not hold otherwise.
func (e *extraction) holdsAttached(ctx context.Context, w window) (bool, error) {
	var holds bool
	err := e.tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s)", e.table.Name.SQL(), w.whereAttached()), once).Scan(&holds)
	if err != nil {
		return false, fmt.Errorf("look into new partitions of %s: %w", e.table.Name, err)
	}
	return holds, nil
}
