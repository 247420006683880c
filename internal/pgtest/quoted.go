package pgtest

import (
	"strings"
	"testing"
)

// ReadQuoted reads text up to the closing quote, in which quotes are doubled, as PostgreSQL
// does, and returns the rest.
func ReadQuoted(t *testing.T, text string, quote byte) (inner, rest string) {
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
