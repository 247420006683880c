package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// An extraction is the source's side of one table: a snapshot, and what the
// table looks like in it.
type extraction struct {
	tx     pgx.Tx
	source reading
	table  postgres.Table
	sight  sight
	heap   heap

	began, ended time.Time   // of the snapshot; ended is zero while it is held
	stopLimit    func() bool // keeps it from becoming too old, once it has ended; nil if it has no limit

	version int  // major, of the server
	ordered bool // whether an index orders the rows by the replication key, see preferIndex
}

// A heap is where the rows of a table lie, with those of its partitions.
type heap struct {
	plain  bool     // whether each row has a place (ctid) and tells its transaction (xmin)
	leaves []uint32 // the tables that hold them
	names  []string // of those
	pages  int64    // of the largest
	bytes  int64    // of all, with what is stored aside
}

// openExtraction starts a snapshot of the source. The table is locked before,
// with its partitions, or what a view is made of: the structure read is then
// that of the rows, and no TRUNCATE or rewrite can empty them, which a snapshot
// does not protect from. Where rights or PostgreSQL 10 do not let a view or
// partitions be locked, they are read without.
func openExtraction(ctx context.Context, source reading, name postgres.TableName, kind postgres.RelationKind) (*extraction, error) {
	locks := []string{""}
	switch {
	case kind.HasKeys():
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", "LOCK TABLE ONLY " + name.SQL() + " IN ACCESS SHARE MODE"}
	case kind == postgres.View && postgres.Version(source.Conn) >= 11:
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", ""}
	case kind == postgres.MaterializedView:
		// LOCK does not know them, and reading does the same. The snapshot is older
		// than that lock, but sees what a REFRESH between the two has brought.
		locks = []string{"SELECT FROM " + name.SQL() + " LIMIT 0"}
	}
	var e *extraction
	err := inTurns(ctx, lockPatience, func() (err error) {
		for _, lock := range locks {
			if e, err = beginExtraction(ctx, source, name, lock); postgres.Code(err) != "42501" {
				break
			}
		}
		return err
	})
	if postgres.Code(err) == lockNotAvailable {
		err = &heldError{nameHolders(ctx, source, name, false, err)}
	}
	if err != nil {
		return nil, &extractError{err}
	}
	return e, nil
}

func beginExtraction(ctx context.Context, source reading, name postgres.TableName, lock string) (*extraction, error) {
	tx, err := source.begin(ctx, pgx.RepeatableRead)
	if err != nil {
		return nil, err
	}
	e := &extraction{tx: tx, source: source, began: time.Now(), version: postgres.Version(source.Conn)}
	if err := e.start(ctx, name, lock); err != nil {
		e.close(ctx)
		return nil, err
	}
	return e, nil
}

func (e *extraction) start(ctx context.Context, name postgres.TableName, lock string) error {
	if lock != "" { // before statements that read, which take the snapshot
		if _, err := e.tx.Exec(ctx, lock); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	var tables map[postgres.TableName]postgres.Table
	err := postgres.Send(ctx, e.tx, "read the structure of "+name.String(), func(batch *pgx.Batch) {
		e.source.queuePinsCheck(batch)
		postgres.QueueTables(batch, e.version, []postgres.TableName{name}, &tables)
		e.queueHeap(batch, name)
	})
	if err != nil {
		return err
	}
	table, ok := tables[name]
	if !ok {
		return fmt.Errorf("%s does not exist any more", name)
	}
	e.table = table
	if !table.Kind.HasKeys() {
		e.sight.files = nil // a materialized view is written anew each time
	}
	switch {
	case !table.Kind.HasKeys() && table.Kind != postgres.MaterializedView:
		e.heap, e.sight = heap{}, sight{blind: "rows of a view or foreign table do not tell which transaction wrote them"}
	case !e.heap.plain:
		e.sight = sight{blind: "the table, or a part of it, is not stored as PostgreSQL's own are", files: e.sight.files}
	}
	return nil
}

const heapSQL = `
	WITH RECURSIVE part AS (
		SELECT c.oid, c.relkind, c.relam, c.relfilenode
		FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass($1)
		UNION
		SELECT c.oid, c.relkind, c.relam, c.relfilenode
		FROM part
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
	)
	SELECT pg_catalog.txid_current_snapshot()::pg_catalog.text, pg_catalog.clock_timestamp()::pg_catalog.text,
		coalesce(pg_catalog.bool_and(part.relkind IN ('r', 'm') AND (part.relam = 0 OR a.amname = 'heap')), true),
		coalesce(pg_catalog.array_agg(part.oid ORDER BY part.oid), '{}'::pg_catalog.oid[]),
		coalesce(pg_catalog.array_agg(part.oid::pg_catalog.regclass::pg_catalog.text ORDER BY part.oid), '{}'::pg_catalog.text[]),
		coalesce(pg_catalog.array_agg(part.relfilenode ORDER BY part.oid), '{}'::pg_catalog.oid[]),
		coalesce(pg_catalog.max(pg_catalog.pg_relation_size(part.oid)) / pg_catalog.current_setting('block_size')::bigint, 0),
		coalesce(pg_catalog.sum(pg_catalog.pg_table_size(part.oid))::bigint, 0)
	FROM part
	LEFT JOIN pg_catalog.pg_am AS a ON a.oid = part.relam
	WHERE part.relkind <> 'p'`

// queueHeap looks by a batch where the rows of a table are, and what can be seen of them.
func (e *extraction) queueHeap(batch *pgx.Batch, name postgres.TableName) {
	batch.Queue(heapSQL, name.SQL()).QueryRow(func(row pgx.Row) error {
		var files []uint32
		h := &e.heap
		if err := row.Scan(&e.sight.snapshot, &e.sight.clock, &h.plain, &h.leaves, &h.names, &files, &h.pages, &h.bytes); err != nil {
			return fmt.Errorf("look where the rows of %s are: %w", name, err)
		}
		if err := postgres.SameLength(len(h.leaves), len(h.names), len(files)); err != nil {
			return err
		}
		e.sight.files = map[uint32]uint32{}
		for i, leaf := range h.leaves {
			e.sight.files[leaf] = files[i]
		}
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

// sameLeaves reports whether partitions came or went since the extraction began,
// which it ends: statements see partitions as they are, but what a transaction
// reads of the catalog is as old as its snapshot.
func (e *extraction) sameLeaves(ctx context.Context) (bool, error) {
	e.close(ctx)
	var now extraction
	err := e.source.read(ctx, func(tx pgx.Tx) error {
		return postgres.Send(ctx, tx, "read the partitions of "+e.table.Name.String()+" again", func(batch *pgx.Batch) { now.queueHeap(batch, e.table.Name) })
	})
	return slices.Equal(now.heap.leaves, e.heap.leaves), err
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
// or nil if no row has one. Infinite keys are no place to continue from: later
// rows would all lie before it.
func (e *extraction) greatestKey(ctx context.Context, w window) (*string, error) {
	limit := "true"
	if w.upTo != nil {
		limit = w.key.extract + " OPERATOR(pg_catalog.<=) " + postgresLiteral(*w.upTo, w.key.sql)
	} else if w.since == nil && e.sight.survey != nil && e.sight.survey.oid == e.table.OID {
		if e.sight.survey.key == nil {
			return nil, nil // there was none; those that came since are found by the next run
		}
		limit = w.key.extract + " OPERATOR(pg_catalog.<=) " + postgresLiteral(*e.sight.survey.key, w.key.sql)
	}
	if w.since != nil {
		limit += " AND " + w.key.extract + " OPERATOR(pg_catalog.>=) " + postgresLiteral(*w.since, w.key.sql)
	}
	return greatest(ctx, e.tx, e.table.Name, w.key, limit)
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
