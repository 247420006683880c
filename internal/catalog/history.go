package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A History says what has become of a replication since it was created.
type History struct{ Runs, Tables int64 }

// HistoryOf counts what runs of a replication have recorded.
func HistoryOf(ctx context.Context, tx pgx.Tx, replication int64) (h History, err error) {
	err = tx.QueryRow(ctx, `
		SELECT (SELECT pg_catalog.count(*) FROM _stitch.run AS r WHERE r.replication = $1),
		       (SELECT pg_catalog.count(*) FROM _stitch.loaded_table AS t WHERE t.replication = $1)`, replication).Scan(&h.Runs, &h.Tables)
	if err != nil {
		return History{}, fmt.Errorf("count the runs of the replication: %w", err)
	}
	return h, nil
}
