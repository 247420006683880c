package catalog

import (
	"context"
	"errors"
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
	Snapshot       time.Duration // how long a snapshot of the source was held, the longest of several
	NullKeys       int64         // of the extracted rows, those whose replication key is null
	Changes        []string      // of the table's structure, since the last run
	Notes          []string      // what else is worth knowing, such as a guarantee that could not be given
	Verification   string        // the result of a comparison with the source; "" if there was none
	Error          string
}

// QueueReport writes, by a batch, a report, or replaces the one on the same table. For rows
// that were loaded, send it in the transaction that loads them. It does not replace a report
// of success: a worker that reports otherwise later has not heard of the commit.
func QueueReport(batch *pgx.Batch, run string, r Report) {
	queue(batch, fmt.Sprintf("write the report on %q", r.SourceTable), nil, `
		INSERT INTO _stitch.report
			(run, source_table, table_name, status, method, rows_extracted, rows_loaded, bytes,
			 replication_key, bookmark, duration_ms, snapshot_ms, null_keys, changes, notes, verification, error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, coalesce($14, '{}'::pg_catalog.text[]), coalesce($15, '{}'::pg_catalog.text[]), $16, $17)
		ON CONFLICT (run, source_table) DO UPDATE SET
			table_name = excluded.table_name,
			status = excluded.status,
			method = excluded.method,
			rows_extracted = excluded.rows_extracted,
			rows_loaded = excluded.rows_loaded,
			bytes = excluded.bytes,
			replication_key = excluded.replication_key,
			bookmark = excluded.bookmark,
			duration_ms = excluded.duration_ms,
			snapshot_ms = excluded.snapshot_ms,
			null_keys = excluded.null_keys,
			changes = excluded.changes,
			notes = excluded.notes,
			verification = excluded.verification,
			error = excluded.error
		WHERE _stitch.report.status <> 'succeeded'`,
		run, r.SourceTable, r.TableName, r.Status, r.Method, r.RowsExtracted, r.RowsLoaded, r.Bytes,
		r.ReplicationKey, r.Bookmark, r.Duration.Milliseconds(), r.Snapshot.Milliseconds(), r.NullKeys, r.Changes, r.Notes, r.Verification, r.Error)
}

const reportColumns = `source_table, table_name, status, method, rows_extracted, rows_loaded, bytes,
	replication_key, bookmark, duration_ms, snapshot_ms, null_keys, changes, notes, verification, error`

// Reports returns the reports of a run, by source table.
func Reports(ctx context.Context, tx pgx.Tx, run string) ([]Report, error) {
	rows, _ := tx.Query(ctx, "SELECT "+reportColumns+" FROM _stitch.report WHERE run = $1 ORDER BY source_table", run)
	reports, err := pgx.CollectRows(rows, scanReport)
	if err != nil {
		return nil, fmt.Errorf("read the reports of run %q: %w", run, err)
	}
	return reports, nil
}

// ReportOf returns the report of a run on one table, or ErrNotFound.
func ReportOf(ctx context.Context, tx pgx.Tx, run, sourceTable string) (Report, error) {
	rows, _ := tx.Query(ctx, "SELECT "+reportColumns+" FROM _stitch.report WHERE run = $1 AND source_table = $2", run, sourceTable)
	report, err := pgx.CollectExactlyOneRow(rows, scanReport)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Report{}, fmt.Errorf("read the report on %q: %w", sourceTable, err)
	}
	return report, nil
}

func scanReport(row pgx.CollectableRow) (r Report, err error) {
	var milliseconds, snapshot int64
	err = row.Scan(&r.SourceTable, &r.TableName, &r.Status, &r.Method, &r.RowsExtracted, &r.RowsLoaded, &r.Bytes,
		&r.ReplicationKey, &r.Bookmark, &milliseconds, &snapshot, &r.NullKeys, &r.Changes, &r.Notes, &r.Verification, &r.Error)
	r.Duration, r.Snapshot = time.Duration(milliseconds)*time.Millisecond, time.Duration(snapshot)*time.Millisecond
	return r, err
}
