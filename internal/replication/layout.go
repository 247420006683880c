package replication

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A layout says what a destination table must look like for a load, and what must be done to
// the table before.
type layout struct {
	target     relation.TableName
	columns    []column
	key        []string          // identifies a row; empty if rows are only appended
	equals     map[string]string // for each column of the existing table's key, the operator that compares it
	exists     bool
	keyChanged bool     // whether the existing table identifies rows by another key
	text       bool     // whether rows cross as text, whatever their types are
	add        []column // that the existing table lacks
	repair     []string // system columns that it lacks
	widen      []column // whose type gets more room
	retired    []string // that once came from the source, and are null in rows loaded from now on
	changes    []string // since the last load, for people
}

// mapColumns compares the columns to load with the existing destination table. loaded are the
// columns that earlier loads filled, and inViews those that views use, whose type PostgreSQL
// does not allow to change.
func mapColumns(target relation.TableName, columns []column, key []string, existing *relation.Table, loaded, inViews []string) (layout, error) {
	l := layout{target: target, columns: columns, key: key}
	if existing == nil {
		return l, nil
	}
	l.exists = true
	l.columns = slices.Clone(columns)
	if !existing.Kind.HasKeys() {
		return layout{}, fmt.Errorf("%s in the destination is not a table: rename it, or set table_name to another name", target)
	}
	for i := range l.columns {
		c := &l.columns[i]
		have, ok := existing.Column(c.name)
		switch {
		case !ok || have.SQL == c.sql:
		case strings.Contains(c.sql, " varying") && widens(c.sql, have.SQL):
			// It has more room than it needs. With other types, less room would have rounded the
			// values that are already there.
		case have.SQL == "text" && base(c.source.Type).Extension != "":
			// The extension was installed in the destination after the column was created.
			*c = c.asText()
		case widens(have.SQL, c.sql) && !slices.Contains(inViews, c.name):
			l.widen = append(l.widen, *c)
			l.changes = append(l.changes, fmt.Sprintf("column %q is now %s instead of %s", c.name, c.sql, have.SQL))
		default:
			beside := splitName(c.name, c.sql)
			if !slices.Contains(loaded, beside) {
				l.changes = append(l.changes, fmt.Sprintf("column %q is %s at the source now and was %s: from now on its values are in %q, and %q is null in rows that change",
					c.name, c.sql, have.SQL, beside, c.name))
			}
			c.name = beside
			have, ok = existing.Column(c.name)
			if ok && have.SQL != c.sql {
				return layout{}, fmt.Errorf("column %q of %s is to hold %s and is %s in the destination: rename it there", c.name, target, c.sql, have.SQL)
			}
		}
		if err := pgclient.CheckName(c.name); err != nil {
			return layout{}, fmt.Errorf("column of type %s: %w", c.sql, err)
		}
		if !ok {
			l.add = append(l.add, *c)
			l.changes = append(l.changes, fmt.Sprintf("column %q of type %s was added", c.name, c.sql))
		}
	}
	if twice := duplicate(l.names()); twice != "" {
		return layout{}, fmt.Errorf("two columns of %s would be loaded into %q: exclude one of them, or rename it at the source", target, twice)
	}
	l.key = l.namesOf(key)
	if l.keyChanged = !sameSet(l.key, existing.Key); l.keyChanged {
		l.changes = append(l.changes, fmt.Sprintf("rows are identified by %s and were by %s: the table is replicated whole, and rows that are gone at the source go",
			keyText(l.key), keyText(existing.Key)))
	}
	for _, system := range systemColumns {
		if _, ok := existing.Column(system.name); !ok {
			l.repair = append(l.repair, system.name)
		}
	}
	for _, name := range loaded {
		if _, ok := existing.Column(name); ok && !slices.Contains(l.names(), name) {
			l.retired = append(l.retired, name)
		}
	}
	return l, nil
}

// widenable matches types that can be given more room, or be left without a limit, without
// rewriting a table: the name, the room and, for numeric, the scale.
var widenable = regexp.MustCompile(`^(character varying|bit varying|numeric|time|timestamp|interval)(?:\((\d+)(?:,(\d+))?\))?( with time zone| without time zone)?$`)

// widens reports whether PostgreSQL changes a column from type from to type to without
// rewriting the table.
func widens(from, to string) bool {
	f, t := widenable.FindStringSubmatch(from), widenable.FindStringSubmatch(to)
	if f != nil && f[1] == "character varying" && to == "text" {
		return true
	}
	if f == nil || t == nil || f[1] != t[1] || f[4] != t[4] || f[2] == "" {
		return false
	}
	if t[2] == "" {
		return true
	}
	room, err := strconv.Atoi(f[2])
	more, err2 := strconv.Atoi(t[2])
	return err == nil && err2 == nil && more >= room && f[3] == t[3]
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// splitName names the column that holds the values of the column name since its type changed.
func splitName(name, sql string) string {
	sql = strings.ReplaceAll(sql, "[]", " array")
	beside := name + "__" + strings.Trim(notWord.ReplaceAllString(strings.ToLower(sql), "_"), "_")
	if len(beside) <= pgclient.MaxNameBytes {
		return beside
	}
	sum := sha256.Sum256([]byte(beside))
	tail := "__" + hex.EncodeToString(sum[:4])
	return strings.ToValidUTF8(name[:min(len(name), pgclient.MaxNameBytes-len(tail))], "") + tail
}

// duplicate returns a name that occurs twice, or "".
func duplicate(names []string) string {
	sorted := slices.Sorted(slices.Values(names))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return sorted[i]
		}
	}
	return ""
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func keyText(key []string) string {
	if len(key) == 0 {
		return "no key"
	}
	return "(" + strings.Join(key, ", ") + ")"
}

// namesOf returns the names that columns of the source have in the destination.
func (l layout) namesOf(columns []string) []string {
	var names []string
	for _, name := range columns {
		for _, c := range l.columns {
			if c.source.Name == name {
				names = append(names, c.name)
			}
		}
	}
	return names
}

// format is the COPY format: binary, unless a column has no binary form that means the same
// on both sides.
func (l layout) format() string {
	if l.text || len(l.textOnlyTypes()) > 0 {
		return "text"
	}
	return "binary"
}

// textOnlyTypes returns the types of the columns that can only cross as text.
func (l layout) textOnlyTypes() []string {
	var types []string
	for _, c := range l.columns {
		if c.text && !slices.Contains(types, c.source.SQL) {
			types = append(types, c.source.SQL)
		}
	}
	return types
}

// names returns the names of the columns in the destination.
func (l layout) names() []string {
	names := make([]string, len(l.columns))
	for i, c := range l.columns {
		names[i] = c.name
	}
	return names
}

// filled returns all columns that this load or an earlier one filled.
func (l layout) filled() []string { return append(l.names(), l.retired...) }

// extractList is what the source selects.
func (l layout) extractList() string {
	expressions := make([]string, len(l.columns))
	for i, c := range l.columns {
		expressions[i] = c.extract
	}
	return strings.Join(expressions, ", ")
}

// createSQL creates the table under a name, without its key and system columns. Columns of
// the key are NOT NULL from the start: otherwise building the key would scan all rows once
// more.
func (l layout) createSQL(name string) string {
	definitions := make([]string, len(l.columns))
	for i, c := range l.columns {
		definitions[i] = pgclient.Ident(c.name) + " " + c.sql
		if slices.Contains(l.key, c.name) {
			definitions[i] += " NOT NULL"
		}
	}
	return fmt.Sprintf("CREATE TABLE %s (%s)", name, strings.Join(definitions, ", "))
}

// alterSQL adds what the existing table lacks, and is "" if it lacks nothing. Old rows get in
// new columns the values that they hold at the source.
func (l layout) alterSQL() string {
	var actions, defaults []string
	for _, c := range l.add {
		action := "ADD COLUMN " + pgclient.Ident(c.name) + " " + c.sql
		if c.source.Missing != nil {
			action += fmt.Sprintf(" DEFAULT ((%s::pg_catalog.text[])[1])::%s", pgclient.Literal(*c.source.Missing), c.sql)
			defaults = append(defaults, "ALTER COLUMN "+pgclient.Ident(c.name)+" DROP DEFAULT")
		}
		actions = append(actions, action)
	}
	for _, c := range l.widen {
		actions = append(actions, "ALTER COLUMN "+pgclient.Ident(c.name)+" TYPE "+c.sql)
	}
	for _, system := range systemColumns {
		if slices.Contains(l.repair, system.name) {
			actions = append(actions, "ADD COLUMN "+system.name+" "+system.sql)
		}
	}
	if len(actions) == 0 {
		return ""
	}
	sql := "ALTER TABLE " + l.target.SQL() + " " + strings.Join(actions, ", ")
	if len(defaults) > 0 {
		sql += "; ALTER TABLE " + l.target.SQL() + " " + strings.Join(defaults, ", ")
	}
	return sql
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

// attributes returns the attribute number of each column that was ever filled.
func (l layout) attributes() []int {
	numbers := make([]int, len(l.columns)+len(l.retired))
	for i, c := range l.columns {
		numbers[i] = int(c.source.Number)
	}
	return numbers
}
