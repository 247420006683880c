package catalog

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What a run writes most often goes to the server in batches, in one round trip. Functions
// called Queue... add statements to a batch, which the caller sends.

// queue adds a statement to a batch. Its errors say what was attempted. If none is set, queue
// returns it as the error of a statement that affected no row.
func queue(batch *pgx.Batch, attempt string, none error, sql string, args ...any) {
	batch.Queue(sql, args...).Fn = func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		if err == nil && tag.RowsAffected() == 0 {
			err = none
		}
		if err != nil {
			return fmt.Errorf("%s: %w", attempt, err)
		}
		return nil
	}
}
