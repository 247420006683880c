package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The statuses of a run. A table has one of the last three.
const (
	Running     = "running"
	Succeeded   = "succeeded"
	Failed      = "failed"
	Interrupted = "interrupted"
)

// A Run is one execution of a replication.
type Run struct {
	ID          string // a UUID
	Status      string
	StartedAt   time.Time
	CompletedAt time.Time // zero while it runs
}

// QueueStart records, by a batch, that a run has started, and sets when. It marks earlier
// runs without a recorded end as interrupted. The caller holds the lock, so they no longer
// run; what is left of them cannot commit, because their units are gone.
func QueueStart(batch *pgx.Batch, replication int64, run *Run) {
	queue(batch, "close earlier runs", nil, `
		UPDATE _stitch.run
		SET status = 'interrupted', completed_at = pg_catalog.clock_timestamp()
		WHERE replication = $1 AND status = 'running'`, replication)
	queue(batch, "close earlier runs", nil, `
		DELETE FROM _stitch.unit AS u
		USING _stitch.run AS r
		WHERE u.run = r.id AND r.replication = $1`, replication)
	run.Status = Running
	batch.Queue(`
		INSERT INTO _stitch.run (id, replication, status)
		VALUES ($1, $2, 'running')
		RETURNING started_at`, run.ID, replication).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(&run.StartedAt); err != nil {
			return fmt.Errorf("record the start of the run: %w", err)
		}
		return nil
	})
}

// QueueFailedStart records, by a batch, a run that failed before it began, and sets when. The
// caller holds no lock: another run may be in progress.
func QueueFailedStart(batch *pgx.Batch, replication int64, run *Run) {
	batch.Queue(`
		INSERT INTO _stitch.run (id, replication, status, completed_at)
		VALUES ($1, $2, $3, pg_catalog.clock_timestamp())
		RETURNING started_at, completed_at`, run.ID, replication, run.Status).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(&run.StartedAt, &run.CompletedAt); err != nil {
			return fmt.Errorf("record the run: %w", err)
		}
		return nil
	})
}

// EndUnits deletes the units of a run, so that no worker can commit for it any more, and
// returns the tables that were not done, with the known reasons. It waits for workers that
// are committing.
func EndUnits(ctx context.Context, tx pgx.Tx, run string) (unfinished map[string]string, err error) {
	rows, _ := tx.Query(ctx, `
		DELETE FROM _stitch.unit
		WHERE run = $1
		RETURNING source_table, error, part_of IS NULL AND NOT done`, run)
	unfinished = map[string]string{}
	var table, text string
	var open bool
	_, err = pgx.ForEachRow(rows, []any{&table, &text, &open}, func() error {
		if open {
			unfinished[table] = text
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("delete the units of the run: %w", err)
	}
	return unfinished, nil
}

// ErrEnded says that a run is not in progress.
var ErrEnded = errors.New("the catalog no longer records this run as running: another run has taken over, or the replication was deleted")

// QueueFinish records, by a batch, how a run ended, and sets when. It fails with ErrEnded if
// that was recorded before.
func QueueFinish(batch *pgx.Batch, run *Run) {
	batch.Queue(`
		UPDATE _stitch.run
		SET status = $2, completed_at = pg_catalog.clock_timestamp()
		WHERE id = $1 AND status = 'running'
		RETURNING completed_at`, run.ID, run.Status).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&run.CompletedAt)
		if errors.Is(err, pgx.ErrNoRows) {
			err = ErrEnded
		}
		if err != nil {
			return fmt.Errorf("record the end of the run: %w", err)
		}
		return nil
	})
}

// LatestRun returns the run of the replication that started last, or ErrNotFound if
// there is none.
func LatestRun(ctx context.Context, tx pgx.Tx, replication int64) (Run, error) {
	var run Run
	var completed *time.Time
	err := tx.QueryRow(ctx, `
		SELECT id::pg_catalog.text, status, started_at, completed_at
		FROM _stitch.run
		WHERE replication = $1
		ORDER BY started_at DESC, id
		LIMIT 1`, replication).Scan(&run.ID, &run.Status, &run.StartedAt, &completed)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Run{}, fmt.Errorf("read the latest run: %w", err)
	}
	if completed != nil {
		run.CompletedAt = *completed
	}
	return run, nil
}
