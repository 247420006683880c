package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// openExtraction starts a snapshot of the source. The table is locked before,
// with its partitions, or what a view is made of: the structure read is then
// that of the rows, and no TRUNCATE or rewrite can empty them, which a snapshot
// does not protect from. Where rights or PostgreSQL 10 do not let a view be locked, it is
// read without. Where rights or the size of the server's lock table do not let partitions
// be locked, they are looked at again in the end. A login that may read some columns only
// locks the table by reading.
func openExtraction(ctx context.Context, source sourceSession, name postgres.TableName, kind postgres.RelationKind, q meaningQuestion) (*extraction, error) {
	locks := []string{""}
	switch {
	case kind.HasKeys():
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", "LOCK TABLE ONLY " + name.SQL() + " IN ACCESS SHARE MODE", "SELECT FROM ONLY " + name.SQL() + " LIMIT 0"}
	case kind == postgres.View && postgres.Version(source.Conn) >= 11:
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", ""}
	case kind == postgres.MaterializedView:
		// LOCK does not know them, and reading does the same. The snapshot is older
		// than that lock, but sees what a REFRESH between the two has brought.
		locks = []string{"SELECT FROM " + name.SQL() + " LIMIT 0"}
	}
	whole := locks[0]
	if kind == postgres.PartitionedTable {
		many, err := hasManyPartitions(ctx, source, name)
		if err != nil {
			return nil, &sourceError{err}
		}
		if many {
			locks = locks[1:]
		}
	}
	var e *extraction
	err := inTurns(ctx, lockPatience, func() (err error) {
		for _, lock := range locks {
			for range attempts {
				if e, err = beginExtraction(ctx, source, name, lock, q); !errors.Is(err, errChangedMeanwhile) {
					break
				}
			}
			if e != nil {
				e.open = lock != whole && kind.HasKeys() && !slices.Equal(e.heap.leaves, []uint32{e.table.OID})
			}
			if code := postgres.Code(err); code != "42501" && code != outOfLocks {
				break
			}
		}
		return err
	})
	if postgres.Code(err) == lockNotAvailable {
		err = &heldError{nameHolders(ctx, source, name, false, err)}
	}
	if err != nil {
		return nil, &sourceError{err}
	}
	return e, nil
}

// manyPartitionsSQL reports whether a table has more partitions than a tenth of the
// server's lock table has room for. Others need it too.
const manyPartitionsSQL = `
	WITH RECURSIVE part AS (
		SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid
		UNION
		SELECT i.inhrelid
		FROM part
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
	)
	SELECT pg_catalog.count(*) > pg_catalog.current_setting('max_locks_per_transaction')::int * pg_catalog.current_setting('max_connections')::int / 10
	FROM part`

func hasManyPartitions(ctx context.Context, source sourceSession, name postgres.TableName) (many bool, err error) {
	err = source.read(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, manyPartitionsSQL, name.SQL()).Scan(&many) })
	if err != nil {
		return false, fmt.Errorf("count the partitions of %s: %w", name, err)
	}
	return many, nil
}

// outOfLocks is the SQLSTATE of a lock table that is full.
const outOfLocks = "53200"

// errChangedMeanwhile is met when a table changed between a snapshot and its lock.
var errChangedMeanwhile = errors.New("the table was changed while it was opened")

func beginExtraction(ctx context.Context, source sourceSession, name postgres.TableName, lock string, q meaningQuestion) (*extraction, error) {
	tx, err := source.begin(ctx, pgx.RepeatableRead)
	if err != nil {
		return nil, err
	}
	e := &extraction{tx: tx, source: source, began: time.Now(), version: postgres.Version(source.Conn)}
	if err := e.start(ctx, name, lock, q); err != nil {
		e.close(ctx)
		return nil, err
	}
	return e, nil
}

func (e *extraction) start(ctx context.Context, name postgres.TableName, lock string, q meaningQuestion) error {
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
		e.queueMeaning(batch, name, q)
		e.queuePosition(batch)
	})
	if err != nil {
		return err
	}
	_, e.position.Transaction, _ = bounds(e.sight.snapshot)
	table, ok := tables[name]
	if strings.HasPrefix(lock, "SELECT") && (!ok || table.Kind.HasKeys()) {
		if err := e.checkUnchanged(ctx, name, table); err != nil {
			return err
		}
	}
	if !ok {
		return fmt.Errorf("%s does not exist any more", name)
	}
	e.table = table
	if !table.Kind.HasKeys() {
		e.sight.files = nil // a materialized view is rewritten each time
	}
	switch {
	case !table.Kind.HasKeys() && table.Kind != postgres.MaterializedView:
		e.heap, e.sight = heap{}, sight{blind: "rows of a view or foreign table do not tell which transaction wrote them"}
	case !e.heap.told:
		e.heap.plain = false
		e.sight = sight{blind: "the login may not read which transaction wrote a row: grant it SELECT on the table, or GRANT SELECT (xmin, ctid, tableoid)", files: e.sight.files}
	case !e.heap.plain:
		e.sight = sight{blind: "the table, or a part of it, is not stored as PostgreSQL's own are", files: e.sight.files}
	}
	return e.completeMeaning(ctx, q)
}

// unchangedSQL compares what the snapshot holds of a table with what there is now, as
// functions see it: which table it is, where its rows lie, and the names of its columns.
const unchangedSQL = `
	SELECT pg_catalog.to_regclass($1)::pg_catalog.oid IS NOT DISTINCT FROM nullif($2::pg_catalog.oid, 0)
		AND NOT EXISTS (
			SELECT
			FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.oid[]), pg_catalog.unnest($4::pg_catalog.oid[])) AS f (leaf, file)
			WHERE coalesce(pg_catalog.pg_relation_filenode(f.leaf), 0) <> f.file)
		AND NOT EXISTS (
			SELECT
			FROM pg_catalog.pg_attribute AS a
			WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped
				AND CASE WHEN pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') IS NULL THEN true
					ELSE (pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, a.attrelid, a.attnum)).identity
						<> pg_catalog.format('%I.%I.%I', $5::pg_catalog.text, $6::pg_catalog.text, a.attname) END)`

// checkUnchanged makes sure that the table was not changed between the snapshot and the
// lock, where that came second.
func (e *extraction) checkUnchanged(ctx context.Context, name postgres.TableName, table postgres.Table) error {
	files := make([]uint32, len(e.heap.leaves))
	for i, leaf := range e.heap.leaves {
		files[i] = e.sight.files[leaf]
	}
	var unchanged bool
	err := e.tx.QueryRow(ctx, unchangedSQL, name.SQL(), table.OID, e.heap.leaves, files, name.Schema, name.Name).Scan(&unchanged)
	if err == nil && !unchanged {
		err = errChangedMeanwhile
	}
	return err
}
