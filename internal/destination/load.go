package destination

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// analyzeRows is the number of staged rows from which ANALYZE pays off before a join.
const analyzeRows = 1000

// A MergePlan says what the load does with rows that were copied into the destination.
type MergePlan struct {
	Layout         Layout
	Version        int64  // of the table, after the load
	Reset          bool   // whether the version is a new one
	ReplicationKey string // the column whose nulls are counted; "" if it has none
	KeyNotUnique   bool   // whether the source does not guarantee that the key identifies a row
	Deletes        bool   // whether rows that were not copied are deleted
	Upserts        bool   // whether few of the copied rows already exist
	Undone         *int64 // rows with a greater _sdc_sequence that were not copied are deleted as well
	Repeated       string // the condition for rows of the table, with the alias d, that may have been copied again
}

// A Loading is a transaction of the destination that commits rows, bookmark and report
// together, or nothing.
type Loading struct {
	Tx   pgx.Tx
	Plan MergePlan
}

// copyFunc copies rows into a new table or a staging table, by a COPY into it.
type copyFunc func(copyIn string) (rows int64, err error)

// A LoadResult says what a load did with its rows.
type LoadResult struct {
	Rows     int64 // that were copied
	Changed  int64 // rows inserted, changed or given another version
	Grown    int64 // by how many the number of rows grew
	Undone   int64 // rows deleted because the source has gone back to before they existed
	NullKeys int64
}

// Create loads rows into a new table.
func (ld Loading) Create(ctx context.Context, copyRows copyFunc) (LoadResult, error) {
	l := ld.Plan.Layout
	if _, err := ld.Tx.Exec(ctx, l.createSQL(l.target.SQL())); err != nil {
		return LoadResult{}, fmt.Errorf("create %s: %w", l.target, err)
	}
	rows, err := copyRows(l.CopyInSQL(l.target.SQL()))
	if err != nil {
		return LoadResult{}, err
	}
	return ld.complete(ctx, rows)
}

// complete makes a table that only has its rows complete. It builds the key after the rows
// are there, and adds the system columns as constants, which costs nothing per row.
func (ld Loading) complete(ctx context.Context, rows int64) (LoadResult, error) {
	l := ld.Plan.Layout
	if _, err := ld.Tx.Exec(ctx, l.systemSQL(ld.Plan.Version)); err != nil {
		return LoadResult{}, fmt.Errorf("add the system columns to %s: %w", l.target, err)
	}
	if err := ld.identifyRows(ctx); err != nil {
		return LoadResult{}, err
	}
	nullKeys, err := ld.countNullKeys(ctx, l.target.SQL())
	return LoadResult{Rows: rows, Changed: rows, Grown: rows, NullKeys: nullKeys}, err
}

// identifyRows builds the key. Rows without a key are identified to a publication by all
// their values; otherwise the publication would refuse to have them changed.
func (ld Loading) identifyRows(ctx context.Context) error {
	l := ld.Plan.Layout
	how := "REPLICA IDENTITY FULL"
	if len(l.Key) > 0 {
		how = fmt.Sprintf("ADD PRIMARY KEY (%s), REPLICA IDENTITY DEFAULT", session.List(l.Key, "?"))
	}
	if _, err := ld.Tx.Exec(ctx, fmt.Sprintf("ALTER TABLE %s %s", l.target.SQL(), how)); err != nil {
		return fmt.Errorf("identify the rows of %s by %s: %w", l.target, KeyText(l.Key), err)
	}
	return nil
}

// countNullKeys counts the rows whose replication key is null.
func (ld Loading) countNullKeys(ctx context.Context, table string) (n int64, err error) {
	key := ld.Plan.ReplicationKey
	if key == "" {
		return 0, nil
	}
	err = ld.Tx.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s IS NULL", table, pgclient.Ident(key)), session.Unprepared).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the rows of %s without a replication key: %w", ld.Plan.Layout.target, err)
	}
	return n, nil
}

// StageAndMerge loads rows into a table that exists.
func (ld Loading) StageAndMerge(ctx context.Context, copyRows copyFunc) (LoadResult, error) {
	l := ld.Plan.Layout
	if _, err := ld.Tx.Exec(ctx, l.sessionStagingSQL()); err != nil {
		return LoadResult{}, fmt.Errorf("create the staging table for %s: %w", l.target, err)
	}
	rows, err := copyRows(l.CopyInSQL(sessionStaging))
	if err != nil {
		return LoadResult{}, err
	}
	return ld.merge(ctx, sessionStaging, rows)
}

// merge merges staged rows into a table that exists.
func (ld Loading) merge(ctx context.Context, staging string, rows int64) (LoadResult, error) {
	l := ld.Plan.Layout
	if rows >= analyzeRows && !ld.Plan.Upserts {
		if _, err := ld.Tx.Exec(ctx, l.analyzeSQL(staging)); err != nil {
			return LoadResult{}, fmt.Errorf("analyze the staging table for %s: %w", l.target, err)
		}
	}
	nullKeys, err := ld.countNullKeys(ctx, staging)
	if err != nil {
		return LoadResult{}, err
	}
	if err := ld.checkKey(ctx, staging); err != nil {
		return LoadResult{}, err
	}
	if l.KeyChanged {
		changed, err := ld.replaceAll(ctx, staging)
		return LoadResult{Rows: rows, Changed: changed, NullKeys: nullKeys}, err
	}
	if ld.Plan.Deletes {
		if _, err := ld.Tx.Exec(ctx, ld.deleteSQL(staging)); err != nil {
			return LoadResult{}, fmt.Errorf("delete from %s the rows that are gone at the source: %w", l.target, err)
		}
	}
	into := LoadResult{Rows: rows, NullKeys: nullKeys}
	if ld.Plan.Undone != nil && !ld.Plan.Deletes {
		tag, err := ld.Tx.Exec(ctx, l.deleteUndoneSQL(staging, *ld.Plan.Undone))
		if err != nil {
			return LoadResult{}, fmt.Errorf("delete from %s the rows that the source has lost: %w", l.target, err)
		}
		into.Undone = tag.RowsAffected()
	}
	if ld.Plan.Upserts {
		if err := ld.Tx.QueryRow(ctx, l.countedUpsertSQL(staging), session.Unprepared, ld.Plan.Version).Scan(&into.Changed, &into.Grown); err != nil {
			return LoadResult{}, fmt.Errorf("merge into %s: %w", l.target, err)
		}
		return into, nil
	}
	for _, sql := range ld.mergeSQL(staging) {
		tag, err := ld.Tx.Exec(ctx, sql, session.Unprepared, ld.Plan.Version)
		if err != nil {
			return LoadResult{}, fmt.Errorf("merge into %s: %w", l.target, err)
		}
		into.Changed += tag.RowsAffected()
		if tag.Insert() {
			into.Grown += tag.RowsAffected()
		}
	}
	return into, nil
}

// checkKey refuses staged rows that share a key: one would replace the other.
func (ld Loading) checkKey(ctx context.Context, staging string) error {
	l := ld.Plan.Layout
	if !ld.Plan.KeyNotUnique || len(l.Key) == 0 {
		return nil
	}
	var shared bool
	err := ld.Tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s AS s GROUP BY %s HAVING pg_catalog.count(*) > 1)", staging, session.List(l.Key, "s.?")), session.Unprepared).Scan(&shared)
	if err != nil {
		return fmt.Errorf("look for rows of %s that share their key: %w", l.target, err)
	}
	if shared {
		return fmt.Errorf("merge into %s: several rows of the source have the same key %s, and one would overwrite another. "+
			"For a view, set view_key_properties to columns that identify a row. If other tables inherit from the table, replicate each of these tables through a view of its own", l.target, KeyText(l.Key))
	}
	return nil
}

// mergeSQL merges the staged rows that need not be inserted one by one.
func (ld Loading) mergeSQL(staging string) []string {
	l := ld.Plan.Layout
	if len(l.Key) == 0 {
		return []string{l.insertMissingCopiesSQL(staging, ld.Plan.Repeated)}
	}
	return []string{l.updateSQL(staging), l.insertNewSQL(staging)}
}

// deleteSQL deletes rows that are gone at the source. Rows without a key carry their version
// only if they are inserted, so a reset deletes all rows first.
func (ld Loading) deleteSQL(staging string) string {
	switch {
	case len(ld.Plan.Layout.Key) > 0:
		return ld.Plan.Layout.deleteMissingSQL(staging)
	case ld.Plan.Reset:
		return "DELETE FROM " + ld.Plan.Layout.target.SQL()
	}
	return ld.Plan.Layout.deleteExtraCopiesSQL(staging)
}

const keySQL = `
	SELECT k.conname, a.attname
	FROM pg_catalog.pg_constraint AS k
	CROSS JOIN LATERAL pg_catalog.unnest(k.conkey) AS c (attnum)
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
	WHERE k.conrelid = $1::pg_catalog.text::pg_catalog.regclass AND k.contype = 'p'
	ORDER BY a.attnum`

// execExclusive runs a statement that keeps readers of a table out. It waits for current
// readers in short turns, because other sessions queue behind it. Any later wait of the
// transaction for a lock ends within one turn.
func (ld Loading) execExclusive(ctx context.Context, maxWait time.Duration, table relation.TableName, sql string) error {
	err := session.RetryLocked(ctx, maxWait, func() error {
		return pgx.BeginFunc(ctx, ld.Tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, session.LockTimeoutSQL+"; "+sql)
			return err
		})
	})
	return session.NameHolders(ctx, ld.Tx, table, true, err)
}

// replaceAll gives the table another key and loads all its rows again. From here to the end
// of the transaction readers wait: nothing tells old rows from new ones.
func (ld Loading) replaceAll(ctx context.Context, staging string) (changed int64, err error) {
	l := ld.Plan.Layout
	if err := ld.execExclusive(ctx, session.MaxExclusiveWait, l.target, "LOCK TABLE "+l.target.SQL()+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return 0, fmt.Errorf("change the key of %s: %w", l.target, err)
	}
	// This runs while the table still has its key: a publication refuses to delete rows without
	// one.
	if _, err := ld.Tx.Exec(ctx, "DELETE FROM "+l.target.SQL()); err != nil {
		return 0, fmt.Errorf("replace the rows of %s: %w", l.target, err)
	}
	rows, _ := ld.Tx.Query(ctx, keySQL, l.target.SQL())
	var constraint, column string
	var statements []string
	_, err = pgx.ForEachRow(rows, []any{&constraint, &column}, func() error {
		statements = append(statements, "ALTER COLUMN "+pgclient.Ident(column)+" DROP NOT NULL")
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read the key of %s: %w", l.target, err)
	}
	if constraint != "" {
		statements = append([]string{"DROP CONSTRAINT " + pgclient.Ident(constraint)}, statements...)
	}
	for _, statement := range statements { // one by one: the key must be dropped first
		if _, err := ld.Tx.Exec(ctx, "ALTER TABLE "+l.target.SQL()+" "+statement); err != nil {
			return 0, fmt.Errorf("drop the old key of %s: %w", l.target, err)
		}
	}
	tag, err := ld.Tx.Exec(ctx, l.insertSQL(staging), session.Unprepared, ld.Plan.Version)
	if err != nil {
		return 0, fmt.Errorf("replace the rows of %s: %w", l.target, err)
	}
	return tag.RowsAffected(), ld.identifyRows(ctx)
}

// CopyInSQL is the COPY by which the destination takes rows into a table.
func (l Layout) CopyInSQL(table string) string {
	return fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT %s)", table, session.List(l.Names(), "?"), l.Format())
}

// systemSQL gives the rows just loaded their system columns.
func (l Layout) systemSQL(version int64) string {
	values := []string{"pg_catalog.now()", "pg_catalog.now()", "(extract(epoch FROM pg_catalog.now()) * 1000000)::bigint * 1000", fmt.Sprint(version)}
	add, keep := "", ""
	for i, c := range definition.SystemColumns {
		if i > 0 {
			add, keep = add+", ", keep+", "
		}
		add += "ADD COLUMN " + c.Name + " " + c.SQL + " DEFAULT " + values[i]
		keep += "ALTER COLUMN " + c.Name + " DROP DEFAULT"
	}
	sql := fmt.Sprintf("ALTER TABLE %[1]s %[2]s; ALTER TABLE %[1]s %[3]s", l.target.SQL(), add, keep)
	for _, c := range definition.SystemColumns {
		sql += fmt.Sprintf("; COMMENT ON COLUMN %s.%s IS %s", l.target.SQL(), c.Name, pgclient.Literal(c.Comment))
	}
	return sql
}
