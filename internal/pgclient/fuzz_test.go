package pgclient

import (
	"strings"
	"testing"
)

// A quoted name is one token that means the name.
func FuzzIdent(f *testing.F) {
	for _, seed := range []string{"orders", `"`, `a"; DROP TABLE b; --`, "\x00", `\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, rest := readQuoted(t, Ident(name), '"')
		if want := strings.ReplaceAll(name, "\x00", ""); got != want || rest != "" {
			t.Errorf("%q is quoted %s", name, Ident(name))
		}
	})
}

// A literal is one token that means the text, whatever
// standard_conforming_strings is.
func FuzzLiteral(f *testing.F) {
	for _, seed := range []string{"text", "it's", `\`, `\'; DROP TABLE b; --`, `'\`, "E'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		literal, escaped := strings.CutPrefix(Literal(text), " E")
		got, rest := readQuoted(t, literal, '\'')
		if escaped {
			if strings.Contains(strings.ReplaceAll(got, `\\`, ""), `\`) {
				t.Errorf("%q has the literal %s, which escapes something", text, Literal(text))
			}
			got = strings.ReplaceAll(got, `\\`, `\`)
		} else if strings.Contains(got, `\`) {
			t.Errorf("%q has the literal %s, which depends on a setting", text, Literal(text))
		}
		if got != text || rest != "" {
			t.Errorf("%q has the literal %s", text, Literal(text))
		}
	})
}

// readQuoted reads text up to the closing quote, in which quotes are doubled, as PostgreSQL
// does, and returns the rest.
func readQuoted(t *testing.T, text string, quote byte) (inner, rest string) {
	t.Helper()
	if text == "" || text[0] != quote {
		t.Fatalf("%s does not begin with %c", text, quote)
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] == quote {
			if i+1 == len(text) || text[i+1] != quote {
				return b.String(), text[i+1:]
			}
			i++
		}
		b.WriteByte(text[i])
	}
	t.Fatalf("%s never ends", text)
	return "", ""
}
