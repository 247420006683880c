package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Report says what a run did with one table.
type Report struct {
	SourceTable    string // as the definition writes it
	TableName      string // in the destination
	Status         string
	Method         string
	RowsExtracted  int64
	RowsLoaded     int64 // inserted or changed in the destination
	Bytes          int64 // of row data that crossed the wire
	ReplicationKey string
	Bookmark       string
	Duration       time.Duration
	Changes        []string // of the table's structure, since the run before
	Error          string
}

// AddReport writes a report. For a table that was loaded, call it in the
// transaction that loads the rows. A report that is there already stays: it is
// of a load that was committed, although the connection was lost before it said so.
func AddReport(ctx context.Context, tx pgx.Tx, run string, r Report) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO _stitch.report
			(run, source_table, table_name, status, method, rows_extracted, rows_loaded, bytes,
			 replication_key, bookmark, duration_ms, changes, error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, coalesce($12, '{}'::text[]), $13)
		ON CONFLICT (run, source_table) DO NOTHING`,
		run, r.SourceTable, r.TableName, r.Status, r.Method, r.RowsExtracted, r.RowsLoaded, r.Bytes,
		r.ReplicationKey, r.Bookmark, r.Duration.Milliseconds(), r.Changes, r.Error)
	if err != nil {
		return fmt.Errorf("write the report on %q: %w", r.SourceTable, err)
	}
	return nil
}

// Reports returns the reports of a run, by source table.
func Reports(ctx context.Context, tx pgx.Tx, run string) ([]Report, error) {
	rows, _ := tx.Query(ctx, `
		SELECT source_table, table_name, status, method, rows_extracted, rows_loaded, bytes,
			replication_key, bookmark, duration_ms, changes, error
		FROM _stitch.report
		WHERE run = $1
		ORDER BY source_table`, run)
	reports, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Report, err error) {
		var milliseconds int64
		err = row.Scan(&r.SourceTable, &r.TableName, &r.Status, &r.Method, &r.RowsExtracted, &r.RowsLoaded, &r.Bytes,
			&r.ReplicationKey, &r.Bookmark, &milliseconds, &r.Changes, &r.Error)
		r.Duration = time.Duration(milliseconds) * time.Millisecond
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the reports of run %q: %w", run, err)
	}
	return reports, nil
}
