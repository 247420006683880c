package relation

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A TableName names a table, view, materialized view or foreign table of a database.
type TableName struct {
	Schema string
	Name   string
}

// ParseTableName parses the form schema.table, split at the first dot. A part that itself holds
// a dot is written in double quotes: "a.b".orders.
func ParseTableName(text string) (TableName, error) {
	schema, rest, err := pgclient.CutName(text)
	if err != nil {
		return TableName{}, fmt.Errorf("table %q: %w", text, err)
	}
	name, ok := strings.CutPrefix(rest, ".")
	if !ok {
		return TableName{}, fmt.Errorf("table %q: write it as schema.table, for example public.%s", text, text)
	}
	if strings.HasPrefix(name, `"`) {
		if name, rest, err = pgclient.CutName(name); err == nil && rest != "" {
			err = fmt.Errorf("unexpected %q after the closing quote", rest)
		}
		if err != nil {
			return TableName{}, fmt.Errorf("table %q: %w", text, err)
		}
	}
	t := TableName{Schema: schema, Name: name}
	for _, part := range []string{t.Schema, t.Name} {
		if err := pgclient.CheckName(part); err != nil {
			return TableName{}, fmt.Errorf("table %q: %w", text, err)
		}
	}
	return t, nil
}

// String returns the form that ParseTableName parses.
func (t TableName) String() string {
	return pgclient.QuoteName(t.Schema) + "." + pgclient.QuoteName(t.Name)
}

func (t TableName) Compare(other TableName) int {
	return cmp.Or(strings.Compare(t.Schema, other.Schema), strings.Compare(t.Name, other.Name))
}

// SQL quotes the name for use in a statement.
func (t TableName) SQL() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }
