package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// lossesSQL lists the tables of the schema $1, or of all that somebody made if that is
// empty, with about how many rows each has.
const lossesSQL = `
	SELECT n.nspname, c.relname, greatest(c.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(c.oid), 0)
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p')
	  AND NOT c.relispartition
	  AND CASE $1::pg_catalog.text
		WHEN '' THEN n.nspname NOT IN ('information_schema', '_stitch') AND n.nspname !~ '^pg_'
		ELSE n.nspname::pg_catalog.text = $1
	  END
	  AND NOT ` + isExtensionsSQL + `
	ORDER BY n.nspname, c.relname`

// Losses lists, for people, the tables that go with a database, or with one schema of it,
// and about how many rows they have. What is gone already has none.
func (s *Server) Losses(ctx context.Context, database, schema string) (losses []string, err error) {
	err = s.inTx(ctx, database, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, lossesSQL, schema)
		losses, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			var t TableName
			var n int64
			err := row.Scan(&t.Schema, &t.Name, &n)
			if n == 0 { // or not counted yet
				return t.String(), err
			}
			return fmt.Sprintf("%s, about %d rows", t, n), err
		})
		return err
	})
	if Code(err) == InvalidCatalogName {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for tables that would be lost: %w", err)
	}
	return losses, nil
}
