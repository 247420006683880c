package replication

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// analyzeRows is from how many staged rows on the planner is told about them,
// if they are to be joined.
const analyzeRows = 1000

// A loading is the destination's side of one table: a transaction that ends
// with rows, bookmark and report, or with nothing.
type loading struct {
	tx pgx.Tx
	step
}

// fill loads rows into a new table or a stage, with a COPY into it.
type fill func(copyIn string) (copied, error)

// A loaded says what became of the rows of a load.
type loaded struct {
	copied
	changed  int64 // rows inserted, changed or given another version
	grown    int64 // how many more rows there are
	undone   int64 // rows deleted because the source has gone back to before they were there
	nullKeys int64
}

// create loads rows into a new table.
func (ld loading) create(ctx context.Context, fill fill) (loaded, error) {
	l := ld.layout
	if _, err := ld.tx.Exec(ctx, l.createSQL(l.target.SQL())); err != nil {
		return loaded{}, fmt.Errorf("create %s: %w", l.target, err)
	}
	c, err := fill(l.copyInSQL(l.target.SQL()))
	if err != nil {
		return loaded{}, err
	}
	return ld.complete(ctx, c)
}

// complete makes a table of one that only has its rows. The key is built after
// them, and the system columns are added as constants, which costs nothing per row.
func (ld loading) complete(ctx context.Context, c copied) (loaded, error) {
	l := ld.layout
	if _, err := ld.tx.Exec(ctx, l.systemSQL(ld.version)); err != nil {
		return loaded{}, fmt.Errorf("add the system columns to %s: %w", l.target, err)
	}
	if err := ld.identifyRows(ctx); err != nil {
		return loaded{}, err
	}
	nullKeys, err := ld.countNullKeys(ctx, l.target.SQL())
	return loaded{copied: c, changed: c.rows, grown: c.rows, nullKeys: nullKeys}, err
}

// identifyRows builds the key. Rows without one are known by all that they hold to
// a publication, which would refuse to have them changed.
func (ld loading) identifyRows(ctx context.Context) error {
	l := ld.layout
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
	key := ld.window.key
	if key.name == "" || key.source.NotNull {
		return 0, nil
	}
	err = ld.tx.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.count(*) FROM %s WHERE %s IS NULL", table, postgres.Ident(key.name)), once).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the rows of %s without a replication key: %w", ld.layout.target, err)
	}
	return n, nil
}

// stageAndMerge brings rows into a table that exists.
func (ld loading) stageAndMerge(ctx context.Context, fill fill) (loaded, error) {
	l := ld.layout
	if _, err := ld.tx.Exec(ctx, l.sessionStageSQL()); err != nil {
		return loaded{}, fmt.Errorf("create the stage for %s: %w", l.target, err)
	}
	c, err := fill(l.copyInSQL(sessionStage))
	if err != nil {
		return loaded{}, err
	}
	return ld.merge(ctx, sessionStage, c)
}

// merge brings staged rows into a table that exists.
func (ld loading) merge(ctx context.Context, stage string, c copied) (loaded, error) {
	l := ld.layout
	if c.rows >= analyzeRows && !ld.upserts() {
		if _, err := ld.tx.Exec(ctx, l.analyzeSQL(stage)); err != nil {
			return loaded{}, fmt.Errorf("analyze the stage for %s: %w", l.target, err)
		}
	}
	nullKeys, err := ld.countNullKeys(ctx, stage)
	if err != nil {
		return loaded{}, err
	}
	if err := ld.checkKey(ctx, stage); err != nil {
		return loaded{}, err
	}
	if l.rekey {
		changed, err := ld.replaceAll(ctx, stage)
		return loaded{copied: c, changed: changed, nullKeys: nullKeys}, err
	}
	if ld.deletes() {
		if _, err := ld.tx.Exec(ctx, ld.deleteSQL(stage)); err != nil {
			return loaded{}, fmt.Errorf("delete from %s what is gone at the source: %w", l.target, err)
		}
	}
	into := loaded{copied: c, nullKeys: nullKeys}
	if ld.undone != nil && !ld.deletes() {
		tag, err := ld.tx.Exec(ctx, l.deleteUndoneSQL(stage, *ld.undone))
		if err != nil {
			return loaded{}, fmt.Errorf("delete from %s what the source has lost: %w", l.target, err)
		}
		into.undone = tag.RowsAffected()
	}
	if ld.upserts() {
		if err := ld.tx.QueryRow(ctx, l.countedUpsertSQL(stage), once, ld.version).Scan(&into.changed, &into.grown); err != nil {
			return loaded{}, fmt.Errorf("merge into %s: %w", l.target, err)
		}
		return into, nil
	}
	for _, sql := range ld.mergeSQL(stage) {
		tag, err := ld.tx.Exec(ctx, sql, once, ld.version)
		if err != nil {
			return loaded{}, fmt.Errorf("merge into %s: %w", l.target, err)
		}
		into.changed += tag.RowsAffected()
		if tag.Insert() {
			into.grown += tag.RowsAffected()
		}
	}
	return into, nil
}

// checkKey refuses staged rows that share their key: one would take the place of
// the other.
func (ld loading) checkKey(ctx context.Context, stage string) error {
	l := ld.layout
	if !ld.loose || len(l.key) == 0 {
		return nil
	}
	var shared bool
	err := ld.tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s AS s GROUP BY %s HAVING pg_catalog.count(*) > 1)", stage, list(l.key, "s.?")), once).Scan(&shared)
	if err != nil {
		return fmt.Errorf("look for rows of %s that share their key: %w", l.target, err)
	}
	if shared {
		return fmt.Errorf("merge into %s: rows of the source share the key %s, and one would take the place of another: "+
			"set view_key_properties to columns that identify a row of the view; of tables that inherit from one another, replicate each through a view", l.target, keyText(l.key))
	}
	return nil
}

// upserts reports whether staged rows go in one by one: of those of a window few
// are there already, of all rows of a table most.
func (ld loading) upserts() bool { return len(ld.layout.key) > 0 && ld.window.since != nil }

// mergeSQL brings the staged rows in that do not go in one by one.
func (ld loading) mergeSQL(stage string) []string {
	l := ld.layout
	if len(l.key) == 0 {
		return []string{l.insertLackingSQL(stage, ld.window.repeated())}
	}
	return []string{l.updateSQL(stage), l.insertNewSQL(stage)}
}

// deleteSQL deletes what is gone at the source. Rows without a key carry their
// version only if they are inserted, so a reset starts from none.
func (ld loading) deleteSQL(stage string) string {
	switch {
	case len(ld.layout.key) > 0:
		return ld.layout.deleteGoneSQL(stage)
	case ld.reset:
		return "DELETE FROM " + ld.layout.target.SQL()
	}
	return ld.layout.deleteSurplusSQL(stage)
}

const keySQL = `
	SELECT k.conname, a.attname
	FROM pg_catalog.pg_constraint AS k
	CROSS JOIN LATERAL pg_catalog.unnest(k.conkey) AS c (attnum)
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
	WHERE k.conrelid = $1::pg_catalog.text::pg_catalog.regclass AND k.contype = 'p'
	ORDER BY a.attnum`

// alone runs a statement that keeps readers of a table out. It waits for those that
// are there in short turns, because others queue behind it. Whatever the transaction
// waits for afterwards is to be had within one turn.
func (ld loading) alone(ctx context.Context, patience time.Duration, table postgres.TableName, sql string) error {
	err := inTurns(ctx, patience, func() error {
		return pgx.BeginFunc(ctx, ld.tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, lockTurnSQL+"; "+sql)
			return err
		})
	})
	return nameHolders(ctx, ld.tx, table, true, err)
}

// replaceAll gives the table another key and all its rows again. From here to the
// end of the transaction readers wait: there is no telling old rows from new ones.
func (ld loading) replaceAll(ctx context.Context, stage string) (changed int64, err error) {
	l := ld.layout
	if err := ld.alone(ctx, soloPatience, l.target, "LOCK TABLE "+l.target.SQL()+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return 0, fmt.Errorf("give %s another key: %w", l.target, err)
	}
	// While the table has its key: a publication refuses to have rows without one deleted.
	if _, err := ld.tx.Exec(ctx, "DELETE FROM "+l.target.SQL()); err != nil {
		return 0, fmt.Errorf("replace the rows of %s: %w", l.target, err)
	}
	rows, _ := ld.tx.Query(ctx, keySQL, l.target.SQL())
	var constraint, column string
	var statements []string
	_, err = pgx.ForEachRow(rows, []any{&constraint, &column}, func() error {
		statements = append(statements, "ALTER COLUMN "+postgres.Ident(column)+" DROP NOT NULL")
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("look for the key of %s: %w", l.target, err)
	}
	if constraint != "" {
		statements = append([]string{"DROP CONSTRAINT " + postgres.Ident(constraint)}, statements...)
	}
	for _, statement := range statements { // one by one: the key has to go first
		if _, err := ld.tx.Exec(ctx, "ALTER TABLE "+l.target.SQL()+" "+statement); err != nil {
			return 0, fmt.Errorf("drop the key of %s, which is another one now: %w", l.target, err)
		}
	}
	tag, err := ld.tx.Exec(ctx, l.insertSQL(stage), once, ld.version)
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
		sql += fmt.Sprintf("; COMMENT ON COLUMN %s.%s IS %s", l.target.SQL(), c.name, postgres.Literal(c.comment))
	}
	return sql
}

// A known is what the destination holds of a table before a load.
type known struct {
	table    *postgres.Table // nil if there is none
	place    whereabouts
	loaded   *catalog.LoadedTable // nil if it was never loaded
	bookmark *catalog.Bookmark    // nil if there is none
	viewed   []string             // columns of the table that views use
	added    []string             // columns that this run has added
	equals   map[string]string    // for each column of the primary key, the operator that its index compares with
	types    postgres.TypeSet
	version  int       // major, of the server
	now      time.Time // by the destination's clock
}

// lookAt reads what the destination, which has the types, holds of a table that
// the transaction has locked: in one round trip. It refuses a table that would run
// other people's code.
func lookAt(ctx context.Context, tx pgx.Tx, replication int64, target postgres.TableName, types postgres.TypeSet) (known, error) {
	k := known{types: types, version: postgres.Version(tx.Conn()), equals: map[string]string{}}
	var tables map[postgres.TableName]postgres.Table
	var harmless bool
	var empty *bool
	err := postgres.Send(ctx, tx, fmt.Sprintf("read what the destination holds of %s", target), func(batch *pgx.Batch) {
		postgres.QueueTablesWithoutTypes(batch, []postgres.TableName{target}, &tables)
		batch.Queue(viewedSQL, target.SQL()).Query(func(rows pgx.Rows) (err error) {
			k.viewed, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		batch.Queue(equalsSQL, target.SQL()).Query(func(rows pgx.Rows) error {
			var column, operator string
			_, err := pgx.ForEachRow(rows, []any{&column, &operator}, func() error {
				k.equals[column] = operator
				return nil
			})
			return err
		})
		catalog.QueueLoadedTableOf(batch, replication, target.Name, &k.loaded)
		catalog.QueueBookmarkOf(batch, replication, target.Name, &k.bookmark)
		queuePlace(batch, target, &harmless, &k.place, &empty)
		batch.Queue("SELECT pg_catalog.now()").QueryRow(func(row pgx.Row) error { return row.Scan(&k.now) })
	})
	if err == nil {
		err = refuseCode(ctx, tx, target, harmless)
	}
	if err != nil {
		return known{}, err
	}
	if table, ok := tables[target]; ok {
		k.table = &table
	}
	return k, k.inspect(ctx, tx, target, empty)
}

// equalsSQL lists the operators by which the primary key of a table tells rows
// apart: those of its operator classes, which only superusers make.
const equalsSQL = `
	SELECT a.attname, pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
	FROM pg_catalog.pg_index AS i
	CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(i.indkey::pg_catalog.int2[]), pg_catalog.unnest(i.indclass::pg_catalog.oid[])) AS k (attnum, class)
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	JOIN pg_catalog.pg_opclass AS c ON c.oid = k.class
	JOIN pg_catalog.pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
		AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
	JOIN pg_catalog.pg_operator AS o ON o.oid = m.amopopr
	JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
	WHERE i.indrelid = pg_catalog.to_regclass($1) AND i.indisprimary
	ORDER BY a.attname`

// viewedSQL lists the columns of a table that views and rules use.
const viewedSQL = `
	SELECT DISTINCT a.attname
	FROM pg_catalog.pg_depend AS d
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
	WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
		AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
		AND d.refobjid = pg_catalog.to_regclass($1)
	ORDER BY a.attname`
