package source

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// openSQL lists the transactions that are open in the database and may have written, or still
// write. Every role may read these views, and the query uses nothing that they hide from
// others. Autovacuum has no user.
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

// ReadOpenTransactions reads which transactions are open.
func ReadOpenTransactions(ctx context.Context, session Session) (open *OpenTransactions, err error) {
	err = session.Read(ctx, func(tx pgx.Tx) error {
		open, err = listOpenTransactions(ctx, tx)
		return err
	})
	return open, err
}

func listOpenTransactions(ctx context.Context, tx pgx.Tx) (*OpenTransactions, error) {
	rows, _ := tx.Query(ctx, openSQL)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the open transactions: %w", err)
	}
	return &OpenTransactions{names: names}, nil
}

// ReadOpenAfterKey reads the greatest key of a table, and only then which transactions are
// open: those that begin later are given greater keys.
func ReadOpenAfterKey(ctx context.Context, session Session, table relation.Table, key Key) (open *OpenTransactions, err error) {
	err = session.Read(ctx, func(tx pgx.Tx) error {
		found, err := greatest(ctx, tx, table.Name, key, "true")
		if err != nil {
			return err
		}
		if open, err = listOpenTransactions(ctx, tx); err != nil {
			return err
		}
		open.key = found
		// That name may belong to another table by now; the snapshot shows which.
		if err := tx.QueryRow(ctx, "SELECT $1::pg_catalog.text::pg_catalog.regclass::pg_catalog.oid", table.Name.SQL()).Scan(&open.OID); err != nil {
			return fmt.Errorf("read the oid of %s: %w", table.Name, err)
		}
		return nil
	})
	return open, err
}
