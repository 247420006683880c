package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// analyzeRows is from how many staged rows on the planner is told about them.
const analyzeRows = 1000

// alter adds what the existing table lacks, in a transaction of its own: it
// needs a lock that blocks readers, which the load must not hold. It waits for
// that lock in short turns, because readers queue behind the one who waits.
func alter(ctx context.Context, conn *pgx.Conn, l layout) error {
	sql := l.alterSQL()
	if sql == "" {
		return nil
	}
	const turns = 5
	for turn := 1; ; turn++ {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s';\n"+sql)
			return err
		})
		if err == nil {
			return nil
		}
		if postgres.Code(err) != "55P03" || turn == turns {
			return fmt.Errorf("change columns of %s: %w", l.target, err)
		}
		select {
		case <-time.After(time.Duration(turn) * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A loading is the destination's side of one table: a transaction that ends
// with rows, bookmark and report, or with nothing.
type loading struct {
	tx pgx.Tx
	step
	relay func(copyIn string) (copied, error)
}

// create loads rows into a new table. The key is built after the rows, and the
// system columns are added as constants, which costs nothing per row.
func (ld loading) create(ctx context.Context) (c copied, changed int64, err error) {
	l := ld.layout
	if _, err := ld.tx.Exec(ctx, l.createSQL()); err != nil {
		return copied{}, 0, fmt.Errorf("create %s: %w", l.target, err)
	}
	if c, err = ld.relay(copyInSQL(l.target.SQL(), l)); err != nil {
		return copied{}, 0, err
	}
	if _, err := ld.tx.Exec(ctx, l.systemSQL(ld.version)); err != nil {
		return copied{}, 0, fmt.Errorf("add the system columns to %s: %w", l.target, err)
	}
	if len(l.key) > 0 {
		_, err := ld.tx.Exec(ctx, fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", l.target.SQL(), list(l.key, "?", ", ")))
		if err != nil {
			return copied{}, 0, fmt.Errorf("build the key %s of %s: %w", keyText(l.key), l.target, err)
		}
	}
	return c, c.rows, nil
}

// merge brings the rows of the window into a table that exists.
func (ld loading) merge(ctx context.Context) (c copied, changed int64, err error) {
	l := ld.layout
	if _, err := ld.tx.Exec(ctx, l.stageSQL()); err != nil {
		return copied{}, 0, fmt.Errorf("create the stage for %s: %w", l.target, err)
	}
	if c, err = ld.relay(copyInSQL(stage, l)); err != nil {
		return copied{}, 0, err
	}
	if c.rows >= analyzeRows {
		if _, err := ld.tx.Exec(ctx, "ANALYZE "+stage); err != nil {
			return copied{}, 0, fmt.Errorf("analyze the stage for %s: %w", l.target, err)
		}
	}
	if ld.deletes() {
		if _, err := ld.tx.Exec(ctx, ld.deleteSQL()); err != nil {
			return copied{}, 0, fmt.Errorf("delete from %s what is gone at the source: %w", l.target, err)
		}
	}
	sql := l.upsertSQL()
	if len(l.key) == 0 {
		sql = l.insertLackingSQL(ld.window.repeated())
	}
	tag, err := ld.tx.Exec(ctx, sql, ld.version)
	if err != nil {
		return copied{}, 0, fmt.Errorf("merge into %s: %w", l.target, err)
	}
	return c, tag.RowsAffected(), nil
}

// deleteSQL deletes what is gone at the source. Rows without a key carry their
// version only if they are inserted, so a reset starts from none.
func (ld loading) deleteSQL() string {
	switch {
	case len(ld.layout.key) > 0:
		return ld.layout.deleteGoneSQL()
	case ld.reset:
		return "DELETE FROM " + ld.layout.target.SQL()
	}
	return ld.layout.deleteSurplusSQL()
}

func copyInSQL(table string, l layout) string {
	return fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", table, list(l.names(), "?", ", "))
}

// systemSQL gives the rows just loaded their system columns.
func (l layout) systemSQL(version int64) string {
	values := []string{"now()", "now()", "(extract(epoch FROM now()) * 1000000)::bigint * 1000", fmt.Sprint(version)}
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
	table    *postgres.Table   // nil if there is none
	bookmark *catalog.Bookmark // nil if it was never loaded
	viewed   []string          // columns of the table that views use
	types    postgres.TypeSet
	now      int64 // milliseconds since 1970, by the destination's clock
}

// lookAt reads what the destination holds of a table.
func lookAt(ctx context.Context, conn *pgx.Conn, replication int64, target postgres.TableName) (known, error) {
	var k known
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		tables, err := postgres.ReadTables(ctx, tx, []postgres.TableName{target})
		if err != nil {
			return err
		}
		if table, ok := tables[target]; ok {
			k.table = &table
			if k.viewed, err = viewedColumns(ctx, tx, table.OID); err != nil {
				return err
			}
		}
		bookmark, err := catalog.BookmarkOf(ctx, tx, replication, target.Name)
		if err == nil {
			k.bookmark = &bookmark
		} else if !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		if k.types, err = postgres.ReadTypeSet(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT (extract(epoch FROM now()) * 1000)::bigint").Scan(&k.now)
	})
	if err != nil {
		return known{}, fmt.Errorf("look at %s in the destination: %w", target, err)
	}
	return k, nil
}

const viewedSQL = `
	SELECT DISTINCT a.attname
	FROM pg_catalog.pg_depend AS d
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
	WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
		AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
		AND d.refobjid = $1
	ORDER BY a.attname`

// viewedColumns returns the columns of a table that views and rules use.
func viewedColumns(ctx context.Context, tx pgx.Tx, table uint32) ([]string, error) {
	rows, _ := tx.Query(ctx, viewedSQL, table)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
