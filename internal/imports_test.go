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
	"sshclient":   nil,
	"sqltext":     nil, // for tests
	"sandbox":     nil,
	"linux":       {"sshclient"},
	"pgclient":    {"sshclient"},
	"relation":    {"pgclient"},
	"privilege":   {"pgclient", "relation"},
	"preflight":   {"pgclient", "privilege", "relation"},
	"postgres":    {"pgclient", "privilege", "relation"},
	"catalog":     {"pgclient"},
	"replication": {"catalog", "pgclient", "privilege", "relation"},
	"report":      {"pgclient", "replication"},
	"provider":    {"linux", "pgclient", "postgres", "preflight", "privilege", "relation", "replication", "report", "sshclient"},
	"pgtest":      {"pgclient", "sandbox"}, // for tests
	"quickstart":  {"sandbox"},
	"bench":       {"pgclient", "relation", "replication", "sandbox", "sshclient"},
	"bench/idle":  {"provider"},
}

// forbidden are modules of others that a package's product code must not import, as regular
// expressions.
var forbidden = []struct{ pkg, imports string }{
	{"provider", "jackc/pgx"}, // SQL lives in the domain
	{"provider", "x/crypto"},
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
