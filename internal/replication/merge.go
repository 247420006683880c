package replication

import (
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// sessionStage is where rows wait that are to be merged into a table that
// exists. It lives in the session and ends with the transaction.
const sessionStage = "pg_temp.stitch_stage"

// stamps are the values of the system columns, in their order. $1 is the
// version of the table. What stands in a query of its own is computed once, not
// for each row.
const stamps = "pg_catalog.now(), pg_catalog.now(), (SELECT (extract(epoch FROM pg_catalog.now()) * 1000000)::bigint * 1000), $1::bigint"

func systemNames() string {
	names := make([]string, len(systemColumns))
	for i, c := range systemColumns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// list writes each name with format.
func list(names []string, format string) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = strings.ReplaceAll(format, "?", postgres.Ident(name))
	}
	return strings.Join(parts, ", ")
}

// sessionStageSQL creates the stage with the types of the target's columns.
func (l layout) sessionStageSQL() string {
	return fmt.Sprintf("CREATE TEMP TABLE stitch_stage ON COMMIT DROP AS SELECT %s FROM %s WITH NO DATA",
		list(l.names(), "?"), l.target.SQL())
}

// sharedStageSQL creates one that several sessions fill.
func (l layout) sharedStageSQL(name string) string {
	return fmt.Sprintf("CREATE UNLOGGED TABLE %s AS SELECT %s FROM %s WITH NO DATA", name, list(l.names(), "?"), l.target.SQL())
}

// analyzeSQL tells the planner how many rows are staged, and about the columns
// that it may join by.
func (l layout) analyzeSQL(stage string) string {
	columns := l.key
	if len(columns) == 0 {
		columns = l.names()[:1]
	}
	return fmt.Sprintf("ANALYZE %s (%s)", stage, list(columns, "?"))
}

// upsertSQL inserts the staged rows whose key is new and changes those that
// differ, for rows of which most do either: the others are locked for nothing.
func (l layout) upsertSQL(stage string) string {
	var sets []string
	for _, c := range systemColumns {
		sets = append(sets, c.name+" = excluded."+c.name)
	}
	return fmt.Sprintf("%s ON CONFLICT (%s) DO UPDATE SET %s, %s WHERE d._sdc_table_version IS DISTINCT FROM excluded._sdc_table_version OR %s",
		l.insertSQL(stage), list(l.key, "?"), l.assignments("excluded"), strings.Join(sets, ", "), l.differs("excluded"))
}

// countedUpsertSQL is upsertSQL that returns how many rows it has inserted or changed,
// and how many of those are new: a row that was there was locked before, which its
// xmax tells.
func (l layout) countedUpsertSQL(stage string) string {
	return fmt.Sprintf("WITH merged AS (%s RETURNING d.xmax AS locked) SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE locked = 0) FROM merged", l.upsertSQL(stage))
}

// updateSQL changes the rows that differ from the staged ones of the same key.
func (l layout) updateSQL(stage string) string {
	return fmt.Sprintf("UPDATE %s AS d SET %s, (%s) = ROW(%s) FROM %s AS s WHERE %s AND (d._sdc_table_version IS DISTINCT FROM $1::bigint OR %s)",
		l.target.SQL(), l.assignments("s"), systemNames(), stamps, stage, l.sameKey(), l.differs("s"))
}

// insertNewSQL inserts the staged rows whose key is new.
func (l layout) insertNewSQL(stage string) string {
	return fmt.Sprintf("%s WHERE NOT EXISTS (SELECT FROM %s AS d WHERE %s)", l.insertSQL(stage), l.target.SQL(), l.sameKey())
}

// sameKey is the condition for a row of the target, called d, and a staged one,
// called s, that have the same key, by the operators of its index.
func (l layout) sameKey() string {
	conditions := make([]string, len(l.key))
	for i, name := range l.key {
		conditions[i] = fmt.Sprintf("d.%[1]s %[2]s s.%[1]s", postgres.Ident(name), l.equals[name])
	}
	return strings.Join(conditions, " AND ")
}

// assignments gives a row the values of another.
func (l layout) assignments(from string) string {
	sets := []string{list(l.names(), "? = "+from+".?")}
	for _, name := range l.stale {
		sets = append(sets, postgres.Ident(name)+" = NULL")
	}
	return strings.Join(sets, ", ")
}

// differs is the condition for a row that is another than that of the target,
// called d. Rows are compared as stored, which works for types without equality.
func (l layout) differs(from string) string {
	condition := fmt.Sprintf("CAST(ROW(%s) AS pg_catalog.record) OPERATOR(pg_catalog.*<>) CAST(ROW(%s) AS pg_catalog.record)",
		list(l.names(), "d.?"), list(l.names(), from+".?"))
	for _, c := range l.columns {
		for _, earlier := range l.earlier(c) { // a value of another type may have become null
			condition += fmt.Sprintf(" OR d.%s IS NOT NULL AND %s.%s IS NULL", postgres.Ident(earlier), from, postgres.Ident(c.name))
		}
	}
	return condition
}

// earlier returns the columns that held the values of c while it was of other types.
func (l layout) earlier(c column) []string {
	if c.name == c.source.Name {
		return nil
	}
	var names []string
	for _, name := range l.stale {
		if name == c.source.Name || strings.HasPrefix(name, c.source.Name+"__") {
			names = append(names, name)
		}
	}
	return names
}

// insertSQL inserts all staged rows.
func (l layout) insertSQL(stage string) string {
	return fmt.Sprintf("INSERT INTO %s AS d (%s, %s) SELECT %s, %s FROM %s AS s", l.target.SQL(), list(l.names(), "?"), systemNames(),
		list(l.names(), "s.?"), stamps, stage)
}

// deleteGoneSQL deletes the rows whose key is not staged.
func (l layout) deleteGoneSQL(stage string) string {
	return fmt.Sprintf("DELETE FROM %s AS d WHERE NOT EXISTS (SELECT FROM %s AS s WHERE %s)",
		l.target.SQL(), stage, l.sameKey())
}

// deleteUndoneSQL deletes the rows whose key is not staged and that are newer.
func (l layout) deleteUndoneSQL(stage string, sequence int64) string {
	return fmt.Sprintf("%s AND d."+sequenceColumn+" > %d", l.deleteGoneSQL(stage), sequence)
}

// image is the text of a whole row: what identifies it if nothing else does.
func (l layout) image(alias string) string {
	values := make([]string, len(l.columns))
	for i, c := range l.columns {
		values[i] = asStored(alias+"."+postgres.Ident(c.name), c.sql)
	}
	return fmt.Sprintf("CAST(ROW(%s) AS pg_catalog.text)", strings.Join(values, ", "))
}

// deleteSurplusSQL deletes rows of a table without a key that are there more
// often than they are staged.
func (l layout) deleteSurplusSQL(stage string) string {
	return fmt.Sprintf(`
		DELETE FROM %[1]s
		WHERE (tableoid, ctid) IN (
			SELECT d.part, d.place
			FROM (
				SELECT part, place, image, pg_catalog.row_number() OVER (PARTITION BY image) AS n
				FROM (SELECT d.tableoid AS part, d.ctid AS place, %[2]s AS image FROM %[1]s AS d) AS d
			) AS d
			LEFT JOIN (
				SELECT image, pg_catalog.count(*) AS times
				FROM (SELECT %[3]s AS image FROM %[4]s AS s) AS s
				GROUP BY image
			) AS s ON s.image = d.image
			WHERE d.n > coalesce(s.times, 0)
		)`, l.target.SQL(), l.image("d"), l.image("s"), stage)
}

// insertLackingSQL inserts staged rows that the table has fewer times than they
// are staged. Only rows of the table that match where are counted. Inside, the
// columns have names of their own, which no name of the user's can meet.
func (l layout) insertLackingSQL(stage, where string) string {
	var staged, numbered []string
	for i, name := range l.names() {
		staged = append(staged, fmt.Sprintf("s.%s AS c%d", postgres.Ident(name), i))
		numbered = append(numbered, fmt.Sprintf("c%d", i))
	}
	return fmt.Sprintf(`
		INSERT INTO %[1]s (%[2]s, %[3]s)
		SELECT %[4]s, %[5]s
		FROM (
			SELECT %[4]s, image, pg_catalog.row_number() OVER (PARTITION BY image) AS n
			FROM (SELECT %[6]s, %[7]s AS image FROM %[8]s AS s) AS s
		) AS s
		LEFT JOIN (
			SELECT image, pg_catalog.count(*) AS times
			FROM (SELECT %[9]s AS image FROM %[1]s AS d WHERE %[10]s) AS d
			GROUP BY image
		) AS d USING (image)
		WHERE s.n > coalesce(d.times, 0)`,
		l.target.SQL(), list(l.names(), "?"), systemNames(), strings.Join(numbered, ", "), stamps,
		strings.Join(staged, ", "), l.image("s"), stage, l.image("d"), where)
}
