// Package internal holds the product. Its tests check the arrows between the packages, and the
// rules for all SQL and all sessions.
package internal

import (
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// arrows are all imports between the packages in product code: a package imports only those that
// its entry lists.
var arrows = map[string][]string{
	"sshclient": nil,
	"sqltext":   nil, // for tests
	"sandbox":   nil,
	"linux":     {"sshclient"},
	"pgclient":  {"sshclient"},
	"relation":  {"pgclient"},
	"privilege": {"pgclient", "relation"},
	"preflight": {"pgclient", "privilege", "relation"},
	"postgres":  {"pgclient", "privilege", "relation"},
	"catalog":   {"pgclient"},
	// The engine. The packages of its two sides, source and destination, do not know each other:
	// only tablesync joins them.
	"session":     {"catalog", "pgclient", "relation"},
	"copywire":    {"pgclient"},
	"definition":  {"pgclient", "relation"},
	"source":      {"catalog", "pgclient", "relation", "session"},
	"destination": {"catalog", "definition", "pgclient", "relation", "session"},
	"tablesync":   {"catalog", "copywire", "definition", "destination", "pgclient", "relation", "session", "source"},
	"replication": {"catalog", "definition", "destination", "pgclient", "privilege", "relation", "session", "source"},
	"syncrun":     {"catalog", "definition", "destination", "pgclient", "relation", "replication", "source", "tablesync"},

	"report":     {"pgclient", "syncrun", "tablesync"},
	"provider":   {"definition", "linux", "pgclient", "postgres", "preflight", "privilege", "relation", "replication", "report", "sshclient", "syncrun", "tablesync"},
	"pgtest":     {"pgclient", "sandbox"}, // for tests
	"quickstart": {"sandbox"},
	"bench":      {"definition", "pgclient", "relation", "replication", "sandbox", "sshclient", "syncrun"},
	"bench/idle": {"provider"},
}

// forbidden are what a package's product code must not import, as regular expressions: modules
// of others, and what no entry of arrows may list.
var forbidden = []struct{ pkg, imports string }{
	{"provider", "jackc/pgx"}, // SQL lives in the domain
	{"provider", "x/crypto"},
	{"source", `internal/destination"`}, // what is read does not depend on where it goes
	{"destination", `internal/source"`}, // nor the other way round
}

// terraform are the packages that import Terraform's modules: the domain does not.
var terraform = []string{"provider", "bench/idle"}

func TestImports(t *testing.T) {
	known := map[string]map[string]bool{} // by package, what it imports
	for _, directory := range packages(t) {
		known[directory] = map[string]bool{}
		for _, name := range productFiles(t, directory) {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imported := range file.Imports {
				if _, sibling, ok := strings.Cut(strings.Trim(imported.Path.Value, `"`), "terraform-provider-stitch/internal/"); ok {
					known[directory][sibling] = true
				}
				if strings.Contains(imported.Path.Value, "hashicorp/") && !slices.Contains(terraform, directory) {
					t.Errorf("%s imports %s", name, imported.Path.Value)
				}
				for _, rule := range forbidden {
					if directory == rule.pkg && regexp.MustCompile(rule.imports).MatchString(imported.Path.Value) {
						t.Errorf("%s imports %s", name, imported.Path.Value)
					}
				}
			}
		}
	}
	for directory, siblings := range known {
		listed, ok := arrows[directory]
		if found := slices.Sorted(maps.Keys(siblings)); !ok || !slices.Equal(found, listed) {
			t.Errorf("%s imports %q, and is to import %q", directory, found, listed)
		}
	}
	for directory := range arrows {
		if known[directory] == nil {
			t.Errorf("there is no package %s", directory)
		}
	}
}
