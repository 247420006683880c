package pgclient

import (
	"testing"
)

func TestSASLprep(t *testing.T) {
	for password, want := range map[string]string{
		"":                  "",
		"plain ASCII \t\\'": "plain ASCII \t\\'",
		"½ﬁ":                "1⁄2fi",
		"a\u00a0b":          "a b",
		"zero\u200bwidth":   "zero width",
		"soft\u00adhyphen":  "softhyphen",
		"\u00ad":            "\u00ad",
		"½😀":                "½😀",
		"a\u0340½":          "a\u0340½",
		"½\xff":             "½\xff",
	} {
		if got := SASLprep(password); got != want {
			t.Errorf("saslprep(%q) = %q, want %q", password, got, want)
		}
	}
}
