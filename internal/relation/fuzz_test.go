package relation

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
)

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
		first, rest := pgtest.ReadQuoted(t, table.SQL(), '"')
		second, end := pgtest.ReadQuoted(t, strings.TrimPrefix(rest, "."), '"')
		if first != schema || second != name || end != "" {
			t.Errorf("%+v is %s in SQL", table, table.SQL())
		}
	})
}
