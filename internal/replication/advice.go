package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// advise says what to do about values and tables that cannot be loaded, and otherwise
// what a worker knows.
func (c *copying) advise(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return c.worker.advise(err)
	}
	var source *extractError
	atSource := errors.As(err, &source)
	switch {
	case pg.Code == "22021" && atSource:
		return c.adviseBytes(ctx, err)
	case pg.Code == "22P05" && !atSource:
		return postgres.Advise(err, "The database of the destination cannot hold that character: create it with the encoding UTF8, or exclude the column that the error names.")
	case pg.Code == "23502" && !atSource && slices.Contains(c.selection.ViewKeyProperties, pg.ColumnName):
		return postgres.Advise(err, fmt.Sprintf("Column %q is among view_key_properties of %s, and is null in a row: nulls identify nothing. "+
			"Name other columns, or leave such rows out of the view.", pg.ColumnName, c.unit.Table))
	case pg.Code == "54011" && !atSource:
		return postgres.Advise(err, fmt.Sprintf("Columns that are not replicated any more, or were dropped, count as well. Exclude columns; or rename %s: then the next run makes a new one.", c.target))
	case pg.Code == "42701" && !atSource:
		return postgres.Advise(err, "The destination's PostgreSQL keeps that name for itself: exclude the column, or replicate a view that gives it another name.")
	}
	return c.worker.advise(err)
}

// adviseBytes names the column that holds bytes which are no text.
func (c *copying) adviseBytes(ctx context.Context, err error) error {
	what := "A column holds"
	for _, column := range c.step.layout.columns {
		if postgres.Code(c.checkBytes(ctx, column)) == "22021" {
			what = fmt.Sprintf("Column %q holds", column.source.Name)
			break
		}
	}
	return postgres.Advise(err, what+" bytes that are not UTF-8, which a database with the encoding SQL_ASCII takes for text. Repair them, exclude the column, or replicate a view that converts it: "+
		"convert_from(convert(convert_to(name, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'UTF8').")
}

// checkBytes fails if a column of the source holds such bytes.
func (c *copying) checkBytes(ctx context.Context, column column) error {
	return c.sourceReady.read(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '1min'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf("SELECT pg_catalog.count(pg_catalog.convert_to(pg_catalog.format('%%s', %s), 'UTF8')) FROM %s",
			column.extract, c.extraction.table.Name.SQL()))
		return err
	})
}
