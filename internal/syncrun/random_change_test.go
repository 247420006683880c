package syncrun

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// change draws something that happens to the table, and returns its SQL.
func (t *randomTable) change(r *rand.Rand) string {
	changes := []func(*rand.Rand) string{
		t.insertSQL, t.insertSQL, t.update, t.update, t.update, t.remove,
		t.addColumn, t.addColumn, t.addColumn, t.dropColumn, t.renameColumn, t.swapNames, t.moreRoom, t.otherType, t.changeSelection,
	}
	if r.IntN(4) == 0 {
		changes = []func(*rand.Rand) string{t.replace, t.truncate, t.addComputed}
	}
	for {
		if sql := changes[r.IntN(len(changes))](r); sql != "" {
			return sql
		}
	}
}

// some returns a condition for a few rows. In partitions, it may select others as well.
func (t *randomTable) some(r *rand.Rand) string {
	return fmt.Sprintf("WHERE ctid = ANY (ARRAY(SELECT ctid FROM %s LIMIT %d OFFSET %d))", t.sql(), 1+r.IntN(5), r.IntN(20))
}

func (t *randomTable) update(r *rand.Rand) string {
	if t.appendOnly() {
		return t.insertSQL(r)
	}
	var sets []string
	for _, c := range t.free() {
		if !c.computed && r.IntN(2) == 0 {
			sets = append(sets, c.ident()+" = "+t.literal(r, c))
		}
	}
	if t.key != nil {
		sets = append(sets, t.key.ident()+" = "+t.nextKey(r))
	}
	if len(sets) == 0 {
		return t.insertSQL(r)
	}
	return "UPDATE " + t.sql() + " SET " + strings.Join(sets, ", ") + " " + t.some(r)
}

func (t *randomTable) remove(r *rand.Rand) string {
	if t.key != nil {
		return "" // INCREMENTAL keeps what is deleted
	}
	return "DELETE FROM " + t.sql() + " " + t.some(r)
}

func (t *randomTable) truncate(r *rand.Rand) string {
	if t.key != nil {
		return ""
	}
	return "TRUNCATE " + t.sql() + "; " + t.insertSQL(r)
}

// touch gives all rows a new replication key, for changes that INCREMENTAL does not promise
// to find otherwise: values whose type has changed.
func (t *randomTable) touch() string {
	if t.key == nil || t.appendOnly() {
		return ""
	}
	t.count++
	return "; UPDATE " + t.sql() + " SET " + t.key.ident() + " = " + quoted(t.key.counter(t.count))
}

// drawFree draws one of the columns that can be changed in any way.
func (t *randomTable) drawFree(r *rand.Rand) *randomColumn {
	free := t.free()
	if len(free) == 0 {
		return nil
	}
	return free[r.IntN(len(free))]
}

// addColumn adds a column: plain, with a default, filled in some rows, or computed for each
// row.
func (t *randomTable) addColumn(r *rand.Rand) string {
	c := t.drawColumn(r)
	t.columns = append(t.columns, c)
	add := "ALTER TABLE " + t.sql() + " ADD COLUMN "
	value := quoted(c.value(r))
	for len(value) > 1000 { // a default must fit into a page
		value = quoted(c.value(r))
	}
	switch r.IntN(7) {
	case 0:
		c.kind, c.notNull = kind{sql: "bigint", value: integer(64)}, true
		return add + c.ident() + " bigserial"
	case 1:
		c.notNull = false
		return add + c.definition()
	case 2:
		c.notNull = false
		return add + c.definition() + "; UPDATE " + t.sql() + " SET " + c.ident() + " = " + value + " " + t.some(r)
	case 3:
		c.notNull = false
		return add + c.definition() + " DEFAULT " + value + "; ALTER TABLE " + t.sql() + " ALTER " + c.ident() + " DROP DEFAULT; " +
			"UPDATE " + t.sql() + " SET " + c.ident() + " = " + quoted(c.value(r)) + " " + t.some(r)
	}
	return add + c.definition() + " DEFAULT " + value
}

// addComputed adds a generated column.
func (t *randomTable) addComputed(r *rand.Rand) string {
	for _, from := range t.columns {
		if t.major < 12 || !from.fixed {
			continue
		}
		c := &randomColumn{kind: kind{sql: "integer", value: integer(32)}, name: t.freshName(r), computed: true, selected: t.selects == "all"}
		t.columns = append(t.columns, c)
		stored := " STORED"
		if t.major >= 18 && r.IntN(2) == 0 {
			stored = " VIRTUAL"
		}
		return "ALTER TABLE " + t.sql() + " ADD COLUMN " + c.ident() + " integer GENERATED ALWAYS AS (" + from.ident() + " * 7) " + stored
	}
	return t.insertSQL(r)
}

func (t *randomTable) dropColumn(r *rand.Rand) string {
	c := t.drawFree(r)
	if c == nil || len(t.columns) < 2 {
		return ""
	}
	t.columns = t.where(func(other *randomColumn) bool { return other != c })
	t.dropped = append(t.dropped, c.name)
	t.selectSomething()
	return "ALTER TABLE " + t.sql() + " DROP COLUMN " + c.ident()
}

func (t *randomTable) renameColumn(r *rand.Rand) string {
	c := t.columns[r.IntN(len(t.columns))]
	if c.primary {
		return "" // rows are then identified otherwise, which requires a user's action
	}
	was, name := c.ident(), t.freshName(r)
	if len(t.dropped) > 0 && r.IntN(2) == 0 {
		name = t.dropped[0]
		t.dropped = t.dropped[1:]
	}
	t.dropped = append(t.dropped, c.name)
	c.name, c.moved = name, true
	return "ALTER TABLE " + t.sql() + " RENAME COLUMN " + was + " TO " + c.ident()
}

// swapNames swaps the names of two columns.
func (t *randomTable) swapNames(r *rand.Rand) string {
	a, b := t.drawFree(r), t.drawFree(r)
	if a == b {
		return ""
	}
	a.name, b.name = b.name, a.name
	a.moved, b.moved = true, true
	rename := "ALTER TABLE " + t.sql() + " RENAME COLUMN "
	return rename + a.ident() + ` TO "for now"; ` + rename + b.ident() + " TO " + a.ident() + "; " + rename + `"for now" TO ` + b.ident()
}

// moreRoom changes a type so that the destination can follow in place.
func (t *randomTable) moreRoom(r *rand.Rand) string {
	for _, c := range t.free() {
		if c.more == nil || c.computed {
			continue
		}
		if c.moved && t.touchless() {
			continue
		}
		c.kind = c.more(r)
		sql := t.alterType(c, "")
		if c.moved {
			sql += t.touch()
		}
		return sql
	}
	return ""
}

// touchless reports whether INCREMENTAL would have to find rows that touch cannot change.
// Without a primary key it compares all rows.
func (t *randomTable) touchless() bool { return t.key != nil && t.key.primary }

// otherType changes a type so that the destination needs another column.
func (t *randomTable) otherType(r *rand.Rand) string {
	c := t.drawFree(r)
	if t.key != nil && !t.key.primary && rewritten[t.key.sql] != "" && r.IntN(4) == 0 {
		c = t.key
	}
	if c == nil || c.computed || t.touchless() {
		return ""
	}
	c.moved = true
	to := rewritten[c.sql]
	switch {
	case c == t.key || to != "" && r.IntN(3) > 0:
		counter, using := c.counter, ""
		if c.sql == "date" { // some dates are beyond every timestamp
			using = fmt.Sprintf("CASE WHEN isfinite(%[1]s) THEN least(%[1]s, '294276-12-31') ELSE %[1]s END", c.ident())
		}
		c.kind = kindNamed(to)
		c.counter = counter
		return t.alterType(c, using) + t.touch()
	case r.IntN(3) == 0 || t.appendOnly():
		c.kind = kindNamed("text")
		return t.alterType(c, c.ident()+"::text") + t.touch()
	}
	c.kind = drawKind(r, t.major)
	return t.alterType(c, quoted(c.value(r))+"::"+c.sql) + t.touch()
}

func kindNamed(sql string) kind {
	for _, k := range plainKinds {
		if k.sql == sql {
			return k
		}
	}
	panic("no kind " + sql)
}

func (t *randomTable) alterType(c *randomColumn, using string) string {
	column := "ALTER TABLE " + t.sql() + " ALTER COLUMN " + c.ident()
	sql := column + " DROP DEFAULT; " + column + " TYPE " + c.kind.sql
	if using != "" {
		sql += " USING " + using
	}
	return sql
}

// changeSelection selects a column that was not selected, or deselects one.
func (t *randomTable) changeSelection(r *rand.Rand) string {
	if c := t.drawFree(r); c != nil && t.selects != "all" {
		c.selected = !c.selected
		t.selectSomething()
		return "-- selects another column"
	}
	return ""
}

// replace drops the table and creates another one with the same keys.
func (t *randomTable) replace(r *rand.Rand) string {
	gone := t.free()
	t.columns = t.where(func(c *randomColumn) bool { return c.primary || c.fixed || c == t.key })
	t.dropped = append(t.dropped, namesOf(gone)...)
	for range 1 + r.IntN(10) {
		t.columns = append(t.columns, t.drawColumn(r))
	}
	r.Shuffle(len(t.columns), func(i, j int) { t.columns[i], t.columns[j] = t.columns[j], t.columns[i] })
	for _, c := range t.columns {
		c.moved = true
	}
	t.replaced = true
	t.selectSomething()
	return "DROP TABLE " + t.sql() + "; " + t.createSQL() + "; " + t.insertSQL(r)
}

// tableNames draws names that differ, also in the destination.
func tableNames(r *rand.Rand, n int) []relation.TableName {
	var drawn []relation.TableName
	taken := map[string]bool{}
	for len(drawn) < n {
		name := relation.TableName{Schema: oneOf("public", oddSchema)(r), Name: drawName(r)}
		if !taken[name.Name] {
			drawn = append(drawn, name)
			taken[name.Name] = true
		}
	}
	return drawn
}
