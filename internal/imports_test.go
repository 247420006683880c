// Package internal holds the product; these tests keep the arrows between its
// packages, and the rules for all SQL and all sessions.
package internal

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// forbidden are imports that a package's product code must not have, as regular expressions.
var forbidden = []struct{ pkg, imports string }{
	{"postgres", "hashicorp/"}, // the domain does not know Terraform
	{"catalog", "hashicorp/"},
	{"replication", "hashicorp/"},
	{"sandbox", "hashicorp/"},
	{"sshclient", "hashicorp/"},
	{"linux", "hashicorp/"},
	{"provider", "jackc/pgx"}, // SQL lives in the domain
	{"provider", "x/crypto"},
	{"provider", "internal/catalog"},
	{"sshclient", "/internal/"}, // leaves know no sibling
	{"catalog", "/internal/"},
	{"sandbox", "/internal/"},
	{"postgres", "/internal/[^s]"}, // but sshclient
	{"postgres", "/internal/sandbox"},
	{"linux", "/internal/[^s]"},
	{"linux", "/internal/sandbox"},
	{"replication", "internal/provider"},
	{"replication", "internal/sandbox"}, // test servers stay out of the product
	{"provider", "internal/sandbox"},
	{"*", "internal/sqltext"}, // for tests
}

func TestImports(t *testing.T) {
	for _, rule := range forbidden {
		files, err := filepath.Glob(filepath.Join(rule.pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s (%v)", rule.pkg, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imported := range file.Imports {
				if regexp.MustCompile(rule.imports).MatchString(imported.Path.Value) {
					t.Errorf("%s imports %s", name, imported.Path.Value)
				}
			}
		}
	}
}
