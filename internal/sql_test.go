package internal

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sqltext"
)

// ownServers are packages that connect only to servers that they started themselves, where no
// other role exists.
var ownServers = []string{"sandbox", "bench", "pgtest", "quickstart"}

// unchecked are those of ownServers whose SQL is no example for users.
var unchecked = ownServers[:3]

// fewestNames is the minimum number of names in the SQL of a package: a check that finds no
// names would pass.
var fewestNames = map[string]int{
	"catalog": 100, "destination": 200, "pgclient": 40, "postgres": 200, "preflight": 60, "privilege": 100, "relation": 100, "replication": 150,
	"session": 15, "source": 300, "tablesync": 50,
}

// Functions, relations and types are written with their schema, and so are operators of columns
// that may have any type: another role cannot decide what they mean.
func TestQualifiedNames(t *testing.T) {
	for _, directory := range packages(t) {
		if slices.Contains(unchecked, directory) {
			continue
		}
		t.Run(directory, func(t *testing.T) {
			unsafe, names := unsafeNames(t, directory)
			for _, name := range unsafe {
				t.Errorf("%s: write it with its schema", name)
			}
			if least := fewestNames[directory]; names < least {
				t.Errorf("the check has found %d names in SQL, and there are %d at least: does it still know what SQL is?", names, least)
			}
		})
	}
}

// packages returns the directories that hold product code in Go.
func packages(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		if directory := filepath.Dir(path); !slices.Contains(all, directory) {
			all = append(all, directory)
		}
		return nil
	})
	if err != nil || len(all) < 5 {
		t.Fatalf("packages %v (%v)", all, err)
	}
	return all
}

// unsafeNames lists the names in the SQL of a package that are not written with their
// schema, each as "file:line: kind name", and counts all names.
func unsafeNames(t *testing.T, directory string) (unsafe []string, names int) {
	t.Helper()
	literals, err := sqltext.Literals(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, literal := range literals {
		for _, use := range sqltext.Uses(literal.Text) {
			names++
			if use.Unsafe() {
				unsafe = append(unsafe, fmt.Sprintf("%s: %s %s", literal.Position(use.Offset), use.Kind, use.Name))
			}
		}
	}
	slices.Sort(unsafe)
	return slices.Compact(unsafe), names // a constant may be part of several literals
}

// opening are the functions of pgx that open a connection.
var opening = regexp.MustCompile(`^(Connect|ConnectConfig|ConnectWithOptions|New|NewWithConfig|Construct|Open|OpenDB|OpenDBFromPool|GetConnector)$`)

// All sessions are opened in one place, which pins how their names are resolved.
func TestOneConnect(t *testing.T) {
	var found []string
	for _, directory := range packages(t) {
		if slices.Contains(ownServers, strings.Split(directory, "/")[0]) {
			continue
		}
		for _, name := range productFiles(t, directory) {
			found = append(found, openings(t, name, nil)...)
		}
	}
	want := []string{"pgclient/server.go: connect"}
	if found = slices.Compact(found); !slices.Equal(found, want) {
		t.Errorf("sessions are opened in %v, want only %v", found, want)
	}
}

func TestOpenings(t *testing.T) {
	for source, want := range map[string]string{
		`import "github.com/jackc/pgx/v5"; func f() { pgx.Connect(ctx, url) }`:                               "a.go: f",
		`import "github.com/jackc/pgx/v5"; func (s *S) f() { c := pgx.ConnectConfig; c(ctx, config) }`:       "a.go: f",
		`import raw "github.com/jackc/pgx/v5/pgconn"; func f() { func() { raw.ConnectWithOptions(ctx) }() }`: "a.go: f",
		`import "github.com/jackc/pgx/v5/pgxpool"; var pool, _ = pgxpool.New(ctx, url)`:                      "a.go: ",
		`import "github.com/jackc/pgx/v5"; func f() { pgx.BeginFunc(ctx) }`:                                  "",
		`import "github.com/jackc/pgx/v5/pgconn"; func f() { var e *pgconn.ConnectError }`:                   "",
		`import "net"; func f(pgx net.X) { pgx.Connect(ctx) }`:                                               "",
	} {
		if got := strings.Join(openings(t, "a.go", "package a; "+source), ", "); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", source, got, want)
		}
	}
}

func productFiles(t *testing.T, directory string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(directory, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
}

// openings lists where a file opens connections, each as "file: function".
func openings(t *testing.T, name string, source any) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	pgx := map[string]bool{} // the file's names for pgx and its packages
	for _, imported := range file.Imports {
		path := strings.Trim(imported.Path.Value, `"`)
		if !strings.Contains(path, "jackc/pgx") {
			continue
		}
		called := filepath.Base(strings.TrimSuffix(path, "/v5"))
		if imported.Name != nil {
			called = imported.Name.Name
		}
		pgx[called] = true
	}
	var found []string
	for _, declared := range file.Decls {
		function := ""
		if f, ok := declared.(*ast.FuncDecl); ok {
			function = f.Name.Name
		}
		ast.Inspect(declared, func(n ast.Node) bool {
			if selected, ok := n.(*ast.SelectorExpr); ok && opening.MatchString(selected.Sel.Name) {
				if of, ok := selected.X.(*ast.Ident); ok && pgx[of.Name] {
					found = append(found, name+": "+function)
				}
			}
			return true
		})
	}
	return found
}
