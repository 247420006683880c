package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// Sessions exclude one another by locks on the table _stitch.version, which only roles that
// may read or write it can take. No session waits for such a lock longer than lockTimeout at a
// time, because others queue behind it, nor longer than maxLockWait in total.
const (
	lockTimeout = 2 * time.Second
	lockPause   = 100 * time.Millisecond // between turns
	maxLockWait = 30 * time.Second
	waitLimit   = 10 * time.Second // for what the transaction waits for afterwards
)

// A lockMode is what a transaction does with the catalog as a whole.
type lockMode string

const (
	using      lockMode = "ACCESS SHARE"        // excludes upgrading
	installing lockMode = "ROW EXCLUSIVE"       // also excludes dropping
	dropping   lockMode = "SHARE ROW EXCLUSIVE" // excludes all but using
	upgrading  lockMode = "ACCESS EXCLUSIVE"    // excludes all
)

// conflicting returns the modes of other sessions' locks on tables that conflict with m, as
// pg_locks names them.
func (m lockMode) conflicting() []string {
	all := []string{"AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "RowShareLock", "AccessShareLock"}
	switch m {
	case using:
		return all[:1]
	case installing:
		return all[:4]
	case dropping:
		return all[:6]
	}
	return all
}

// RetryLocked makes attempts, each of which waits for locks for a short time and leaves
// nothing if it fails. It ends when an attempt succeeds, when one fails because of anything
// but other sessions, or when maxWait is over. It pauses between attempts, so that others get
// through.
func RetryLocked(ctx context.Context, maxWait, pause time.Duration, attempt func() error) error {
	for deadline := time.Now().Add(maxWait); ; {
		err := attempt()
		if !isInterference(err) || time.Now().After(deadline) {
			return err
		}
		if err := pgclient.Pause(ctx, pause); err != nil {
			return err
		}
	}
}

// retryLocked is RetryLocked for locks on the catalog. When maxLockWait is over, the error
// names who has locks that conflict with mode.
func retryLocked(ctx context.Context, tx pgx.Tx, mode lockMode, attempt func() error) error {
	err := RetryLocked(ctx, maxLockWait, lockPause, attempt)
	if isInterference(err) {
		return &lockTimeoutError{nameHolders(ctx, tx, mode, err)}
	}
	return err
}

// inSavepoint is an attempt for retryLocked.
func inSavepoint(ctx context.Context, tx pgx.Tx, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, limitWaitsSQL, lockTimeout.String()); err != nil {
			return err
		}
		return f(tx)
	})
}

const limitWaitsSQL = "SELECT pg_catalog.set_config('lock_timeout', $1, true)"

// isInterference reports whether others were in the way only for now: they hold a lock, or
// created or dropped the same object first.
func isInterference(err error) bool {
	var waited *lockTimeoutError
	if errors.As(err, &waited) {
		return false
	}
	if errors.Is(err, errRaced) {
		return true
	}
	switch pgclient.Code(err) {
	case pgclient.LockNotAvailable, pgclient.DeadlockDetected, pgclient.UniqueViolation, pgclient.DuplicateSchema, pgclient.DuplicateTable:
		return true
	case pgclient.InternalError: // PostgreSQL never translates the text of internal errors
		var pg *pgconn.PgError
		return errors.As(err, &pg) && strings.HasPrefix(pg.Message, "tuple concurrently ")
	}
	return false
}

// A lockTimeoutError says that others were in the way until maxLockWait was over.
type lockTimeoutError struct{ error }

func (e *lockTimeoutError) Unwrap() error { return e.error }

// holdersSQL finds the sessions and prepared transactions that hold locks of the modes $2 on
// relations of the schema $1, or wait for them. If there are none, it finds those of the
// database with uncommitted changes older than $3 seconds: no other session can see yet what
// they create.
const holdersSQL = `
	WITH held AS (
		SELECT l.pid, CASE WHEN l.pid IS NULL THEN l.virtualtransaction END AS prepared, pg_catalog.bool_or(c.relnamespace IS NOT NULL) AS here
		FROM pg_catalog.pg_locks AS l
		JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = $1
		LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND l.database = d.oid AND c.relnamespace = n.oid AND l.mode = ANY ($2::pg_catalog.text[])
		WHERE l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() AND (c.oid IS NOT NULL OR l.locktype = 'transactionid' AND l.granted)
		GROUP BY 1, 2
	)
	SELECT CASE WHEN a.pid IS NULL THEN pg_catalog.concat('prepared transaction ', pg_catalog.quote_literal(p.gid), ' (user ', pg_catalog.quote_ident(p.owner), ')')
		ELSE pg_catalog.concat('pid ', a.pid, ' (user ', coalesce(pg_catalog.quote_ident(a.usename), '?'),
			', application ' || pg_catalog.quote_literal(nullif(a.application_name, '')), ', ' || a.state, ')') END
	FROM held AS h
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = h.pid
	LEFT JOIN pg_catalog.pg_locks AS x ON x.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = h.prepared
	LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = x.transactionid
	WHERE (a.pid IS NOT NULL OR p.gid IS NOT NULL)
		AND (h.here OR NOT EXISTS (SELECT FROM held AS other WHERE other.here) AND coalesce(a.datname, p.database) = pg_catalog.current_database()
			AND coalesce(coalesce(a.xact_start, p.prepared) < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $3), true))
	ORDER BY a.pid
	LIMIT 5`

// nameHolders adds the sessions that probably hold a lock to an error about not getting it.
func nameHolders(ctx context.Context, tx pgx.Tx, mode lockMode, failure error) error {
	rows, _ := tx.Query(ctx, holdersSQL, Schema, mode.conflicting(), lockTimeout.Seconds())
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return errors.Join(failure, fmt.Errorf("list the sessions that hold the lock: %w", err))
	}
	if len(holders) > 0 {
		return fmt.Errorf("%w; probably blocked by %s", failure, strings.Join(holders, ", "))
	}
	return failure
}
