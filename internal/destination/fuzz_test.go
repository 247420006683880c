package destination

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// PostgreSQL accepts the name of a split column as it is.
func FuzzSplitName(f *testing.F) {
	f.Add("v", "numeric(10,2)")
	f.Add(strings.Repeat("ü", 31), "text")
	f.Add(strings.Repeat("x", 63), "timestamp(3) with time zone")
	f.Fuzz(func(t *testing.T, name, sql string) {
		if pgclient.CheckName(name) != nil || !utf8.ValidString(name) {
			return
		}
		beside := splitName(name, sql)
		if err := pgclient.CheckName(beside); err != nil || !utf8.ValidString(beside) {
			t.Errorf("%q for type %q: %q, %v", name, sql, beside, err)
		}
		start, _, found := strings.Cut(strings.TrimPrefix(beside, name), "__")
		if beside == name || !found || !strings.HasPrefix(name, start) {
			t.Errorf("%q for type %q: %q does not tell where it comes from", name, sql, beside)
		}
	})
}

// draws are decisions that the bytes of a fuzzer represent.
type draws []byte

func (d *draws) next(n int) int {
	if len(*d) == 0 {
		return 0
	}
	first := int((*d)[0])
	*d = (*d)[1:]
	return first % n
}

// typeText draws a type of a destination.
func (d *draws) typeText() string {
	room := 1 + d.next(12)
	switch d.next(8) {
	case 0:
		return "text"
	case 1:
		return "integer[]"
	case 2:
		return fmt.Sprintf("character varying(%d)", room)
	case 3:
		return fmt.Sprintf("numeric(%d,%d)", room, d.next(room+1))
	case 4:
		return fmt.Sprintf("timestamp(%d) with time zone", room%7)
	case 5:
		return fmt.Sprintf("timestamp(%d) without time zone", room%7)
	case 6:
		return fmt.Sprintf("character(%d)", room)
	}
	return []string{"integer", "character varying", "numeric", "timestamp with time zone", "bit varying(3)"}[d.next(5)]
}

// Widening has a direction: a type that widens to another, and that to a third, also widens
// to the third, and no widening can be reversed.
func FuzzWidens(f *testing.F) {
	f.Add([]byte("\x05\x02\x06\x02\x00\x00"))
	f.Add([]byte("\x05\x03\x02\x06\x03\x02\x00\x07\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := draws(data)
		a, b, c := d.typeText(), d.typeText(), d.typeText()
		if Widens(a, b) && Widens(b, c) && !Widens(a, c) {
			t.Errorf("%s has less room than %s, and that than %s", a, b, c)
		}
		if Widens(a, b) && Widens(b, a) && a != b {
			t.Errorf("%s and %s have less room than each other", a, b)
		}
		family := func(sql string) string {
			return strings.Map(func(r rune) rune {
				if strings.ContainsRune("0123456789,()", r) {
					return -1
				}
				return r
			}, sql)
		}
		if Widens(a, b) && family(a) != family(b) && (family(a) != "character varying" || b != "text") {
			t.Errorf("%s cannot become %s in place", a, b)
		}
	})
}

// A layout that was carried out needs no further change.
func FuzzMapColumns(f *testing.F) {
	f.Add([]byte("some bytes to begin with, which stand for columns"))
	f.Add([]byte{2, 0, 0, 0, 1, 1, 1, 1, 0, 2, 0, 2, 2, 1, 3, 3, 1, 1, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		d := draws(data)
		target := relation.TableName{Schema: "shop", Name: "t"}
		names := []string{"a", "b", "a__text", "a__integer", "B", strings.Repeat("é", 31), "a__numeric_3_2"}
		var columns []Column
		var key []string
		for range 1 + d.next(4) {
			c := Column{Name: names[d.next(len(names))], SQL: d.typeText()}
			if slices.ContainsFunc(columns, func(other Column) bool { return other.Name == c.Name }) {
				continue // a table cannot have two columns of one name
			}
			c.Source = relation.Column{Name: c.Name, SQL: c.SQL, Number: int16(len(columns) + 1)}
			if d.next(4) == 0 && !slices.Contains(key, c.Name) {
				key = append(key, c.Name)
			}
			columns = append(columns, c)
		}
		existing := &relation.Table{Name: target, Kind: relation.OrdinaryTable, Key: key}
		var loaded, inViews []string
		for range d.next(5) {
			c := relation.Column{Name: names[d.next(len(names))], SQL: d.typeText()}
			if _, there := existing.Column(c.Name); there {
				continue
			}
			existing.Columns = append(existing.Columns, c)
			if d.next(2) == 0 {
				loaded = append(loaded, c.Name)
			}
			if d.next(4) == 0 {
				inViews = append(inViews, c.Name)
			}
		}
		first, err := MapColumns(target, columns, key, existing, loaded, inViews)
		if err != nil {
			return
		}
		wantSound(t, first, columns, key)
		carryOut(first, existing)
		for _, c := range first.Columns {
			if have, _ := existing.Column(c.Name); have.SQL != c.SQL && !Widens(c.SQL, have.SQL) {
				t.Errorf("column %q is to hold %s and is %s: %+v", c.Name, c.SQL, have.SQL, first)
			}
		}
		second, err := MapColumns(target, columns, key, existing, first.Filled(), inViews)
		if err != nil {
			t.Fatalf("%+v\ncannot be continued: %v", first, err)
		}
		if second.AlterSQL() != "" || len(second.Changes) > 0 || !slices.Equal(second.Names(), first.Names()) || !sameSet(second.Filled(), first.Filled()) {
			t.Errorf("%+v\nis followed by\n%+v", first, second)
		}
	})
}

// wantSound fails if a layout contradicts itself.
func wantSound(t *testing.T, l Layout, columns []Column, key []string) {
	t.Helper()
	if twice := duplicate(l.Filled()); twice != "" {
		t.Errorf("column %q is filled twice: %+v", twice, l)
	}
	if len(l.Columns) != len(columns) {
		t.Fatalf("%d columns became %d", len(columns), len(l.Columns))
	}
	for i, c := range l.Columns {
		if c.Source.Name != columns[i].Source.Name || slices.Contains(key, c.Source.Name) != slices.Contains(l.Key, c.Name) {
			t.Errorf("column %+v became %+v", columns[i], c)
		}
	}
}

// carryOut changes a table as the layout says.
func carryOut(l Layout, table *relation.Table) {
	for _, c := range l.Add {
		table.Columns = append(table.Columns, relation.Column{Name: c.Name, SQL: c.SQL})
	}
	for _, c := range l.Widen {
		i := slices.IndexFunc(table.Columns, func(have relation.Column) bool { return have.Name == c.Name })
		table.Columns[i].SQL = c.SQL
	}
	for _, name := range l.repair {
		table.Columns = append(table.Columns, relation.Column{Name: name})
	}
	if l.KeyChanged {
		table.Key = l.Key
	}
}
