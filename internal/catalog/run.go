package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The statuses of a run. A table's are the last three.
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

const holderSQL = `
	SELECT coalesce((
		SELECT pg_catalog.format('backend %s of the destination server', a.pid) || CASE WHEN a.backend_start IS NULL THEN '' -- hidden
			ELSE pg_catalog.format(', connected from %s since %s', coalesce(host(a.client_addr), 'a local socket'), a.backend_start) END
		FROM pg_catalog.pg_locks AS l
		JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1 AND l.objid = $2
			AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
		LIMIT 1), 'another session')`

// lockPatience is how long Lock waits: for the server to notice that the
// process which held the lock is gone, not for a run to end.
const lockPatience = 10 * time.Second

// Lock makes this session the only one that runs the replication, until Unlock
// or the end of the session. If another one runs it, the error says which.
func Lock(ctx context.Context, conn *pgx.Conn, replication int64) error {
	for deadline := time.Now().Add(lockPatience); ; {
		var locked bool
		err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1, $2)", lockClass, replication).Scan(&locked)
		if err != nil {
			return fmt.Errorf("lock the replication: %w", err)
		}
		if locked {
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
		select {
		case <-time.After(lockPatience / 20):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var holder string
	if err := conn.QueryRow(ctx, holderSQL, lockClass, replication).Scan(&holder); err != nil {
		return fmt.Errorf("look who runs the replication: %w", err)
	}
	return fmt.Errorf("the replication is being run by %s: wait until it has finished", holder)
}

// Unlock lets other sessions run the replication.
func Unlock(ctx context.Context, conn *pgx.Conn, replication int64) error {
	if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_unlock($1, $2)", lockClass, replication); err != nil {
		return fmt.Errorf("unlock the replication: %w", err)
	}
	return nil
}

// QueueStart records, by a batch, that a run has started, and sets when. Earlier
// ones that never said how they ended were interrupted. The caller holds the lock,
// so they run no more; what is left of them can not commit, because their units are gone.
func QueueStart(batch *pgx.Batch, replication int64, run *Run) {
	queue(batch, "close earlier runs", nil, `
		UPDATE _stitch.run
		SET status = 'interrupted', completed_at = clock_timestamp()
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

// QueueFinish records, by a batch, how a run ended, and sets when. Its units are forgotten.
func QueueFinish(batch *pgx.Batch, run *Run) {
	queue(batch, "forget the units of the run", nil, "DELETE FROM _stitch.unit WHERE run = $1", run.ID)
	batch.Queue(`
		UPDATE _stitch.run
		SET status = $2, completed_at = clock_timestamp()
		WHERE id = $1
		RETURNING completed_at`, run.ID, run.Status).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(&run.CompletedAt); err != nil {
			return fmt.Errorf("record the end of the run: %w", err)
		}
		return nil
	})
}

// RunOf returns a run of the replication by its id, or the latest one if the
// id is empty. It returns ErrNotFound if there is none.
func RunOf(ctx context.Context, tx pgx.Tx, replication int64, id string) (Run, error) {
	var run Run
	var completed *time.Time
	err := tx.QueryRow(ctx, `
		SELECT id::text, status, started_at, completed_at
		FROM _stitch.run
		WHERE replication = $1 AND ($2 = '' OR id::text = $2)
		ORDER BY started_at DESC, id
		LIMIT 1`, replication, id).Scan(&run.ID, &run.Status, &run.StartedAt, &completed)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Run{}, fmt.Errorf("read run %q: %w", id, err)
	}
	if completed != nil {
		run.CompletedAt = *completed
	}
	return run, nil
}
