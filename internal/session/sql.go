package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// Unprepared saves the round trip that prepares a statement: a statement that names a table
// is run only once.
const Unprepared = pgx.QueryExecModeExec

// Querier is a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// TextOrNil reads a text, or nil if there is no row.
func TextOrNil(row pgx.Row, what string) (*string, error) {
	var text string
	err := row.Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &text, nil
}

// TypedLiteral writes a key so that the source or the destination can read it.
func TypedLiteral(key, sql string) string { return pgclient.Literal(key) + "::" + sql }

// List writes each name with format.
func List(names []string, format string) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = strings.ReplaceAll(format, "?", pgclient.Ident(name))
	}
	return strings.Join(parts, ", ")
}

// Literals writes values, whose types follow from their context.
func Literals(values []string) string {
	all := make([]string, len(values))
	for i, value := range values {
		all[i] = pgclient.Literal(value)
	}
	return strings.Join(all, ", ")
}
