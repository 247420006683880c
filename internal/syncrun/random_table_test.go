package syncrun

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// oddSchema is the schema of some of the tables.
const oddSchema = `Sch"ema.1`

// A randomTable is a table of the source, as the test knows it.
type randomTable struct {
	name        relation.TableName
	target      string // its name in the destination, if that is another
	columns     []*randomColumn
	key         *randomColumn // the replication key; nil if the method is FULL_TABLE
	count       int           // how many replication keys were drawn
	selects     string        // "all", "columns" or "exclude"
	partitioned bool
	replaced    bool     // dropped and created again
	dropped     []string // names that columns had
	major       int
}

type randomColumn struct {
	kind
	name     string
	primary  bool
	fixed    bool // partitions depend on it
	notNull  bool
	computed bool
	selected bool
	moved    bool // the destination may have its values in a column of another name
}

func (c *randomColumn) ident() string { return pgclient.Ident(c.name) }

func (t *randomTable) sql() string { return t.name.SQL() }

// arrives is the name of the table in the destination.
func (t *randomTable) arrives() string { return cmp.Or(t.target, t.name.Name) }

// where returns the columns that fulfil a condition.
func (t *randomTable) where(condition func(*randomColumn) bool) []*randomColumn {
	return slices.DeleteFunc(slices.Clone(t.columns), func(c *randomColumn) bool { return !condition(c) })
}

func (t *randomTable) primary() []*randomColumn {
	return t.where(func(c *randomColumn) bool { return c.primary })
}

// replicated are the columns that the definition selects, keys included.
func (t *randomTable) replicated() []*randomColumn {
	return t.where(func(c *randomColumn) bool { return c.selected || c.primary || c == t.key })
}

// free are the columns that nothing else depends on.
func (t *randomTable) free() []*randomColumn {
	return t.where(func(c *randomColumn) bool { return !c.primary && !c.fixed && c != t.key })
}

// appendOnly reports whether rows cannot be changed so that INCREMENTAL finds them.
func (t *randomTable) appendOnly() bool {
	return t.key != nil && (t.key.primary || len(t.primary()) == 0)
}

func namesOf(columns []*randomColumn) []string {
	list := []string{}
	for _, c := range columns {
		list = append(list, c.name)
	}
	return list
}

func drawTable(r *rand.Rand, name relation.TableName, major int) *randomTable {
	t := &randomTable{name: name, major: major, selects: oneOf("all", "all", "columns", "exclude")(r)}
	if r.IntN(2) == 0 {
		all := counters()
		t.key = &randomColumn{kind: all[r.IntN(len(all))], name: t.freshName(r), notNull: true}
		t.key.primary = r.IntN(4) == 0
		t.columns = append(t.columns, t.key)
	}
	t.partitioned = r.IntN(4) == 0 && (major >= 11 || t.key == nil || !t.key.primary)
	keyed := r.IntN(3) > 0 && (major >= 11 || !t.partitioned)
	if t.partitioned {
		bucket := kind{sql: "integer", value: oneOf("0", "1", "2")}
		t.columns = append(t.columns, &randomColumn{kind: bucket, name: t.freshName(r), notNull: true, fixed: true, selected: true,
			primary: keyed || t.key != nil && t.key.primary})
	}
	for range 1 + r.IntN(3) {
		if !keyed || t.key != nil && t.key.primary {
			break
		}
		k := drawKind(r, major)
		for !k.ordered {
			k = drawKind(r, major)
		}
		t.columns = append(t.columns, &randomColumn{kind: k, name: t.freshName(r), notNull: true, primary: true})
	}
	for range 1 + r.IntN(10) {
		t.columns = append(t.columns, t.drawColumn(r))
	}
	r.Shuffle(len(t.columns), func(i, j int) { t.columns[i], t.columns[j] = t.columns[j], t.columns[i] })
	t.selectSomething()
	return t
}

func (t *randomTable) drawColumn(r *rand.Rand) *randomColumn {
	name := t.freshName(r)
	moved := false
	if len(t.dropped) > 0 && r.IntN(2) == 0 {
		name, moved = t.dropped[r.IntN(len(t.dropped))], true
		t.dropped = slices.DeleteFunc(t.dropped, func(other string) bool { return other == name })
	}
	return &randomColumn{kind: drawKind(r, t.major), name: name, notNull: r.IntN(4) == 0, moved: moved,
		selected: t.selects == "all" || r.IntN(3) > 0}
}

// freshName returns a name that no column has or has had.
func (t *randomTable) freshName(r *rand.Rand) string {
	for {
		name := drawName(r)
		if !slices.Contains(namesOf(t.columns), name) && !slices.Contains(t.dropped, name) {
			return name
		}
	}
}

// selectSomething selects a column if none is selected, because that would be refused.
func (t *randomTable) selectSomething() {
	if len(t.replicated()) == 0 {
		t.columns[0].selected = true
	}
}

// selection is what the definition says of the table.
func (t *randomTable) selection() definition.Selection {
	s := definition.Selection{Method: definition.FullTable, TableName: t.target}
	if t.key != nil {
		s.Method, s.ReplicationKey = definition.Incremental, t.key.name
	}
	switch t.selects {
	case "columns":
		s.Columns = namesOf(t.where(func(c *randomColumn) bool { return c.selected }))
	case "exclude":
		s.ExcludeColumns = namesOf(t.where(func(c *randomColumn) bool { return !c.selected && !c.primary && c != t.key }))
	}
	return s
}

func (c *randomColumn) definition() string {
	sql := c.ident() + " " + c.kind.sql
	if c.notNull {
		sql += " NOT NULL"
	}
	return sql
}

func (t *randomTable) createSQL() string {
	var parts []string
	for _, c := range t.columns {
		parts = append(parts, c.definition())
	}
	if primary := t.primary(); len(primary) > 0 {
		parts = append(parts, "PRIMARY KEY ("+session.List(namesOf(primary), "?")+")")
	}
	sql := "CREATE TABLE " + t.sql() + " (" + strings.Join(parts, ", ") + ")"
	if !t.partitioned {
		return sql
	}
	bucket := t.where(func(c *randomColumn) bool { return c.fixed })[0]
	sql += " PARTITION BY LIST (" + bucket.ident() + ")"
	for n := range 3 {
		part := relation.TableName{Schema: t.name.Schema, Name: fmt.Sprintf("part %d of %x", n, crc32.ChecksumIEEE([]byte(t.name.Name)))}
		sql += fmt.Sprintf("; CREATE TABLE %s PARTITION OF %s FOR VALUES IN (%d)", part.SQL(), t.sql(), n)
	}
	return sql
}

// literal draws a value of a column.
func (t *randomTable) literal(r *rand.Rand, c *randomColumn) string {
	switch {
	case c == t.key:
		return t.nextKey(r)
	case !c.notNull && r.IntN(5) == 0:
		return "NULL"
	}
	return quoted(c.value(r))
}

// nextKey returns a replication key that is not less than any earlier one.
func (t *randomTable) nextKey(r *rand.Rand) string {
	if r.IntN(3) > 0 || t.key.primary {
		t.count++
	}
	return quoted(t.key.counter(t.count))
}

func (t *randomTable) insertSQL(r *rand.Rand) string {
	columns := t.where(func(c *randomColumn) bool { return !c.computed })
	var rows []string
	for range 1 + r.IntN(20) {
		var values []string
		for _, c := range columns {
			values = append(values, t.literal(r, c))
		}
		rows = append(rows, "("+strings.Join(values, ", ")+")")
	}
	sql := "INSERT INTO " + t.sql() + " (" + session.List(namesOf(columns), "?") + ") VALUES " + strings.Join(rows, ", ")
	if len(t.primary()) > 0 {
		sql += " ON CONFLICT DO NOTHING"
	}
	return sql
}
