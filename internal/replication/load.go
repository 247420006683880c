package replication

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// analyzeRows is the number of staged rows from which ANALYZE pays off before a join.
const analyzeRows = 1000

// A mergePlan says what the load does with rows that were copied into the destination.
type mergePlan struct {
	layout         layout
	version        int64  // of the table, after the load
	reset          bool   // whether the version is a new one
	replicationKey string // the column whose nulls are counted; "" if it has none
	keyNotUnique   bool   // whether the source does not guarantee that the key identifies a row
	deletes        bool   // whether rows that were not copied are deleted
	upserts        bool   // whether few of the copied rows already exist
	undone         *int64 // rows with a greater _sdc_sequence that were not copied are deleted as well
	repeated       string // the condition for rows of the table, with the alias d, that may have been copied again
}

// A loading is a transaction of the destination that commits rows, bookmark and report
// together, or nothing.
type loading struct {
	tx   pgx.Tx
	plan mergePlan
}

// copyFunc copies rows into a new table or a staging table, by a COPY into it.
type copyFunc func(copyIn string) (rows int64, err error)

// A loadResult says what a load did with its rows.
type loadResult struct {
	rows     int64 // that were copied
	changed  int64 // rows inserted, changed or given another version
	grown    int64 // by how many the number of rows grew
	undone   int64 // rows deleted because the source has gone back to before they existed
	nullKeys int64
}

// create loads rows into a new table.
func (ld loading) create(ctx context.Context, copyRows copyFunc) (loadResult, error) {
	l := ld.plan.layout
	if _, err := ld.tx.Exec(ctx, l.createSQL(l.target.SQL())); err != nil {
		return loadResult{}, fmt.Errorf("create %s: %w", l.target, err)
	}
	rows, err := copyRows(l.copyInSQL(l.target.SQL()))
	if err != nil {
		return loadResult{}, err
	}
	return ld.complete(ctx, rows)
}

// complete makes a table that only has its rows complete. It builds the key after the rows
// are there, and adds the system columns as constants, which costs nothing per row.
func (ld loading) complete(ctx context.Context, rows int64) (loadResult, error) {
	l := ld.plan.layout
	if _, err := ld.tx.Exec(ctx, l.systemSQL(ld.plan.version)); err != nil {
		return loadResult{}, fmt.Errorf("add the system columns to %s: %w", l.target, err)
	}
	if err := ld.identifyRows(ctx); err != nil {
		return loadResult{}, err
	}
	nullKeys, err := ld.countNullKeys(ctx, l.target.SQL())
	return loadResult{rows: rows, changed: rows, grown: rows, nullKeys: nullKeys}, err
}

// identifyRows builds the key. Rows without a key are identified to a publication by all
// their values; otherwise the publication would refuse to have them changed.
func (ld loading) identifyRows(ctx context.Context) error {
	l := ld.plan.layout
	how := "REPLICA IDENTITY FULL"
	if len(l.key) > 0 {
		how = fmt.Sprintf("ADD PRIMARY KEY (%s), REPLICA IDENTITY DEFAULT", list(l.key, "?"))
	}
	if _, err := ld.tx.Exec(ctx, fmt.Sprintf("ALTER TABLE %s %s", l.target.SQL(), how)); err != nil {
		return fmt.Errorf("identify the rows of %s by %s: %w", l.target, keyText(l.key), err)
	}
	return nil
}

// countNullKeys counts the rows whose replication key is null.
func (ld loading) countNullKeys(ctx context.Context, table string) (n int64, err error) {
	key := ld.plan.replicationKey
	if key == "" {
		return 0, nil
	}
	err = ld.tx.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s IS NULL", table, pgclient.Ident(key)), unprepared).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the rows of %s without a replication key: %w", ld.plan.layout.target, err)
	}
	return n, nil
}

// stageAndMerge loads rows into a table that exists.
func (ld loading) stageAndMerge(ctx context.Context, copyRows copyFunc) (loadResult, error) {
	l := ld.plan.layout
	if _, err := ld.tx.Exec(ctx, l.sessionStagingSQL()); err != nil {
		return loadResult{}, fmt.Errorf("create the staging table for %s: %w", l.target, err)
	}
	rows, err := copyRows(l.copyInSQL(sessionStaging))
	if err != nil {
		return loadResult{}, err
	}
	return ld.merge(ctx, sessionStaging, rows)
}

// merge merges staged rows into a table that exists.
func (ld loading) merge(ctx context.Context, staging string, rows int64) (loadResult, error) {
	l := ld.plan.layout
	if rows >= analyzeRows && !ld.plan.upserts {
		if _, err := ld.tx.Exec(ctx, l.analyzeSQL(staging)); err != nil {
			return loadResult{}, fmt.Errorf("analyze the staging table for %s: %w", l.target, err)
		}
	}
	nullKeys, err := ld.countNullKeys(ctx, staging)
	if err != nil {
		return loadResult{}, err
	}
	if err := ld.checkKey(ctx, staging); err != nil {
		return loadResult{}, err
	}
	if l.keyChanged {
		changed, err := ld.replaceAll(ctx, staging)
		return loadResult{rows: rows, changed: changed, nullKeys: nullKeys}, err
	}
	if ld.plan.deletes {
		if _, err := ld.tx.Exec(ctx, ld.deleteSQL(staging)); err != nil {
			return loadResult{}, fmt.Errorf("delete from %s what is gone at the source: %w", l.target, err)
		}
	}
	into := loadResult{rows: rows, nullKeys: nullKeys}
	if ld.plan.undone != nil && !ld.plan.deletes {
		tag, err := ld.tx.Exec(ctx, l.deleteUndoneSQL(staging, *ld.plan.undone))
		if err != nil {
			return loadResult{}, fmt.Errorf("delete from %s what the source has lost: %w", l.target, err)
		}
		into.undone = tag.RowsAffected()
	}
	if ld.plan.upserts {
		if err := ld.tx.QueryRow(ctx, l.countedUpsertSQL(staging), unprepared, ld.plan.version).Scan(&into.changed, &into.grown); err != nil {
			return loadResult{}, fmt.Errorf("merge into %s: %w", l.target, err)
		}
		return into, nil
	}
	for _, sql := range ld.mergeSQL(staging) {
		tag, err := ld.tx.Exec(ctx, sql, unprepared, ld.plan.version)
		if err != nil {
			return loadResult{}, fmt.Errorf("merge into %s: %w", l.target, err)
		}
		into.changed += tag.RowsAffected()
		if tag.Insert() {
			into.grown += tag.RowsAffected()
		}
	}
	return into, nil
}

// checkKey refuses staged rows that share a key: one would replace the other.
func (ld loading) checkKey(ctx context.Context, staging string) error {
	l := ld.plan.layout
	if !ld.plan.keyNotUnique || len(l.key) == 0 {
		return nil
	}
	var shared bool
	err := ld.tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s AS s GROUP BY %s HAVING pg_catalog.count(*) > 1)", staging, list(l.key, "s.?")), unprepared).Scan(&shared)
	if err != nil {
		return fmt.Errorf("look for rows of %s that share their key: %w", l.target, err)
	}
	if shared {
		return fmt.Errorf("merge into %s: rows of the source share the key %s, and one would take the place of another: "+
			"set view_key_properties to columns that identify a row of the view; of tables that inherit from one another, replicate each through a view", l.target, keyText(l.key))
	}
	return nil
}

// mergeSQL merges the staged rows that need not be inserted one by one.
func (ld loading) mergeSQL(staging string) []string {
	l := ld.plan.layout
	if len(l.key) == 0 {
		return []string{l.insertMissingCopiesSQL(staging, ld.plan.repeated)}
	}
	return []string{l.updateSQL(staging), l.insertNewSQL(staging)}
}

// deleteSQL deletes rows that are gone at the source. Rows without a key carry their version
// only if they are inserted, so a reset deletes all rows first.
func (ld loading) deleteSQL(staging string) string {
	switch {
	case len(ld.plan.layout.key) > 0:
		return ld.plan.layout.deleteMissingSQL(staging)
	case ld.plan.reset:
		return "DELETE FROM " + ld.plan.layout.target.SQL()
	}
	return ld.plan.layout.deleteExtraCopiesSQL(staging)
}

const keySQL = `
	SELECT k.conname, a.attname
	FROM pg_catalog.pg_constraint AS k
	CROSS JOIN LATERAL pg_catalog.unnest(k.conkey) AS c (attnum)
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
	WHERE k.conrelid = $1::pg_catalog.text::pg_catalog.regclass AND k.contype = 'p'
	ORDER BY a.attnum`

// alone runs a statement that keeps readers of a table out. It waits for current readers in
// short turns, because other sessions queue behind it. Any later wait of the transaction for
// a lock ends within one turn.
func (ld loading) alone(ctx context.Context, patience time.Duration, table relation.TableName, sql string) error {
	err := inTurns(ctx, patience, func() error {
		return pgx.BeginFunc(ctx, ld.tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, lockTurnSQL+"; "+sql)
			return err
		})
	})
	return nameHolders(ctx, ld.tx, table, true, err)
}

// replaceAll gives the table another key and loads all its rows again. From here to the end
// of the transaction readers wait: nothing tells old rows from new ones.
func (ld loading) replaceAll(ctx context.Context, staging string) (changed int64, err error) {
	l := ld.plan.layout
	if err := ld.alone(ctx, exclusivePatience, l.target, "LOCK TABLE "+l.target.SQL()+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return 0, fmt.Errorf("give %s another key: %w", l.target, err)
	}
	// This runs while the table still has its key: a publication refuses to delete rows without
	// one.
	if _, err := ld.tx.Exec(ctx, "DELETE FROM "+l.target.SQL()); err != nil {
		return 0, fmt.Errorf("replace the rows of %s: %w", l.target, err)
	}
	rows, _ := ld.tx.Query(ctx, keySQL, l.target.SQL())
	var constraint, column string
	var statements []string
	_, err = pgx.ForEachRow(rows, []any{&constraint, &column}, func() error {
		statements = append(statements, "ALTER COLUMN "+pgclient.Ident(column)+" DROP NOT NULL")
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("look for the key of %s: %w", l.target, err)
	}
	if constraint != "" {
		statements = append([]string{"DROP CONSTRAINT " + pgclient.Ident(constraint)}, statements...)
	}
	for _, statement := range statements { // one by one: the key must be dropped first
		if _, err := ld.tx.Exec(ctx, "ALTER TABLE "+l.target.SQL()+" "+statement); err != nil {
			return 0, fmt.Errorf("drop the key of %s, which is another one now: %w", l.target, err)
		}
	}
	tag, err := ld.tx.Exec(ctx, l.insertSQL(staging), unprepared, ld.plan.version)
	if err != nil {
		return 0, fmt.Errorf("replace the rows of %s: %w", l.target, err)
	}
	return tag.RowsAffected(), ld.identifyRows(ctx)
}

func (l layout) copyInSQL(table string) string {
	return fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT %s)", table, list(l.names(), "?"), l.format())
}

// systemSQL gives the rows just loaded their system columns.
func (l layout) systemSQL(version int64) string {
	values := []string{"pg_catalog.now()", "pg_catalog.now()", "(extract(epoch FROM pg_catalog.now()) * 1000000)::bigint * 1000", fmt.Sprint(version)}
	add, keep := "", ""
	for i, c := range systemColumns {
		if i > 0 {
			add, keep = add+", ", keep+", "
		}
		add += "ADD COLUMN " + c.name + " " + c.sql + " DEFAULT " + values[i]
		keep += "ALTER COLUMN " + c.name + " DROP DEFAULT"
	}
	sql := fmt.Sprintf("ALTER TABLE %[1]s %[2]s; ALTER TABLE %[1]s %[3]s", l.target.SQL(), add, keep)
	for _, c := range systemColumns {
		sql += fmt.Sprintf("; COMMENT ON COLUMN %s.%s IS %s", l.target.SQL(), c.name, pgclient.Literal(c.comment))
	}
	return sql
}
