package replication

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each file belongs to one idea, and ideas depend on each other in one direction. In
// particular, the files that read a source and the files that write a destination do not
// depend on each other.
var ideas = map[string]struct {
	files string
	knows string
}{
	"server":      {"lock money path_advice session_settings sql type_text", ""},
	"copywire":    {"relay wire", "server"},
	"definition":  {"check definition system_columns", "server"},
	"source":      {"meaning source_age source_identity source_key_comparison source_key_range source_late_commits source_open_transactions source_questions source_session source_snapshot source_storage", "server"},
	"destination": {"access columns destination_lock destination_session destination_table layout load loaded_table merge staging target_age", "definition server"},
	"tablesync": {"advice bookmark chunks commit facts job partners plan plan_reasons queue ranges same_key sessions snapshot_age sync verify",
		"copywire definition destination server source"},
	"syncrun":     {"long_snapshots outcome recorded run unbegun worker", "copywire definition destination replication server source tablesync"},
	"replication": {"adopt left outlook place readers readers_change readers_claims store view_path", "definition destination server source"},
}

func TestArrows(t *testing.T) {
	t.Parallel()
	owner, files := map[string]string{}, map[string]*ast.File{} // of a declaration; by idea and file
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(path, ".go")
		if strings.HasSuffix(name, "_test") || name == "doc" {
			continue
		}
		idea := ""
		for candidate, of := range ideas {
			if slices.Contains(strings.Fields(of.files), name) {
				idea = candidate
			}
		}
		if idea == "" {
			t.Errorf("%s belongs to no idea", path)
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[idea+"/"+path] = file
		for name := range file.Scope.Objects {
			owner[name] = idea
		}
	}
	for key, file := range files {
		idea, path, _ := strings.Cut(key, "/")
		for _, used := range file.Unresolved { // in the file
			to := owner[used.Name]
			if to != "" && to != idea && !slices.Contains(strings.Fields(ideas[idea].knows), to) {
				t.Errorf("%s, of %s, refers to %s, of %s", path, idea, used.Name, to)
			}
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Recv == nil {
				continue
			}
			receiver := function.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			if of := receiver.(*ast.Ident).Name; owner[of] != idea {
				t.Errorf("%s, of %s, has the method %s of %s, of %s", path, idea, function.Name.Name, of, owner[of])
			}
		}
	}
}
