package postgres

import (
	"cmp"
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

// idents quotes names and joins them with commas.
func idents(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = Ident(name)
	}
	return strings.Join(quoted, ", ")
}

// A TableName names a table, view, materialized view or foreign table of a database.
type TableName struct {
	Schema string
	Name   string
}

// ParseTableName reads the form schema.table, split at the first dot. A part
// that itself holds a dot is written in double quotes: "a.b".orders.
func ParseTableName(text string) (TableName, error) {
	schema, rest, err := namePart(text)
	if err != nil {
		return TableName{}, fmt.Errorf("table %q: %w", text, err)
	}
	name, ok := strings.CutPrefix(rest, ".")
	if !ok {
		return TableName{}, fmt.Errorf("table %q: write it as schema.table, for example public.%s", text, text)
	}
	if strings.HasPrefix(name, `"`) {
		if name, rest, err = namePart(name); err == nil && rest != "" {
			err = fmt.Errorf("unexpected %q after the closing quote", rest)
		}
		if err != nil {
			return TableName{}, fmt.Errorf("table %q: %w", text, err)
		}
	}
	t := TableName{Schema: schema, Name: name}
	for _, part := range []string{t.Schema, t.Name} {
		if err := CheckName(part); err != nil {
			return TableName{}, fmt.Errorf("table %q: %w", text, err)
		}
	}
	return t, nil
}

// namePart splits off the first name of text, which ends at a dot or, if it is
// quoted, at its closing quote.
func namePart(text string) (name, rest string, err error) {
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
	return "", "", fmt.Errorf("the quote is never closed")
}

// CheckName refuses what cannot be the name of anything in PostgreSQL.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name is empty")
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("the name %q holds a zero byte", name)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("the name %q has %d bytes, PostgreSQL allows %d", name, len(name), MaxNameBytes)
	}
	return nil
}

// CheckText refuses what cannot be the value of anything in PostgreSQL.
func CheckText(text string) error {
	if strings.ContainsRune(text, 0) {
		return fmt.Errorf("%q holds a zero byte", text)
	}
	return nil
}

// String is the form that ParseTableName reads.
func (t TableName) String() string { return quotePart(t.Schema) + "." + quotePart(t.Name) }

func (t TableName) compare(other TableName) int {
	return cmp.Or(strings.Compare(t.Schema, other.Schema), strings.Compare(t.Name, other.Name))
}

// SQL quotes the name for use in a statement.
func (t TableName) SQL() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

func quotePart(name string) string {
	if strings.ContainsAny(name, `."`) {
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return name
}
