package replication

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// openSQL lists the transactions that are open in the database and may have
// written, or still write. Everybody may read these views; what they hide from
// others is not asked for. Autovacuum has no user.
const openSQL = `
	SELECT l.virtualtransaction
	FROM pg_catalog.pg_locks AS l
	JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
	WHERE l.locktype = 'virtualxid' AND l.granted AND l.virtualxid = l.virtualtransaction
		AND a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND l.pid <> pg_catalog.pg_backend_pid()
	UNION
	SELECT '` + prepared + `' || transaction
	FROM pg_catalog.pg_prepared_xacts
	WHERE database = pg_catalog.current_database()
	ORDER BY 1`

// surveyOpen asks which transactions are open.
func surveyOpen(ctx context.Context, source sourceSession) (s *survey, err error) {
	err = source.read(ctx, func(tx pgx.Tx) error {
		s, err = readOpen(ctx, tx)
		return err
	})
	return s, err
}

func readOpen(ctx context.Context, tx pgx.Tx) (*survey, error) {
	rows, _ := tx.Query(ctx, openSQL)
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look which transactions are open: %w", err)
	}
	return &survey{open: open}, nil
}

// surveyTable asks for the greatest key of a table, and only then which
// transactions are open: those that begin later are given greater keys.
func surveyTable(ctx context.Context, source sourceSession, table postgres.Table, key column) (s *survey, err error) {
	err = source.read(ctx, func(tx pgx.Tx) error {
		found, err := greatest(ctx, tx, table.Name, key, "true")
		if err != nil {
			return err
		}
		if s, err = readOpen(ctx, tx); err != nil {
			return err
		}
		s.key = found
		// What was asked may be another table by now; the extraction tells.
		if err := tx.QueryRow(ctx, "SELECT $1::pg_catalog.text::pg_catalog.regclass::pg_catalog.oid", table.Name.SQL()).Scan(&s.oid); err != nil {
			return fmt.Errorf("look for %s: %w", table.Name, err)
		}
		return nil
	})
	return s, err
}
