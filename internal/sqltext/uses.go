package sqltext

import (
	"cmp"
	"slices"
	"strings"
)

// A Kind is the kind of object that a name in SQL stands for.
type Kind string

// The kinds of names that PostgreSQL resolves by the search_path.
const (
	Function Kind = "function"
	Relation Kind = "relation"
	Type     Kind = "type"
	Operator Kind = "operator"
)

// A Use is a name that SQL uses.
type Use struct {
	Kind   Kind
	Schema string // the schema that it is written with, or ""
	Name   string // for an operator also where a word hides it: = for IN, USING and NULLIF
	Offset int    // in the text
	// Dynamic is set for an operator with an operand that the program names when it runs: a
	// column of any type.
	Dynamic bool
}

// Unsafe reports whether a schema that another role can write to may decide what the name means,
// that is, whether the name is written without its schema. An operator is unsafe only if its
// operand may have a type that is not built in: the pinned search_path resolves other operators.
func (u Use) Unsafe() bool { return u.Schema == "" && (u.Kind != Operator || u.Dynamic) }

// Uses returns the names that an SQL text uses, in order. The body of a function or a DO, in
// dollar quotes, is SQL as well.
func Uses(sql string) []Use {
	tokens, _ := tokenize(sql)
	var uses []Use
	for first := 0; first < len(tokens); {
		last := first
		for last < len(tokens) && !tokens[last].is(";") {
			last++
		}
		s := newStatement(tokens[first:last])
		for i := range s.tokens {
			s.use(i)
		}
		uses = append(uses, s.uses...)
		for _, t := range s.tokens {
			if t.body > 0 && s.at(0).isAny("do create") {
				for _, u := range Uses(t.text) {
					u.Offset += t.body
					uses = append(uses, u)
				}
			}
		}
		first = last + 1
	}
	slices.SortStableFunc(uses, func(a, b Use) int { return cmp.Compare(a.Offset, b.Offset) })
	return uses
}

// A statement is one statement, or a fragment of one.
type statement struct {
	tokens []token
	opener []int           // for each token: the innermost open parenthesis, or -1
	clause []string        // for each token: the keyword of that level that precedes it
	with   map[string]bool // relations that the statement defines itself
	rights bool            // it grants or revokes, so FROM is followed by no list of relations
	index  bool            // it creates an index
	temp   bool            // it creates a temporary relation, which has no other schema
	uses   []Use
}

// clauses are the keywords that say what the names after them are.
const clauses = "select from where group having order limit offset union intersect except returning set window values"

func newStatement(tokens []token) *statement {
	s := &statement{tokens: tokens, opener: make([]int, len(tokens)), clause: make([]string, len(tokens)), with: map[string]bool{}}
	open, clause := []int{-1}, []string{""}
	for i, t := range tokens {
		if (t.is(")") || t.is("]")) && len(open) > 1 {
			open, clause = open[:len(open)-1], clause[:len(clause)-1]
		}
		s.opener[i] = open[len(open)-1]
		if t.isAny(clauses) && !s.isPart(i) {
			clause[len(clause)-1] = t.text
		}
		s.clause[i] = clause[len(clause)-1]
		if t.is("(") || t.is("[") {
			open, clause = append(open, i), append(clause, "")
		}
		s.rights = s.rights || t.isAny("grant revoke")
	}
	s.index = s.at(0).is("create") && (s.at(1).is("index") || s.at(2).is("index"))
	s.temp = s.at(0).is("create") && s.at(1).isAny("temp temporary")
	for i := range tokens {
		if tokens[i].isName() && s.isDefinition(i) {
			s.with[tokens[i].text] = true
		}
	}
	return s
}

// at returns a token, or one of no kind if there is none at i.
func (s *statement) at(i int) token {
	if i < 0 || i >= len(s.tokens) {
		return token{kind: end}
	}
	return s.tokens[i]
}

// isPart reports whether FROM is part of IS DISTINCT FROM, or of a call.
func (s *statement) isPart(i int) bool {
	return s.at(i).is("from") && (s.at(i-1).is("distinct") && s.at(i-2).isAny("is not") || s.inCallOf(i, "extract substring trim overlay"))
}

// inCallOf reports whether a token is directly in the parentheses after one of some words.
func (s *statement) inCallOf(i int, words string) bool {
	return s.opener[i] > 0 && s.at(s.opener[i]-1).isAny(words)
}

// isDefinition reports whether a name is that of a common table expression.
func (s *statement) isDefinition(i int) bool {
	if !s.at(i-1).isAny("with recursive") && !s.at(i-1).is(",") {
		return false
	}
	next := i + 1
	if s.at(next).is("(") {
		next = s.behind(next)
	}
	if !s.at(next).is("as") {
		return false
	}
	next++
	for s.at(next).isAny("not materialized") {
		next++
	}
	return s.at(next).is("(") && (s.at(next+1).isAny("select with values insert update delete table") || s.at(next+1).is("(") || s.at(next+1).kind == filled)
}

// start returns where the name that ends at i begins, with its schema.
func (s *statement) start(i int) int {
	if s.at(i - 1).is(".") {
		return i - 2
	}
	return i
}

// before returns the token in front of the name that begins at i, ignoring IF EXISTS and IF NOT
// EXISTS.
func (s *statement) before(i int) token {
	if s.at(i-1).is("exists") && s.at(i-2).isAny("if not") {
		for i--; s.at(i - 1).isAny("if not"); i-- {
		}
	}
	return s.at(i - 1)
}

// behind returns the position after the parenthesis that closes the one at i.
func (s *statement) behind(i int) int {
	depth := 0
	for ; i < len(s.tokens); i++ {
		switch {
		case s.at(i).is("("):
			depth++
		case s.at(i).is(")"):
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return i
}

func (s *statement) add(kind Kind, i int) {
	u := Use{Kind: kind, Name: s.at(i).text, Offset: s.at(i).offset}
	if s.at(i - 1).is(".") {
		u.Schema = s.at(i - 2).text
	}
	s.uses = append(s.uses, u)
}

// use notes the name at the token at i, if there is one.
func (s *statement) use(i int) {
	t := s.at(i)
	if name, ok := s.constantName(i); ok && !strings.Contains(name, ".") {
		s.uses = append(s.uses, Use{Kind: Relation, Name: name, Offset: t.offset})
	}
	switch {
	case s.isCall(i):
		s.add(Function, i)
	case s.isType(i):
		s.add(Type, i)
	case s.isRelation(i):
		s.add(Relation, i)
	}
	switch {
	case t.is("operator") && s.at(i+1).is("("):
		s.addQualified(i + 2)
	case t.kind == symbol && s.at(s.opener[i]-1).is("operator"):
	case t.kind == symbol && !s.isAssignment(i) && !s.isStar(i):
		s.uses = append(s.uses, Use{Kind: Operator, Name: t.text, Offset: t.offset, Dynamic: s.isDynamic(i)})
	default:
		s.addHidden(i)
	}
}

// constantName returns the name of a relation or other object that the string at i contains.
func (s *statement) constantName(i int) (name string, ok bool) {
	if s.at(i).kind != text {
		return "", false
	}
	casted := i + 2
	if s.at(casted + 1).is(".") {
		casted += 2
	}
	return s.at(i).text, s.at(i+1).is("::") && s.at(casted).isAny("regclass regproc regprocedure regtype") ||
		s.at(i-1).is("(") && s.at(i-2).isAny("nextval currval setval to_regclass to_regtype to_regproc to_regprocedure")
}

// addQualified notes the operator in OPERATOR(schema.operator).
func (s *statement) addQualified(i int) {
	if s.at(i+1).is(".") && s.at(i+2).kind == symbol {
		s.uses = append(s.uses, Use{Kind: Operator, Schema: s.at(i).text, Name: s.at(i + 2).text, Offset: s.at(i + 2).offset})
	}
}

// hidden are the operators that words stand for.
var hidden = map[string][]string{
	"in": {"="}, "nullif": {"="}, "using": {"="}, "case": {"="}, "distinct": {"="},
	"between": {">=", "<="}, "like": {"~~"}, "ilike": {"~~*"}, "similar": {"~"},
}

// addHidden notes the operators that the word at i stands for.
func (s *statement) addHidden(i int) {
	t := s.at(i)
	if t.kind != word || hidden[t.text] == nil || s.at(i-1).is(".") {
		return
	}
	before := i - 1
	for s.at(before).isAny("is not") {
		before--
	}
	operands := []int{before}
	switch t.text {
	case "using":
		if !s.at(i+1).is("(") || s.index || s.at(0).is("alter") {
			return
		}
		operands = []int{i + 2}
	case "nullif":
		operands = []int{i + 2}
	case "case":
		if s.at(i + 1).is("when") {
			return
		}
		operands = []int{i + 1}
	case "distinct":
		if !s.at(i + 1).is("from") {
			return
		}
		operands = append(operands, i+2)
	case "in":
		if !s.at(i+1).is("(") || s.inCallOf(i, "position") { // otherwise it is IN SCHEMA
			return
		}
	}
	dynamic := slices.ContainsFunc(operands, s.isColumn)
	for _, name := range hidden[t.text] {
		s.uses = append(s.uses, Use{Kind: Operator, Name: name, Offset: t.offset, Dynamic: dynamic && s.compares()})
	}
}

// isDynamic reports whether an operand of the operator at i is a column whose name is filled in.
// Filled-in text after the operator may also be a constant, unless the other operand is one.
func (s *statement) isDynamic(i int) bool {
	left, right := s.at(i-1), s.at(i+1)
	return s.compares() && (s.isColumn(i-1) || s.isColumn(i+1) && (right.kind != filled || left.kind == number))
}

// isColumn reports whether a column whose name is filled in begins or ends at i.
func (s *statement) isColumn(i int) bool {
	if s.at(i).isName() && s.at(i+1).is(".") {
		i += 2
	}
	return s.at(i).kind == filled && s.at(i).text != "%d" && s.at(i).text != "%t"
}

// compares reports whether a statement is of a kind that has operators.
func (s *statement) compares() bool {
	return !s.at(0).isAny("alter create drop comment copy set reset lock grant revoke")
}

// isStar reports whether a * stands for all columns or for no argument.
func (s *statement) isStar(i int) bool {
	before, after := s.at(i-1), s.at(i+1)
	return s.at(i).is("*") && (before.is(".") || before.is("(") || before.is(",") && !s.at(i-2).is("(") || before.isAny("select returning")) &&
		(after.kind == end || after.is(")") || after.is(",") || after.isAny("from into where"))
}

// isAssignment reports whether a = sets a column or a parameter. No comparison has NULL as its
// operand.
func (s *statement) isAssignment(i int) bool {
	return s.at(i).is("=") && (s.clause[i] == "set" || s.at(0).isAny("set alter create") || s.at(i+1).isAny("null default"))
}

// isCall reports whether the name that ends at i is the name of a function.
func (s *statement) isCall(i int) bool {
	t, first := s.at(i), s.start(i)
	before, qualified := s.before(first), first < i
	switch {
	case !s.at(i + 1).is("("):
		return false
	case before.isAny("function procedure routine aggregate"):
		return t.isName()
	case t.isAny("substring overlay") && !qualified: // with commas, it is an ordinary function
		return !s.hasInside(i+1, "from for similar placing")
	case !qualified && !t.isName() && !functionKeywords[t.text], t.kind != word && t.kind != quoted:
		return false
	case before.isName(), before.kind == text, before.kind == number, before.is(")"), before.is("]"), before.is("::"):
		return false // names of columns follow, or modifiers of a type
	case before.isAny(namesColumns), s.isDefinition(i):
		return false
	case s.index && s.opener[i] < 0:
		return false
	}
	return true
}

// hasInside reports whether one of some words is directly in the parentheses that open at i.
func (s *statement) hasInside(open int, words string) bool {
	for i := open + 1; i < s.behind(open)-1; i++ {
		if s.opener[i] == open && s.at(i).isAny(words) {
			return true
		}
	}
	return false
}

// isType reports whether the name that ends at i is the name of a type that the grammar itself
// does not resolve.
func (s *statement) isType(i int) bool {
	t, first := s.at(i), s.start(i)
	switch {
	case t.kind != word && t.kind != quoted, s.at(i + 1).is("."):
		return false
	case first < i:
		return s.isTypeName(first)
	case t.kind == word && otherTypes[t.text] && s.at(i+1).kind == text && !s.at(i-1).is("as"):
		return true
	}
	return (t.kind != word || !grammarTypes[t.text]) && s.isTypeName(first)
}

// isTypeName reports whether the name that begins at i is the name of a type.
func (s *statement) isTypeName(i int) bool {
	return s.at(i-1).is("::") || s.at(i-1).is("as") && s.inCallOf(i, "cast")
}

// isRelation reports whether the name that ends at i is the name of a table or view that the
// statement does not define itself.
func (s *statement) isRelation(i int) bool {
	t, first := s.at(i), s.start(i)
	switch {
	case t.kind != word && t.kind != quoted, s.at(i + 1).is("."):
		return false
	case first == i && (!t.isName() || s.with[t.text]):
		return false
	case s.temp && s.before(first).isAny("table view"):
		return false
	}
	return (!s.at(i+1).is("(") || !s.before(first).isAny("from join")) && s.isRelationName(first)
}

// isRelationName reports whether the name that begins at i is the name of a relation.
func (s *statement) isRelationName(i int) bool {
	before := s.before(i)
	switch {
	case before.is("on"):
		return s.index && s.opener[i] < 0
	case before.is("from"):
		return s.clause[i] == "from" && !s.rights && !s.at(0).is("copy")
	case before.is("update"):
		return i == 1 || s.at(i-2).is("(")
	case before.is(","):
		return s.clause[i] == "from" && !s.rights
	}
	return before.isAny(namesRelations)
}
