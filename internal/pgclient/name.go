package pgclient

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// MaxNameBytes is the length at which PostgreSQL truncates names (NAMEDATALEN - 1).
const MaxNameBytes = 63

// Ident quotes a name for use in SQL.
func Ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// Literal quotes text for statements in which values cannot be bound.
func Literal(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// Idents quotes names and joins them with commas.
func Idents(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = Ident(name)
	}
	return strings.Join(quoted, ", ")
}

// CutName splits off the first name of text, which ends at a dot or, if it is quoted, at its
// closing quote.
func CutName(text string) (name, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		i := strings.IndexByte(text, '.')
		if i < 0 {
			return text, "", nil
		}
		return text[:i], text[i:], nil
	}
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			i++
			continue
		}
		return strings.ReplaceAll(text[1:i], `""`, `"`), text[i+1:], nil
	}
	return "", "", fmt.Errorf("the closing quote is missing")
}

// CheckName refuses text that PostgreSQL cannot accept as a name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name is empty")
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("the name %q contains a zero byte", name)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("the name %q has %d bytes, but PostgreSQL allows at most %d", name, len(name), MaxNameBytes)
	}
	return nil
}

// CheckText refuses text that PostgreSQL cannot accept as a value.
func CheckText(text string) error {
	if strings.ContainsRune(text, 0) {
		return fmt.Errorf("%q contains a zero byte", text)
	}
	return nil
}

func QuoteName(name string) string {
	if strings.ContainsAny(name, `."`) {
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return name
}

func QuoteAll[T any](all []T, quote func(T) string) []string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = quote(one)
	}
	return names
}
