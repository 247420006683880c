// Package internal holds the product; this test keeps the arrows between its packages.
package internal

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// forbidden are imports that a package's product code must not have.
var forbidden = []struct{ pkg, imports string }{
	{"postgres", "hashicorp/"}, // the domain does not know Terraform
	{"catalog", "hashicorp/"},
	{"replication", "hashicorp/"},
	{"sandbox", "hashicorp/"},
	{"sshclient", "hashicorp/"},
	{"linux", "hashicorp/"},
	{"provider", "jackc/pgx"}, // SQL lives in the domain
	{"provider", "x/crypto/ssh"},
	{"provider", "internal/catalog"},
	{"postgres", "/internal/"}, // leaves know no sibling
	{"catalog", "/internal/"},
	{"sandbox", "/internal/"},
	{"sshclient", "/internal/"},
	{"linux", "internal/provider"}, // a leaf but for the connections
	{"linux", "internal/postgres"},
	{"linux", "internal/replication"},
	{"linux", "internal/catalog"},
	{"linux", "internal/sandbox"},
	{"replication", "internal/provider"},
	{"replication", "internal/sandbox"}, // test servers stay out of the product
	{"provider", "internal/sandbox"},
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
				if strings.Contains(imported.Path.Value, rule.imports) {
					t.Errorf("%s imports %s", name, imported.Path.Value)
				}
			}
		}
	}
}
