package replication

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// What a run compares after it has loaded a table, before it commits.
const (
	VerifyNone     = "none"
	VerifyCount    = "count"    // the number of rows
	VerifyChecksum = "checksum" // and a sum over the text of all of them
)

// A tally is what is compared.
type tally struct {
	rows     int64
	checksum string // "" if it was not asked for
}

// verify compares the source, in the snapshot that was extracted, with what the
// transaction makes of the destination. FULL_TABLE must leave both the same.
// INCREMENTAL keeps what is gone at the source, so a difference is only told.
func (c *copying) verify(ctx context.Context, tx pgx.Tx) (string, error) {
	if c.unit.Verify == VerifyNone {
		return "", nil
	}
	there, err := c.tally(ctx, c.extraction.tx, c.extraction.table.Name, func(col column) string { return col.extract })
	if err != nil {
		return "", &extractError{fmt.Errorf("verify %s: %w", c.unit.Table, err)}
	}
	here, err := c.tally(ctx, tx, c.target, func(col column) string { return postgres.Ident(col.name) })
	if err != nil {
		return "", fmt.Errorf("verify %s: %w", c.target, err)
	}
	switch {
	case there == here:
		return fmt.Sprintf("the same by %s: %d rows", c.unit.Verify, here.rows), nil
	case c.selection.Method == FullTable:
		return "", fmt.Errorf("verify: %s has %s and %s would have %s: nothing was committed", c.unit.Table, there, c.target, here)
	}
	return fmt.Sprintf("different by %s: the source has %s, the destination %s; INCREMENTAL keeps rows that are gone at the source", c.unit.Verify, there, here), nil
}

func (t tally) String() string {
	text := fmt.Sprintf("%d rows", t.rows)
	if t.checksum != "" {
		text += " with the checksum " + t.checksum
	}
	return text
}

// tally counts the rows of a table, and sums up hashes of their text. Floats are
// taken with the digits that all majors write alike.
func (c *copying) tally(ctx context.Context, tx pgx.Tx, table postgres.TableName, expression func(column) string) (t tally, err error) {
	checksum := "''"
	if c.unit.Verify == VerifyChecksum {
		expressions := make([]string, len(c.step.layout.columns))
		for i, column := range c.step.layout.columns {
			expressions[i] = expression(column)
		}
		checksum = fmt.Sprintf("coalesce(pg_catalog.sum(('x' || pg_catalog.substr(pg_catalog.md5(CAST(ROW(%s) AS pg_catalog.text)), 1, 15))::bit(60)::bigint), 0)::pg_catalog.text", strings.Join(expressions, ", "))
	}
	if _, err := tx.Exec(ctx, "SET LOCAL extra_float_digits = 0"); err != nil {
		return tally{}, err
	}
	err = tx.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.count(*), %s FROM %s", checksum, table.SQL()), once).Scan(&t.rows, &t.checksum)
	return t, err
}
