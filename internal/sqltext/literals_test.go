package sqltext

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// planted is a package with SQL in all the places that it can be in.
const planted = `package planted

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

const inner = "lower(c.relname)" // one

const outer = "\n\tSELECT " + inner + ",\n" +
	"\t\tupper(c.relname)\n\tFROM pg_catalog.pg_class AS c" // two

const small = "select trim_array(a, 1) from s.t" // run below

func f(tx pgx.Tx, batch *pgx.Batch, column string) error {
	batch.Queue("SELECT queued(1)")
	tx.Exec(ctx, small)
	tx.Exec(ctx, "select executed(1)", "an argument f(x) of it")
	tx.QueryRow(ctx, fmt.Sprintf("select formatted(%s)", column))
	sql := "SELECT " + quote("now()::text", "a") + " FROM concatenated(" + column + ")"
	sql += " WHERE appended(a)"
	fragment := "d." + column + " = s." + column
	for _, s := range []string{"ORDER BY listed(a)"} {
		sql += s
	}
	return fmt.Errorf("SELECT is not granted on the table(s) that FROM names: it's not()")
}

type tagged struct {
	A string ` + "`SELECT tag(1)`" + `
}
`

func TestLiterals(t *testing.T) {
	directory := t.TempDir()
	for name, content := range map[string]string{
		"planted.go":              planted,
		"planted_test.go":         strings.Replace(planted, "queued", "tested", 1),
		"migrations/001.sql":      "-- A table.\ncreate table s.t (\n\ta int default migrated()\n);\n",
		"testdata/other.sql":      "SELECT ignored(1)",
		"elsewhere/elsewhere.go":  "package elsewhere\n\nconst a = `SELECT below(1)`\n",
		"migrations/embedding.go": "package migrations\n",
	} {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	literals, err := Literals(directory)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range literals {
		for _, u := range Uses(l.Text) {
			if u.Unsafe() {
				p := l.Position(u.Offset)
				line, _, _ := strings.Cut(fileLine(t, p.Filename, p.Line), " //")
				got = append(got, u.Name+" in "+strings.TrimSpace(line))
			}
		}
	}
	slices.Sort(got)
	got = slices.Compact(got)
	want := []string{
		`= in fragment := "d." + column + " = s." + column`,
		`appended in sql += " WHERE appended(a)"`,
		`concatenated in sql := "SELECT " + quote("now()::text", "a") + " FROM concatenated(" + column + ")"`,
		`executed in tx.Exec(ctx, "select executed(1)", "an argument f(x) of it")`,
		`formatted in tx.QueryRow(ctx, fmt.Sprintf("select formatted(%s)", column))`,
		`listed in for _, s := range []string{"ORDER BY listed(a)"} {`,
		`lower in const inner = "lower(c.relname)"`,
		`migrated in a int default migrated()`,
		`now in sql := "SELECT " + quote("now()::text", "a") + " FROM concatenated(" + column + ")"`,
		`queued in batch.Queue("SELECT queued(1)")`,
		`text in sql := "SELECT " + quote("now()::text", "a") + " FROM concatenated(" + column + ")"`,
		`trim_array in const small = "select trim_array(a, 1) from s.t"`,
		`upper in "\t\tupper(c.relname)\n\tFROM pg_catalog.pg_class AS c"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func fileLine(t *testing.T, path string, line int) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	if line < 1 || line > len(lines) {
		t.Fatalf("%s has no line %d", path, line)
	}
	return lines[line-1]
}

func TestProse(t *testing.T) {
	f := &folder{connects: true}
	for _, text := range []string{
		"The login lacks SELECT on the table(s) below.",
		"GRANT it CONNECT, or let somebody who may run it(s)",
		"it's FROM x",
		"public",
		"",
		"Set pg_catalog.now() as the default of the column.",
		"look at %s(%d)",
	} {
		if f.looksLikeSQL(text) {
			t.Errorf("taken for SQL: %q", text)
		}
	}
}
