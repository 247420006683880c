package pgclient_test

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
)

// A quoted name is one token that means the name.
func FuzzIdent(f *testing.F) {
	for _, seed := range []string{"orders", `"`, `a"; DROP TABLE b; --`, "\x00", `\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, rest := pgtest.ReadQuoted(t, pgclient.Ident(name), '"')
		if want := strings.ReplaceAll(name, "\x00", ""); got != want || rest != "" {
			t.Errorf("%q is quoted %s", name, pgclient.Ident(name))
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
		literal, escaped := strings.CutPrefix(pgclient.Literal(text), " E")
		got, rest := pgtest.ReadQuoted(t, literal, '\'')
		if escaped {
			if strings.Contains(strings.ReplaceAll(got, `\\`, ""), `\`) {
				t.Errorf("%q has the literal %s, which escapes something", text, pgclient.Literal(text))
			}
			got = strings.ReplaceAll(got, `\\`, `\`)
		} else if strings.Contains(got, `\`) {
			t.Errorf("%q has the literal %s, which depends on a setting", text, pgclient.Literal(text))
		}
		if got != text || rest != "" {
			t.Errorf("%q has the literal %s", text, pgclient.Literal(text))
		}
	})
}
