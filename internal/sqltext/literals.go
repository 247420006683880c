package sqltext

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Literal is SQL that was found in a file.
type Literal struct {
	Text  string
	parts []part
}

// A part of a literal is a constant with a position of its own, because constants consist of
// others.
type part struct {
	offset   int // in the literal's text
	position gotoken.Position
	text     string
}

// Position returns the position in a file of an offset in the literal.
func (l Literal) Position(offset int) gotoken.Position {
	i, _ := slices.BinarySearchFunc(l.parts, offset+1, func(p part, offset int) int { return p.offset - offset })
	if i == 0 {
		return gotoken.Position{}
	}
	p := l.parts[i-1]
	before := p.text[:min(offset-p.offset, len(p.text))]
	p.position.Line += strings.Count(before, "\n")
	p.position.Column = 0 // escapes are not counted, so the column would be wrong
	return p.position
}

// Literals returns the SQL in the Go files of a directory, without its tests, and in the SQL
// files in the directory and below it.
func Literals(directory string) ([]Literal, error) {
	var all []Literal
	files := gotoken.NewFileSet()
	var parsed []*ast.File
	err := filepath.WalkDir(directory, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return filepath.SkipDir
		case strings.HasSuffix(path, ".sql"):
			content, err := os.ReadFile(path)
			sql := string(content)
			all = append(all, Literal{sql, []part{{0, gotoken.Position{Filename: path, Line: 1}, sql}}})
			return err
		case filepath.Dir(path) != filepath.Clean(directory), !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		parsed = append(parsed, file)
		return err
	})
	if err != nil {
		return nil, err
	}
	return append(all, inGo(files, parsed)...), nil
}

// inGo returns the SQL in the files of a package.
func inGo(files *gotoken.FileSet, parsed []*ast.File) []Literal {
	f := folder{files: files, constants: map[string]ast.Expr{}, run: map[ast.Expr]bool{}}
	f.connects = slices.ContainsFunc(parsed, func(file *ast.File) bool {
		return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return strings.Contains(i.Path.Value, "jackc/pgx") })
	})
	for _, file := range parsed {
		ast.Inspect(file, f.noteConstant)
	}
	for _, file := range parsed {
		ast.Inspect(file, f.noteRun)
	}
	for _, file := range parsed {
		ast.Inspect(file, f.find)
	}
	return f.found
}

// A folder computes the text of expressions of a package.
type folder struct {
	files     *gotoken.FileSet
	connects  bool // the package imports pgx
	constants map[string]ast.Expr
	run       map[ast.Expr]bool // expressions that are certainly SQL
	found     []Literal
}

// noteConstant notes the constants that n declares.
func (f *folder) noteConstant(n ast.Node) bool {
	declared, ok := n.(*ast.GenDecl)
	if !ok || declared.Tok != gotoken.CONST {
		return true
	}
	for _, spec := range declared.Specs {
		if spec, ok := spec.(*ast.ValueSpec); ok {
			for i, value := range spec.Values {
				f.constants[spec.Names[i].Name] = value
			}
		}
	}
	return true
}

// noteRun notes an argument that is certainly SQL.
func (f *folder) noteRun(n ast.Node) bool {
	argument := sqlArgument(n)
	if argument == nil || !f.connects {
		return true
	}
	if name, ok := argument.(*ast.Ident); ok && f.constants[name.Name] != nil {
		argument = f.constants[name.Name]
	}
	f.run[formatOf(argument)] = true
	return true
}

// find finds SQL in a node, and in the arguments of a call that builds a part of it.
func (f *folder) find(n ast.Node) bool {
	switch e := n.(type) {
	case *ast.ImportSpec:
		return false
	case *ast.Field:
		ast.Inspect(e.Type, f.find) // not in its tag
		return false
	case ast.Expr:
		if !f.isText(e) {
			return true
		}
		var l Literal
		f.append(&l, e, 0)
		if f.run[e] || f.looksLikeSQL(l.Text) {
			f.found = append(f.found, l)
		}
		f.findInParts(e)
		return false
	}
	return true
}

func (f *folder) findInParts(expr ast.Expr) {
	switch e := expr.(type) {
	case *ast.BasicLit:
	case *ast.ParenExpr:
		f.findInParts(e.X)
	case *ast.BinaryExpr:
		f.findInParts(e.X)
		f.findInParts(e.Y)
	default:
		ast.Inspect(expr, f.find)
	}
}

// runners are the methods of pgx that run SQL, with the number of the SQL argument.
var runners = map[string]int{
	"Exec": 1, "Query": 1, "QueryRow": 1, "Queue": 0, "Prepare": 2, "CopyTo": 2, "CopyFrom": 2, "ExecParams": 1,
}

// sqlArgument returns the argument of a call that is certainly SQL, or nil.
func sqlArgument(n ast.Node) ast.Expr {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	i, ok := runners[method.Sel.Name]
	if !ok || i >= len(call.Args) {
		return nil
	}
	return call.Args[i]
}

// formatOf returns the format of a call of fmt.Sprintf, or expr itself.
func formatOf(expr ast.Expr) ast.Expr {
	if call, ok := expr.(*ast.CallExpr); ok && len(call.Args) > 0 {
		if function, ok := call.Fun.(*ast.SelectorExpr); ok && function.Sel.Name == "Sprintf" {
			return call.Args[0]
		}
	}
	return expr
}

// isText reports whether an expression is a string constant, or a concatenation with one.
func (f *folder) isText(expr ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.BasicLit:
		return e.Kind == gotoken.STRING
	case *ast.ParenExpr:
		return f.isText(e.X)
	case *ast.BinaryExpr:
		return e.Op == gotoken.ADD && (f.isText(e.X) || f.isText(e.Y))
	}
	return false
}

// deepest bounds the nesting of constants in constants.
const deepest = 20

// append appends the text of an expression, with filledIn for what is not constant.
func (f *folder) append(l *Literal, expr ast.Expr, depth int) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		if value, err := strconv.Unquote(e.Value); err == nil && e.Kind == gotoken.STRING {
			l.parts = append(l.parts, part{len(l.Text), f.files.Position(e.Pos()), value})
			l.Text += value
			return
		}
	case *ast.ParenExpr:
		f.append(l, e.X, depth)
		return
	case *ast.BinaryExpr:
		if e.Op == gotoken.ADD {
			f.append(l, e.X, depth)
			f.append(l, e.Y, depth)
			return
		}
	case *ast.Ident:
		if value, ok := f.constants[e.Name]; ok && depth < deepest && f.isText(value) {
			f.append(l, value, depth+1)
			return
		}
	}
	l.Text += string(filledIn)
}

// statements are the keywords that a statement begins with.
const statements = "select with insert update delete create alter drop grant revoke set reset comment copy lock truncate analyze vacuum " +
	"reassign begin commit rollback savepoint release do call values explain declare fetch prepare execute deallocate refresh reindex"

// telling are keywords that identify fragments of statements.
const telling = "select from join where and or not case when in is exists order group cast null operator using values as on by desc"

// wordy are words of which SQL has several in a row in lower case.
const wordy = "double precision timestamp time with without zone character varying"

// A fragment may consist of a single call, in a package that runs SQL.
var call = regexp.MustCompile(`^\s*[a-z_]+\(`)

// looksLikeSQL distinguishes SQL from prose, which may quote SQL: by the keywords in capitals,
// and by a longer sequence of words than SQL has without a keyword.
func (f *folder) looksLikeSQL(literal string) bool {
	tokens, closed := tokenize(literal)
	if !closed || len(tokens) < 2 {
		return false
	}
	inRow := 0
	found := tokens[0].upper && tokens[0].isAny(statements) || f.connects && call.MatchString(literal)
	for i, t := range tokens {
		if t.kind == word && !t.upper && !t.isAny(wordy) {
			inRow++
		} else {
			inRow = 0
		}
		if inRow > 2 {
			return false
		}
		compares := t.kind == symbol && i > 2 && tokens[i-1].kind == filled && tokens[i-2].is(".") // alias.%s = ...
		found = found || t.upper && t.isAny(telling) || t.is("::") || t.is("pg_catalog") || f.connects && compares
	}
	return found
}
