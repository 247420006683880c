package relation

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// readQuoted reads text up to the closing quote, in which quotes are doubled, as PostgreSQL
// does, and returns the rest.
func readQuoted(t *testing.T, text string, quote byte) (inner, rest string) {
	t.Helper()
	if text == "" || text[0] != quote {
		t.Fatalf("%s does not begin with %c", text, quote)
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] == quote {
			if i+1 == len(text) || text[i+1] != quote {
				return b.String(), text[i+1:]
			}
			i++
		}
		b.WriteByte(text[i])
	}
	t.Fatalf("%s never ends", text)
	return "", ""
}

// A parsed name of a table is written so that it is parsed to the same name.
func FuzzParseTableName(f *testing.F) {
	for _, seed := range []string{"a.b", `"a.b"."c"`, `"`, `""""".x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := ParseTableName(text)
		if err != nil {
			return
		}
		if again, err := ParseTableName(name.String()); err != nil || again != name {
			t.Errorf("%q is %+v, written %q, read %+v (%v)", text, name, name.String(), again, err)
		}
	})
}

// The name of any table can be written and parsed.
func FuzzTableName(f *testing.F) {
	f.Add("public", "orders")
	f.Add(`"`, `a.b"`)
	f.Add("größe", "\n'")
	f.Fuzz(func(t *testing.T, schema, name string) {
		if pgclient.CheckName(schema) != nil || pgclient.CheckName(name) != nil {
			return
		}
		table := TableName{Schema: schema, Name: name}
		if got, err := ParseTableName(table.String()); err != nil || got != table {
			t.Errorf("%+v is written %q and read %+v (%v)", table, table.String(), got, err)
		}
		first, rest := readQuoted(t, table.SQL(), '"')
		second, end := readQuoted(t, strings.TrimPrefix(rest, "."), '"')
		if first != schema || second != name || end != "" {
			t.Errorf("%+v is %s in SQL", table, table.SQL())
		}
	})
}
