package source

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// What rows read as does not depend on them alone: an enum's value is a number that its type
// has a label for, and a view's rows are what its definition makes of others. A change of
// these changes no row and no transaction number. So each commit records the objects that
// decide what the values read as, with their definitions, and a run that finds one changed
// reads all rows again.
//
// It does not follow: names of objects, which values of regclass and similar types are
// written as; functions that a function calls within its text; and what the tables below a
// view hold.

// A meaningFact is one of the things that decide what a column's values read as.
type meaningFact struct {
	column string // "" if rows depend on it whatever columns are selected
	what   string // its kind and its oid: "label 16385"
	text   string // its definition
}

// meaningReasons say, for each kind of fact, what a change of one means.
var meaningReasons = map[string]string{
	"attributes": "attributes of a composite type were added or dropped",
	"expression": "the expression of a generated column was changed",
	"function":   "a function that values or rows depend on was replaced",
	"options":    "the options of a foreign table, or of its server, were changed",
	"order":      "the order of the replication key has changed: it has another collation, or its collation has another version",
	"view":       "the definition of the view, or of a view that it uses, was replaced",
}

// ChangedMeaning says why values that were loaded may read otherwise now, or "". Facts that
// are new since then, such as another label, do not affect those values.
func ChangedMeaning(before, now map[string]string) string {
	for _, what := range slices.Sorted(maps.Keys(before)) {
		text := before[what]
		if is, ok := now[what]; ok && is != text {
			kind, _, _ := strings.Cut(what, " ")
			if kind == "label" {
				return fmt.Sprintf("a label of an enum was renamed: %q is now %q", text, is)
			}
			return meaningReasons[kind]
		}
	}
	return ""
}

// MeaningOf returns what decides what the values of the selected columns read as, and how the
// replication key is ordered.
func (f Facts) MeaningOf(selected []string, replicationKey string) map[string]string {
	meaning := map[string]string{}
	for _, fact := range f.meaning {
		wanted := fact.column == "" || slices.Contains(selected, fact.column)
		if strings.HasPrefix(fact.what, "order ") {
			wanted = fact.column == replicationKey
		}
		if wanted {
			meaning[fact.what] = fact.text
		}
	}
	return meaning
}

// A MeaningQuestion says how much to ask about what values read as. The whole question takes
// long to plan, and most tables have only columns of built-in types.
type MeaningQuestion int

const (
	askNothing MeaningQuestion = iota // of tables that each run compares whole
	askOrder                          // and whether there is more to ask
	askAll
)

// QuestionOf returns what to ask, given the answer that the last commit recorded.
func QuestionOf(incremental bool, before map[string]string) MeaningQuestion {
	if !incremental {
		return askNothing
	}
	for what := range before {
		if !strings.HasPrefix(what, "order ") {
			return askAll
		}
	}
	return askOrder
}

// queueMeaning reads, by a batch, what decides what the values of a table read as. A server
// of another major version answers in other words.
func queueMeaning(batch *pgx.Batch, major int, name relation.TableName, q MeaningQuestion, into *[]meaningFact) {
	sql := orderSQL
	switch q {
	case askNothing:
		return
	case askAll:
		sql = meaningSQL + " UNION ALL " + orderSQL
	}
	if major >= 15 {
		sql = strings.ReplaceAll(sql, defaultVersionSQL, databaseVersionSQL)
	}
	batch.Queue(sql, name.SQL()).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f meaningFact, err error) {
			err = row.Scan(&f.column, &f.what, &f.text)
			return f, err
		})
		return err
	})
}

// meansMore reports whether rows are not as they are stored, or a column has a type that is
// not built in: then there is more to ask than the order.
func (f Facts) meansMore() bool {
	stored := f.Table.Kind.HasKeys() || f.Table.Kind == relation.MaterializedView
	return !stored || !f.Storage.IsHeap ||
		slices.ContainsFunc(f.Table.Columns, func(c relation.Column) bool { return !c.Type.BuiltIn() }) ||
		slices.ContainsFunc(f.meaning, func(m meaningFact) bool { return strings.HasPrefix(m.what, "expression ") })
}

// PostgreSQL 15 and later record the version of a database's own collation.
const (
	defaultVersionSQL  = `''::pg_catalog.text /* of the database */`
	databaseVersionSQL = `(SELECT pg_catalog.pg_database_collation_actual_version(d.oid) FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())`
)

// meaningSQL follows the table $1 to its partitions and children, and a view to the columns,
// types, operators and functions that it uses. It follows their types to what these are made
// of. For each of these it lists what decides what its values read as. It does not follow
// built-in objects, which the server's version determines.
const meaningSQL = `
	WITH RECURSIVE relation (oid) AS (
		SELECT pg_catalog.to_regclass($1)::pg_catalog.oid
		UNION
		SELECT x.oid
		FROM relation AS r
		CROSS JOIN LATERAL (
			SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = r.oid
			UNION ALL
			SELECT d.refobjid
			FROM pg_catalog.pg_rewrite AS w
			JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
			JOIN pg_catalog.pg_class AS v ON v.oid = w.ev_class AND v.relkind = 'v'
			WHERE w.ev_class = r.oid AND w.ev_type = '1' AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.oid
		) AS x (oid)
	), rule AS (
		SELECT w.oid, w.ev_class, w.ev_action
		FROM relation AS r
		JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.oid AND w.ev_type = '1'
		JOIN pg_catalog.pg_class AS v ON v.oid = w.ev_class AND v.relkind = 'v'
	), used (classid, objid, objsubid) AS (
		SELECT d.refclassid, d.refobjid, d.refobjsubid
		FROM rule AS w
		JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
	), made (attname, oid) AS (
		SELECT a.attname::pg_catalog.text, a.atttypid
		FROM pg_catalog.pg_attribute AS a
		WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
		UNION
		SELECT '', a.atttypid
		FROM used AS u
		JOIN pg_catalog.pg_attribute AS a ON u.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND a.attrelid = u.objid AND a.attnum = u.objsubid
		UNION
		SELECT '', u.objid FROM used AS u WHERE u.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
	), type (attname, oid) AS (
		SELECT m.attname, m.oid FROM made AS m
		UNION
		SELECT y.attname, x.oid
		FROM type AS y
		JOIN pg_catalog.pg_type AS t ON t.oid = y.oid AND t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace
		CROSS JOIN LATERAL (
			SELECT t.typbasetype
			UNION ALL
			SELECT t.typelem
			UNION ALL
			SELECT a.atttypid FROM pg_catalog.pg_attribute AS a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL
			SELECT g.rngsubtype FROM pg_catalog.pg_range AS g WHERE g.rngtypid = t.oid OR pg_catalog.to_jsonb(g)->>'rngmultitypid' = t.oid::pg_catalog.text
		) AS x (oid)
		WHERE x.oid <> 0
	), function (attname, oid) AS (
		SELECT '', u.objid FROM used AS u WHERE u.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
		UNION
		SELECT '', o.oprcode::pg_catalog.oid
		FROM used AS u
		JOIN pg_catalog.pg_operator AS o ON u.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = u.objid
		UNION
		SELECT y.attname, x.oid
		FROM type AS y
		JOIN pg_catalog.pg_type AS t ON t.oid = y.oid
		CROSS JOIN LATERAL (VALUES (t.typoutput::pg_catalog.oid), (t.typsend::pg_catalog.oid)) AS x (oid)
	)
	SELECT y.attname, 'label ' || e.oid, e.enumlabel::pg_catalog.text
	FROM type AS y
	JOIN pg_catalog.pg_enum AS e ON e.enumtypid = y.oid
	UNION ALL
	SELECT y.attname, 'attributes ' || t.oid, coalesce(pg_catalog.string_agg(pg_catalog.format('%s %s %s', a.attnum, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum), '')
	FROM type AS y
	JOIN pg_catalog.pg_type AS t ON t.oid = y.oid AND t.typtype = 'c' AND t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace
	LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
	GROUP BY y.attname, t.oid
	UNION ALL
	SELECT f.attname, 'function ' || p.oid, pg_catalog.md5(pg_catalog.concat_ws(' ', p.prosrc, p.probin, p.proconfig::pg_catalog.text, pg_catalog.to_jsonb(p)->>'prosqlbody'))
	FROM function AS f
	JOIN pg_catalog.pg_proc AS p ON p.oid = f.oid AND p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
	UNION ALL
	SELECT '', 'view ' || w.oid, pg_catalog.md5(w.ev_action::pg_catalog.text)
	FROM rule AS w
	UNION ALL
	SELECT a.attname::pg_catalog.text, pg_catalog.format('expression %s.%s', a.attrelid, a.attnum), pg_catalog.md5(d.adbin::pg_catalog.text)
	FROM relation AS r
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
	JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE pg_catalog.to_jsonb(a)->>'attgenerated' = 'v'
	UNION ALL
	SELECT '', 'options ' || f.ftrelid, pg_catalog.md5(pg_catalog.concat_ws(' ', s.oid, f.ftoptions::pg_catalog.text, s.srvoptions::pg_catalog.text))
	FROM relation AS r
	JOIN pg_catalog.pg_foreign_table AS f ON f.ftrelid = r.oid
	JOIN pg_catalog.pg_foreign_server AS s ON s.oid = f.ftserver`

// orderSQL lists, for each column of the table $1, how its values are ordered, and which
// columns are computed when they are read.
const orderSQL = `
	SELECT a.attname::pg_catalog.text, 'order ' || a.attnum, pg_catalog.concat_ws(' ', a.attcollation, CASE WHEN c.collname = 'default' AND c.collnamespace = 'pg_catalog'::pg_catalog.regnamespace
		THEN ` + defaultVersionSQL + ` ELSE pg_catalog.pg_collation_actual_version(c.oid) END)
	FROM pg_catalog.pg_attribute AS a
	JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation
	WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT a.attname::pg_catalog.text, pg_catalog.format('expression %s.%s', a.attrelid, a.attnum), pg_catalog.md5(d.adbin::pg_catalog.text)
	FROM pg_catalog.pg_attrdef AS d
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
	WHERE d.adrelid = pg_catalog.to_regclass($1) AND pg_catalog.to_jsonb(a)->>'attgenerated' = 'v'`
