package relation

import (
	"strings"
	"testing"
)

func TestParseTableName(t *testing.T) {
	for text, want := range map[string]TableName{
		"public.orders":          {"public", "orders"},
		"public.a.b":             {"public", "a.b"}, // split at the first dot
		`"a.b".orders`:           {"a.b", "orders"},
		`"a.b"."c.d"`:            {"a.b", "c.d"},
		`public."Mixed ""q"".t"`: {"public", `Mixed "q".t`},
		"Public.Orders":          {"Public", "Orders"},
		"größe.日本":               {"größe", "日本"},
		"a b.c d":                {"a b", "c d"},
	} {
		got, err := ParseTableName(text)
		if err != nil || got != want {
			t.Errorf("ParseTableName(%q) = %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseTableName(got.String()); err != nil || again != want {
			t.Errorf("%q does not survive being written: %q", text, got)
		}
	}
	for text, message := range map[string]string{
		"orders":                            "write it as schema.table",
		"":                                  "write it as schema.table",
		".orders":                           "a name is empty",
		"public.":                           "a name is empty",
		`"public.orders`:                    "the closing quote is missing",
		`public."orders`:                    "the closing quote is missing",
		`public."orders"x`:                  `unexpected "x"`,
		"a\x00b.c":                          "zero byte",
		"public." + strings.Repeat("x", 64): "64 bytes",
	} {
		if _, err := ParseTableName(text); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("ParseTableName(%q): %v, want %q", text, err, message)
		}
	}
}
