package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// The source may take keys for the same that the destination tells apart: by a
// nondeterministic collation, as citext, or in a composite, which arrives as its text.
// A row whose key is written otherwise there would be another row here. FULL_TABLE
// deletes the one that is gone. Otherwise the source is asked, by its own equality,
// which rows of the destination have a key that it writes otherwise by now.

// comparedKeys is how many keys the source is asked for at once: it plans for each.
const comparedKeys = 500

// coarse reports whether the source takes values of the column for the same that the
// destination may tell apart.
func (c column) coarse() bool {
	t := base(c.source.Type)
	for t.Element != nil {
		t = base(*t.Element)
	}
	return c.source.Collation != "" || !t.BuiltIn() && t.Kind != "e"
}

// keyOf returns the columns of the key, in its order.
func (l layout) keyOf() []column {
	var columns []column
	for _, name := range l.key {
		for _, c := range l.columns {
			if c.name == name {
				columns = append(columns, c)
			}
		}
	}
	return columns
}

// comparesKeys reports whether rows may stay that have a key which the source takes for
// the same as one that was loaded.
func (s step) comparesKeys() bool {
	if !s.layout.exists || s.deletes() {
		return false
	}
	for _, c := range s.layout.keyOf() {
		if c.coarse() {
			return true
		}
	}
	return false
}

// A supersession is a row of the destination whose key the source writes otherwise.
type supersession struct {
	place string   // its ctid
	key   []string // as the source has it
}

// dropSuperseded deletes the rows of the destination whose key the source writes
// otherwise by now, if the row that the source has was loaded. They are among those
// whose key, as it is written, the source has not. It returns how many it deleted.
func (c *copying) dropSuperseded(ctx context.Context, tx pgx.Tx) (dropped int64, err error) {
	var places []string
	if _, err := c.pair(ctx, tx, false, func(place string) { places = append(places, place) }); err != nil {
		return 0, fmt.Errorf("compare the keys of %s with those of the source: %w", c.target, err)
	}
	if len(places) == 0 {
		return 0, nil
	}
	for _, side := range []pgx.Tx{c.extraction.tx, tx} { // keys are to be written in full
		if err := writeDigits(ctx, side, allDigits); err != nil {
			return 0, err
		}
	}
	compare, err := c.extraction.keyComparison(ctx, c.step.layout.keyOf())
	if err != nil {
		return 0, &sourceError{err}
	}
	for len(places) > 0 {
		n := min(len(places), comparedKeys)
		rows, err := c.keysAt(ctx, tx, places[:n])
		if err != nil {
			return 0, fmt.Errorf("read the keys of %s: %w", c.target, err)
		}
		found, err := c.extraction.writtenOtherwise(ctx, compare, rows)
		if err != nil {
			return dropped, c.incomparable(err)
		}
		if len(found) > 0 {
			tag, err := tx.Exec(ctx, c.step.layout.deleteSupersededSQL(found), once)
			if err != nil {
				return 0, fmt.Errorf("delete from %s the rows whose keys the source writes otherwise: %w", c.target, err)
			}
			dropped += tag.RowsAffected()
		}
		places = places[n:]
	}
	return dropped, nil
}

// keysAt reads the keys of rows of the destination.
func (c *copying) keysAt(ctx context.Context, tx pgx.Tx, places []string) ([]supersession, error) {
	var values []string
	for _, k := range c.step.layout.keyOf() {
		values = append(values, "pg_catalog.format('%s', d."+postgres.Ident(k.name)+")")
	}
	rows, _ := tx.Query(ctx, fmt.Sprintf("SELECT d.ctid::pg_catalog.text, ARRAY[%s] FROM %s AS d WHERE d.ctid OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.tid[])",
		strings.Join(values, ", "), c.target.SQL(), postgres.Literal(`{"`+strings.Join(places, `","`)+`"}`)), once)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s supersession, err error) {
		err = row.Scan(&s.place, &s.key)
		return s, err
	})
}

// incomparable has a run go on if the source cannot read a key of the destination any
// more, because its type is another one now, or its login may not use the type.
func (c *copying) incomparable(err error) error {
	if code := postgres.Code(err); code != "42501" && !strings.HasPrefix(code, "22") && !strings.HasPrefix(code, "23") {
		return &sourceError{err}
	}
	c.note(fmt.Sprintf("a row whose key is written otherwise than before, and is the same to the source, stays as well: %s", err))
	return nil
}

// A keyComparison asks the source for rows that have one of some keys, written otherwise.
type keyComparison struct {
	columns, from string // the table, with its key as k0, k1 and as it is sent, e0, e1
	same          string // the condition for the same key
	otherwise     string // the condition that it is written otherwise
	written       string // the key as it is sent
}

// operatorsSQL finds the operators by which types tell values apart that are not
// PostgreSQL's own: those of their default operator classes, which only superusers make.
const operatorsSQL = `
	SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
	FROM pg_catalog.pg_opclass AS c
	JOIN pg_catalog.pg_am AS a ON a.oid = c.opcmethod AND a.amname = 'btree'
	JOIN pg_catalog.pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
		AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
	JOIN pg_catalog.pg_operator AS o ON o.oid = m.amopopr
	JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
	WHERE c.opcdefault AND c.opcintype = (
		SELECT t.oid FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS s ON s.oid = t.typnamespace WHERE s.nspname = $1 AND t.typname = $2)`

// keyComparison prepares the question. Columns of the table are compared as they are,
// so that its index is of use.
func (e *extraction) keyComparison(ctx context.Context, key []column) (k keyComparison, err error) {
	var columns, inner, same, otherwise, written []string
	for i, c := range key {
		equals, err := e.equality(ctx, base(c.source.Type))
		if err != nil {
			return k, err
		}
		columns = append(columns, fmt.Sprintf("k%d", i))
		inner = append(inner, fmt.Sprintf("%s AS k%[3]d, %[2]s AS e%[3]d", postgres.Ident(c.source.Name), c.extract, i))
		same = append(same, fmt.Sprintf("t.k%[1]d %[2]s d.k%[1]d", i, equals))
		written = append(written, fmt.Sprintf("pg_catalog.format('%%s', t.e%d)", i))
		if c.coarse() {
			otherwise = append(otherwise, fmt.Sprintf(`%s COLLATE pg_catalog."C" OPERATOR(pg_catalog.<>) %s`,
				outputText(fmt.Sprintf("t.k%d", i), c.source.Type), outputText(fmt.Sprintf("d.k%d", i), base(c.source.Type))))
		}
	}
	return keyComparison{
		columns: strings.Join(columns, ", "), from: fmt.Sprintf("(SELECT %s FROM %s) AS t", strings.Join(inner, ", "), e.table.Name.SQL()),
		same: strings.Join(same, " AND "), otherwise: strings.Join(otherwise, " OR "), written: strings.Join(written, ", "),
	}, nil
}

// equality returns the operator by which a type tells values apart.
func (e *extraction) equality(ctx context.Context, t postgres.Type) (string, error) {
	if t.Kind == "b" && t.Element == nil && !t.BuiltIn() {
		own, err := textOrNil(e.tx.QueryRow(ctx, operatorsSQL, t.Schema, t.Name), "look how "+t.SQL+" is compared")
		if err != nil {
			return "", err
		}
		if own != nil {
			return *own, nil
		}
	}
	return "OPERATOR(pg_catalog.=)", nil
}

// sql is the question. That the keys have the type and the collation of the column
// follows from UNION: to name them takes rights that reading the column does not.
func (k keyComparison) sql(rows []supersession) string {
	keys := make([]string, len(rows))
	for i, row := range rows {
		keys[i] = fmt.Sprintf("UNION ALL SELECT %d, %s", i, literals(row.key))
	}
	return fmt.Sprintf("SELECT d.n, ARRAY[%s] FROM (SELECT NULL::int AS n, %s FROM %s WHERE false %s) AS d JOIN %[3]s ON %[5]s WHERE %[6]s",
		k.written, k.columns, k.from, strings.Join(keys, " "), k.same, k.otherwise)
}

// writtenOtherwise returns those of the rows whose key the source has in other words.
// It undoes what fails.
func (e *extraction) writtenOtherwise(ctx context.Context, compare keyComparison, rows []supersession) (found []supersession, err error) {
	err = pgx.BeginFunc(ctx, e.tx, func(tx pgx.Tx) error {
		answers, err := tx.Query(ctx, compare.sql(rows), once)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(answers, func(row pgx.CollectableRow) (s supersession, err error) {
			var n int
			if err = row.Scan(&n, &s.key); err == nil && (n < 0 || n >= len(rows)) {
				err = errors.New("the server answers for a key that it was not asked for")
			}
			if err == nil {
				s.place = rows[n].place
			}
			return s, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compare the keys of %s with those of the destination: %w", e.table.Name, err)
	}
	return found, nil
}

// literals writes values, whose types follow from where they stand.
func literals(values []string) string {
	all := make([]string, len(values))
	for i, value := range values {
		all[i] = postgres.Literal(value)
	}
	return strings.Join(all, ", ")
}

// deleteSupersededSQL deletes rows for which there is another one, that of the source.
func (l layout) deleteSupersededSQL(rows []supersession) string {
	var same []string
	for i, c := range l.keyOf() {
		same = append(same, fmt.Sprintf("o.%s %s s.k%d", postgres.Ident(c.name), l.equals[c.name], i))
	}
	keys := make([]string, len(rows))
	for i, row := range rows {
		keys[i] = fmt.Sprintf("UNION ALL SELECT %s, %s", postgres.Literal(row.place), literals(row.key))
	}
	names := make([]string, len(same))
	for i, c := range l.keyOf() {
		names[i] = fmt.Sprintf("%s AS k%d", postgres.Ident(c.name), i)
	}
	return fmt.Sprintf(`
		DELETE FROM %[1]s AS d
		USING (SELECT ctid AS place, %[2]s FROM %[1]s WHERE false %[3]s) AS s
		WHERE d.ctid OPERATOR(pg_catalog.=) s.place
			AND EXISTS (SELECT FROM %[1]s AS o WHERE %[4]s AND o.ctid OPERATOR(pg_catalog.<>) d.ctid)`,
		l.target.SQL(), strings.Join(names, ", "), strings.Join(keys, " "), strings.Join(same, " AND "))
}
