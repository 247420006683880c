package destination

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A Layout says what a destination table must look like for a load, and what must be done to
// the table before.
type Layout struct {
	target     relation.TableName
	Columns    []Column
	Key        []string          // identifies a row; empty if rows are only appended
	Equals     map[string]string // for each column of the existing table's key, the operator that compares it
	Exists     bool
	KeyChanged bool     // whether the existing table identifies rows by another key
	Text       bool     // whether rows cross as text, whatever their types are
	Add        []Column // that the existing table lacks
	repair     []string // system columns that it lacks
	Widen      []Column // whose type gets more room
	Retired    []string // that once came from the source, and are null in rows loaded from now on
	Changes    []string // since the last load, for people
}

// MapColumns compares the columns to load with the existing destination table. loaded are the
// columns that earlier loads filled, and inViews those that views use, whose type PostgreSQL
// does not allow to change.
func MapColumns(target relation.TableName, columns []Column, key []string, existing *relation.Table, loaded, inViews []string) (Layout, error) {
	l := Layout{target: target, Columns: columns, Key: key}
	if existing == nil {
		return l, nil
	}
	l.Exists = true
	l.Columns = slices.Clone(columns)
	if !existing.Kind.HasKeys() {
		return Layout{}, fmt.Errorf("%s in the destination is not a table: rename it, or set table_name to another name", target)
	}
	for i := range l.Columns {
		c := &l.Columns[i]
		have, ok := existing.Column(c.Name)
		switch {
		case !ok || have.SQL == c.SQL:
		case strings.Contains(c.SQL, " varying") && Widens(c.SQL, have.SQL):
			// It has more room than it needs. With other types, less room would have rounded the
			// values that are already there.
		case have.SQL == "text" && relation.Base(c.Source.Type).Extension != "":
			// The extension was installed in the destination after the column was created.
			*c = c.asText()
		case Widens(have.SQL, c.SQL) && !slices.Contains(inViews, c.Name):
			l.Widen = append(l.Widen, *c)
			l.Changes = append(l.Changes, fmt.Sprintf("column %q is now %s instead of %s", c.Name, c.SQL, have.SQL))
		default:
			beside := splitName(c.Name, c.SQL)
			if !slices.Contains(loaded, beside) {
				l.Changes = append(l.Changes, fmt.Sprintf("column %q is now %s at the source, and was %s: from now on its values are loaded into %q, and %q is null in rows that change",
					c.Name, c.SQL, have.SQL, beside, c.Name))
			}
			c.Name = beside
			have, ok = existing.Column(c.Name)
			if ok && have.SQL != c.SQL {
				return Layout{}, fmt.Errorf("column %q of %s must be of type %s, but is of type %s in the destination: rename it there", c.Name, target, c.SQL, have.SQL)
			}
		}
		if err := pgclient.CheckName(c.Name); err != nil {
			return Layout{}, fmt.Errorf("column of type %s: %w", c.SQL, err)
		}
		if !ok {
			l.Add = append(l.Add, *c)
			l.Changes = append(l.Changes, fmt.Sprintf("column %q of type %s was added", c.Name, c.SQL))
		}
	}
	if twice := duplicate(l.Names()); twice != "" {
		return Layout{}, fmt.Errorf("two columns of %s would be loaded into %q: exclude one of them, or rename it at the source", target, twice)
	}
	l.Key = l.namesOf(key)
	if l.KeyChanged = !sameSet(l.Key, existing.Key); l.KeyChanged {
		l.Changes = append(l.Changes, fmt.Sprintf("rows are now identified by %s, and were identified by %s: the table is replicated whole, and rows that are gone at the source are deleted",
			KeyText(l.Key), KeyText(existing.Key)))
	}
	for _, system := range definition.SystemColumns {
		if _, ok := existing.Column(system.Name); !ok {
			l.repair = append(l.repair, system.Name)
		}
	}
	for _, name := range loaded {
		if _, ok := existing.Column(name); ok && !slices.Contains(l.Names(), name) {
			l.Retired = append(l.Retired, name)
		}
	}
	return l, nil
}

// widenable matches types that can be given more room, or be left without a limit, without
// rewriting a table: the name, the room and, for numeric, the scale.
var widenable = regexp.MustCompile(`^(character varying|bit varying|numeric|time|timestamp|interval)(?:\((\d+)(?:,(\d+))?\))?( with time zone| without time zone)?$`)

// Widens reports whether PostgreSQL changes a column from type from to type to without
// rewriting the table.
func Widens(from, to string) bool {
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

// KeyText writes a key for people.
func KeyText(key []string) string {
	if len(key) == 0 {
		return "no key"
	}
	return "(" + strings.Join(key, ", ") + ")"
}

// namesOf returns the names that columns of the source have in the destination.
func (l Layout) namesOf(columns []string) []string {
	var names []string
	for _, name := range columns {
		for _, c := range l.Columns {
			if c.Source.Name == name {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// Format is the COPY format: binary, unless a column has no binary form that means the same
// on both sides.
func (l Layout) Format() string {
	if l.Text || len(l.TextOnlyTypes()) > 0 {
		return "text"
	}
	return "binary"
}

// TextOnlyTypes returns the types of the columns that can only cross as text.
func (l Layout) TextOnlyTypes() []string {
	var types []string
	for _, c := range l.Columns {
		if c.text && !slices.Contains(types, c.Source.SQL) {
			types = append(types, c.Source.SQL)
		}
	}
	return types
}

// Names returns the names of the columns in the destination.
func (l Layout) Names() []string {
	names := make([]string, len(l.Columns))
	for i, c := range l.Columns {
		names[i] = c.Name
	}
	return names
}

// Filled returns all columns that this load or an earlier one filled.
func (l Layout) Filled() []string { return append(l.Names(), l.Retired...) }

// ExtractList is what the source selects.
func (l Layout) ExtractList() string {
	expressions := make([]string, len(l.Columns))
	for i, c := range l.Columns {
		expressions[i] = c.Extract
	}
	return strings.Join(expressions, ", ")
}

// createSQL creates the table under a name, without its key and system columns. Columns of
// the key are NOT NULL from the start: otherwise building the key would scan all rows once
// more.
func (l Layout) createSQL(name string) string {
	definitions := make([]string, len(l.Columns))
	for i, c := range l.Columns {
		definitions[i] = pgclient.Ident(c.Name) + " " + c.SQL
		if slices.Contains(l.Key, c.Name) {
			definitions[i] += " NOT NULL"
		}
	}
	return fmt.Sprintf("CREATE TABLE %s (%s)", name, strings.Join(definitions, ", "))
}

// AlterSQL adds what the existing table lacks, and is "" if it lacks nothing. Old rows get in
// new columns the values that they hold at the source.
func (l Layout) AlterSQL() string {
	var actions, defaults []string
	for _, c := range l.Add {
		action := "ADD COLUMN " + pgclient.Ident(c.Name) + " " + c.SQL
		if c.Source.Missing != nil {
			action += fmt.Sprintf(" DEFAULT ((%s::pg_catalog.text[])[1])::%s", pgclient.Literal(*c.Source.Missing), c.SQL)
			defaults = append(defaults, "ALTER COLUMN "+pgclient.Ident(c.Name)+" DROP DEFAULT")
		}
		actions = append(actions, action)
	}
	for _, c := range l.Widen {
		actions = append(actions, "ALTER COLUMN "+pgclient.Ident(c.Name)+" TYPE "+c.SQL)
	}
	for _, system := range definition.SystemColumns {
		if slices.Contains(l.repair, system.Name) {
			actions = append(actions, "ADD COLUMN "+system.Name+" "+system.SQL)
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

// KeyOf returns the columns of the key, in its order.
func (l Layout) KeyOf() []Column {
	var columns []Column
	for _, name := range l.Key {
		for _, c := range l.Columns {
			if c.Name == name {
				columns = append(columns, c)
			}
		}
	}
	return columns
}

// Attributes returns the attribute number of each column that was ever filled.
func (l Layout) Attributes() []int {
	numbers := make([]int, len(l.Columns)+len(l.Retired))
	for i, c := range l.Columns {
		numbers[i] = int(c.Source.Number)
	}
	return numbers
}
