package catalog

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What a run writes most often goes to the server in batches, one round trip for
// all of it: functions called Queue... add to one, which the caller sends.

// queue adds a statement to a batch. Its error says what was attempted; so does
// none if it is set and the statement found no row.
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
