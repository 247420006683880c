package sqltext

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// filledIn stands for text that a program concatenates at run time.
const filledIn = '\uFFFC'

// A kind is the kind of a token.
type kind int

const (
	word    kind = iota // a keyword or an identifier, in lower case
	quoted              // an identifier in double quotes, without them
	text                // a string constant
	number              // or a parameter, such as $1
	filled              // what a program fills in
	symbol              // an operator
	special             // one of ( ) [ ] , ; . and ::
	end                 // after the last token
)

// A token is one token of an SQL text.
type token struct {
	kind   kind
	text   string
	offset int
	upper  bool // written in capitals
	body   int  // for a string in dollar quotes: the offset of its contents, otherwise 0
}

func (t token) is(text string) bool {
	return t.text == text && (t.kind == word || t.kind == symbol || t.kind == special)
}

// isAny reports whether the token is one of some words, separated by spaces.
func (t token) isAny(words string) bool {
	return t.kind == word && strings.Contains(" "+words+" ", " "+t.text+" ")
}

// isName reports whether the token can only be an identifier.
func (t token) isName() bool { return t.kind == quoted || t.kind == word && !keywords[t.text] }

var (
	verb        = regexp.MustCompile(`^%(\[\d+\])?[a-z]`)
	wordPattern = regexp.MustCompile(`^[\pL_][\pL\pN_$]*`)
	numeral     = regexp.MustCompile(`^(\$\d+|\d[\d_]*(\.\d+)?([eE][+-]?\d+)?)`)
	dollarQuote = regexp.MustCompile(`^\$([\pL_][\pL\pN_]*)?\$`)
	operator    = regexp.MustCompile("^[-+*/<>=~!@#%^&|`?]+")
)

// tokenize divides SQL into tokens. It reports whether every comment, string and quote is
// closed.
func tokenize(sql string) (tokens []token, closed bool) {
	for at := 0; at < len(sql); {
		rest := sql[at:]
		first, size := utf8.DecodeRuneInString(rest)
		if unicode.IsSpace(first) {
			at += size
			continue
		}
		if length, ok := commentLength(rest); length > 0 {
			if at += length; !ok {
				return tokens, false
			}
			continue
		}
		t, length := nextToken(rest)
		if length == 0 {
			return tokens, false
		}
		t.offset = at
		if t.body > 0 {
			t.body += at
		}
		at += length
		tokens = appendToken(tokens, t)
	}
	return tokens, true
}

// appendToken joins filled-in text with the parts of a name around it: together they are one
// name, which is unknown.
func appendToken(tokens []token, t token) []token {
	if len(tokens) > 0 {
		last := &tokens[len(tokens)-1]
		adjacent := last.offset+len(last.text) == t.offset
		if adjacent && (last.kind == filled && (t.kind == word || t.kind == filled) || last.kind == word && t.kind == filled) {
			last.kind, last.text = filled, last.text+t.text
			return tokens
		}
	}
	return append(tokens, t)
}

// commentLength returns the length of the comment at the start of sql, if there is one, and
// whether the comment ends.
func commentLength(sql string) (length int, closed bool) {
	if strings.HasPrefix(sql, "--") {
		if end := strings.IndexByte(sql, '\n'); end >= 0 {
			return end, true
		}
		return len(sql), true
	}
	if !strings.HasPrefix(sql, "/*") {
		return 0, true
	}
	depth := 0
	for i := 0; i+1 < len(sql); {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
		default:
			i++
		}
		if depth == 0 {
			return i, true
		}
	}
	return len(sql), false
}

// nextToken returns the token at the start of sql. A length of 0 means that the token has no
// end.
func nextToken(sql string) (t token, length int) {
	if t, length, ok := quotedToken(sql); ok {
		return t, length
	}
	for _, form := range []struct {
		pattern *regexp.Regexp
		kind    kind
	}{{verb, filled}, {wordPattern, word}, {numeral, number}} {
		if found := form.pattern.FindString(sql); found != "" {
			t := token{kind: form.kind, text: found}
			if form.kind == word {
				t.text, t.upper = strings.ToLower(found), found == strings.ToUpper(found)
			}
			return t, len(found)
		}
	}
	if strings.HasPrefix(sql, "::") {
		return token{kind: special, text: "::"}, 2
	}
	if found := operatorToken(sql); found != "" {
		return token{kind: symbol, text: found}, len(found)
	}
	first, size := utf8.DecodeRuneInString(sql)
	if first == filledIn {
		return token{kind: filled, text: sql[:size]}, size
	}
	return token{kind: special, text: sql[:size]}, size
}

// operatorToken returns the operator at the start of sql, or "". It ends before a comment, a
// cast and filled-in text.
func operatorToken(sql string) string {
	found := operator.FindString(sql)
	for i := range found {
		rest := sql[i:]
		if strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "/*") || i > 0 && (verb.MatchString(rest) || strings.HasPrefix(rest, "::")) {
			return found[:i]
		}
	}
	return found
}

// quotedToken returns the string or the quoted identifier at the start of sql.
func quotedToken(sql string) (t token, length int, ok bool) {
	if tag := dollarQuote.FindString(sql); tag != "" {
		end := strings.Index(sql[len(tag):], tag)
		if end < 0 {
			return token{}, 0, true
		}
		return token{kind: text, text: sql[len(tag) : len(tag)+end], body: len(tag)}, end + 2*len(tag), true
	}
	for _, form := range []struct {
		prefix  string
		kind    kind
		escapes bool
	}{
		{`'`, text, false}, {`"`, quoted, false}, {`E'`, text, true}, {`e'`, text, true},
		{`B'`, text, false}, {`X'`, text, false}, {`U&'`, text, false}, {`U&"`, quoted, false},
	} {
		if !strings.HasPrefix(sql, form.prefix) {
			continue
		}
		contents := sql[len(form.prefix):]
		end := closingQuote(contents, form.prefix[len(form.prefix)-1], form.escapes)
		if end < 0 {
			return token{}, 0, true
		}
		return token{kind: form.kind, text: contents[:end]}, len(form.prefix) + end + 1, true
	}
	return token{}, 0, false
}

// closingQuote returns the position of the closing quote, or -1.
func closingQuote(contents string, quote byte, escapes bool) int {
	for i := 0; i < len(contents); i++ {
		switch {
		case escapes && contents[i] == '\\':
			i++
		case contents[i] != quote:
		case i+1 < len(contents) && contents[i+1] == quote:
			i++
		default:
			return i
		}
	}
	return -1
}
