package destination

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// systemColumnValues are the values of the system columns, in their order. $1 is the version
// of the table. PostgreSQL computes what stands in a query of its own once, not for each row.
const systemColumnValues = "pg_catalog.now(), pg_catalog.now(), (SELECT (extract(epoch FROM pg_catalog.now()) * 1000000)::bigint * 1000), $1::bigint"

func systemNames() string {
	names := make([]string, len(definition.SystemColumns))
	for i, c := range definition.SystemColumns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// analyzeSQL tells the planner how many rows are staged, and about the columns that it may
// join by.
func (l Layout) analyzeSQL(staging string) string {
	columns := l.Key
	if len(columns) == 0 {
		columns = l.Names()[:1]
	}
	return fmt.Sprintf("ANALYZE %s (%s)", staging, session.List(columns, "?"))
}

// upsertSQL inserts the staged rows whose key is new and changes those that differ. It is for
// staged rows most of which are one or the other, because it locks the rest for nothing.
func (l Layout) upsertSQL(staging string) string {
	var sets []string
	for _, c := range definition.SystemColumns {
		sets = append(sets, c.Name+" = excluded."+c.Name)
	}
	return fmt.Sprintf("%s ON CONFLICT (%s) DO UPDATE SET %s, %s WHERE d._sdc_table_version IS DISTINCT FROM excluded._sdc_table_version OR %s",
		l.insertSQL(staging), session.List(l.Key, "?"), l.assignments("excluded"), strings.Join(sets, ", "), l.differs("excluded"))
}

// countedUpsertSQL is upsertSQL that returns how many rows it has inserted or changed, and
// how many of those are new. xmax tells them apart: a row that was there before was locked
// first.
func (l Layout) countedUpsertSQL(staging string) string {
	return fmt.Sprintf("WITH merged AS (%s RETURNING d.xmax AS locked) SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE locked = 0) FROM merged", l.upsertSQL(staging))
}

// updateSQL changes the rows that differ from the staged ones of the same key.
func (l Layout) updateSQL(staging string) string {
	return fmt.Sprintf("UPDATE %s AS d SET %s, (%s) = ROW(%s) FROM %s AS s WHERE %s AND (d._sdc_table_version IS DISTINCT FROM $1::bigint OR %s)",
		l.target.SQL(), l.assignments("s"), systemNames(), systemColumnValues, staging, l.sameKey(), l.differs("s"))
}

// insertNewSQL inserts the staged rows whose key is new.
func (l Layout) insertNewSQL(staging string) string {
	return fmt.Sprintf("%s WHERE NOT EXISTS (SELECT FROM %s AS d WHERE %s)", l.insertSQL(staging), l.target.SQL(), l.sameKey())
}

// sameKey is the condition that a row of the target, called d, and a staged one, called s,
// have the same key, by the operators of its index.
func (l Layout) sameKey() string {
	conditions := make([]string, len(l.Key))
	for i, name := range l.Key {
		conditions[i] = fmt.Sprintf("d.%[1]s %[2]s s.%[1]s", pgclient.Ident(name), l.Equals[name])
	}
	return strings.Join(conditions, " AND ")
}

// assignments sets the values of a row to those of another.
func (l Layout) assignments(from string) string {
	sets := []string{session.List(l.Names(), "? = "+from+".?")}
	for _, name := range l.Retired {
		sets = append(sets, pgclient.Ident(name)+" = NULL")
	}
	return strings.Join(sets, ", ")
}

// differs is the condition that a row differs from that of the target, called d. It compares
// rows as stored, which works for types without equality.
func (l Layout) differs(from string) string {
	condition := fmt.Sprintf("CAST(ROW(%s) AS pg_catalog.record) OPERATOR(pg_catalog.*<>) CAST(ROW(%s) AS pg_catalog.record)",
		session.List(l.Names(), "d.?"), session.List(l.Names(), from+".?"))
	for _, c := range l.Columns {
		for _, earlier := range l.earlier(c) { // a value of another type may have become null
			condition += fmt.Sprintf(" OR d.%s IS NOT NULL AND %s.%s IS NULL", pgclient.Ident(earlier), from, pgclient.Ident(c.Name))
		}
	}
	return condition
}

// earlier returns the columns that held the values of c while it was of other types.
func (l Layout) earlier(c Column) []string {
	if c.Name == c.Source.Name {
		return nil
	}
	var names []string
	for _, name := range l.Retired {
		if name == c.Source.Name || strings.HasPrefix(name, c.Source.Name+"__") {
			names = append(names, name)
		}
	}
	return names
}

// insertSQL inserts all staged rows.
func (l Layout) insertSQL(staging string) string {
	return fmt.Sprintf("INSERT INTO %s AS d (%s, %s) SELECT %s, %s FROM %s AS s", l.target.SQL(), session.List(l.Names(), "?"), systemNames(),
		session.List(l.Names(), "s.?"), systemColumnValues, staging)
}

// deleteMissingSQL deletes the rows whose key is not staged.
func (l Layout) deleteMissingSQL(staging string) string {
	return fmt.Sprintf("DELETE FROM %s AS d WHERE NOT EXISTS (SELECT FROM %s AS s WHERE %s)",
		l.target.SQL(), staging, l.sameKey())
}

// deleteUndoneSQL deletes the rows whose key is not staged and that are newer.
func (l Layout) deleteUndoneSQL(staging string, sequence int64) string {
	return fmt.Sprintf("%s AND d."+sequenceColumn+" > %d", l.deleteMissingSQL(staging), sequence)
}

// rowText is the text of a whole row, which identifies a row that nothing else identifies.
func (l Layout) rowText(alias string) string {
	values := make([]string, len(l.Columns))
	for i, c := range l.Columns {
		values[i] = asStored(alias+"."+pgclient.Ident(c.Name), c.SQL)
	}
	return fmt.Sprintf("CAST(ROW(%s) AS pg_catalog.text)", strings.Join(values, ", "))
}

// deleteExtraCopiesSQL deletes rows of a table without a key that the table has more times
// than they are staged.
func (l Layout) deleteExtraCopiesSQL(staging string) string {
	return fmt.Sprintf(`
		DELETE FROM %[1]s
		WHERE (tableoid, ctid) IN (
			SELECT d.part, d.place
			FROM (
				SELECT part, place, rowText, pg_catalog.row_number() OVER (PARTITION BY rowText) AS n
				FROM (SELECT d.tableoid AS part, d.ctid AS place, %[2]s AS rowText FROM %[1]s AS d) AS d
			) AS d
			LEFT JOIN (
				SELECT rowText, pg_catalog.count(*) AS times
				FROM (SELECT %[3]s AS rowText FROM %[4]s AS s) AS s
				GROUP BY rowText
			) AS s ON s.rowText = d.rowText
			WHERE d.n > coalesce(s.times, 0)
		)`, l.target.SQL(), l.rowText("d"), l.rowText("s"), staging)
}

// insertMissingCopiesSQL inserts staged rows that the table has fewer times than they are
// staged. It counts only rows of the table that match where. Inside the query, the columns
// have names of their own, which no name of the user's can clash with.
func (l Layout) insertMissingCopiesSQL(staging, where string) string {
	var staged, numbered []string
	for i, name := range l.Names() {
		staged = append(staged, fmt.Sprintf("s.%s AS c%d", pgclient.Ident(name), i))
		numbered = append(numbered, fmt.Sprintf("c%d", i))
	}
	return fmt.Sprintf(`
		INSERT INTO %[1]s (%[2]s, %[3]s)
		SELECT %[4]s, %[5]s
		FROM (
			SELECT %[4]s, rowText, pg_catalog.row_number() OVER (PARTITION BY rowText) AS n
			FROM (SELECT %[6]s, %[7]s AS rowText FROM %[8]s AS s) AS s
		) AS s
		LEFT JOIN (
			SELECT rowText, pg_catalog.count(*) AS times
			FROM (SELECT %[9]s AS rowText FROM %[1]s AS d WHERE %[10]s) AS d
			GROUP BY rowText
		) AS d USING (rowText)
		WHERE s.n > coalesce(d.times, 0)`,
		l.target.SQL(), session.List(l.Names(), "?"), systemNames(), strings.Join(numbered, ", "), systemColumnValues,
		strings.Join(staged, ", "), l.rowText("s"), staging, l.rowText("d"), where)
}

// A KeyedRow is a row of the table, with its key or another key that is equal to it.
type KeyedRow struct {
	Place string // its ctid
	Key   []string
}

// KeysAt reads the keys of rows of the table.
func (l Layout) KeysAt(ctx context.Context, tx pgx.Tx, places []string) ([]KeyedRow, error) {
	var values []string
	for _, k := range l.KeyOf() {
		values = append(values, "pg_catalog.format('%s', d."+pgclient.Ident(k.Name)+")")
	}
	rows, _ := tx.Query(ctx, fmt.Sprintf("SELECT d.ctid::pg_catalog.text, ARRAY[%s] FROM %s AS d WHERE d.ctid OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.tid[])",
		strings.Join(values, ", "), l.target.SQL(), pgclient.Literal(`{"`+strings.Join(places, `","`)+`"}`)), session.Unprepared)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r KeyedRow, err error) {
		err = row.Scan(&r.Place, &r.Key)
		return r, err
	})
}

// DeleteSupersededSQL deletes rows that another row, that of the source, replaces.
func (l Layout) DeleteSupersededSQL(rows []KeyedRow) string {
	var same []string
	for i, c := range l.KeyOf() {
		same = append(same, fmt.Sprintf("o.%s %s s.k%d", pgclient.Ident(c.Name), l.Equals[c.Name], i))
	}
	keys := make([]string, len(rows))
	for i, row := range rows {
		keys[i] = fmt.Sprintf("UNION ALL SELECT %s, %s", pgclient.Literal(row.Place), session.Literals(row.Key))
	}
	names := make([]string, len(same))
	for i, c := range l.KeyOf() {
		names[i] = fmt.Sprintf("%s AS k%d", pgclient.Ident(c.Name), i)
	}
	return fmt.Sprintf(`
		DELETE FROM %[1]s AS d
		USING (SELECT ctid AS place, %[2]s FROM %[1]s WHERE false %[3]s) AS s
		WHERE d.ctid OPERATOR(pg_catalog.=) s.place
			AND EXISTS (SELECT FROM %[1]s AS o WHERE %[4]s AND o.ctid OPERATOR(pg_catalog.<>) d.ctid)`,
		l.target.SQL(), strings.Join(names, ", "), strings.Join(keys, " "), strings.Join(same, " AND "))
}
