package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// Other sessions queue behind a session that waits for a lock on a table, and behind the
// locks that it holds. So a statement that waits for a lock on a whole table, or waits while
// readers of a table are kept out, waits no longer than this. It then gives way before it
// tries again.
const (
	LockTimeout    = "2s"
	LockTimeoutSQL = "SET LOCAL lock_timeout = '" + LockTimeout + "'"
	lockPause      = time.Second

	MaxLockWait      = time.Minute      // for a lock that only changes of structure conflict with
	MaxExclusiveWait = 15 * time.Second // for a lock that readers conflict with
)

// RetryLocked makes attempts while other sessions are in the way. An attempt is a transaction
// of its own, or a part of one that is undone.
func RetryLocked(ctx context.Context, maxWait time.Duration, attempt func() error) error {
	return catalog.RetryLocked(ctx, maxWait, lockPause, attempt)
}

// A LockTimeoutError says that a lock could not be had within MaxLockWait. Another attempt
// would only wait once more.
type LockTimeoutError struct{ Err error }

func (e *LockTimeoutError) Error() string { return e.Err.Error() }

func (e *LockTimeoutError) Unwrap() error { return e.Err }

// holdersSQL lists the sessions and prepared transactions that hold a lock on the table $1,
// or wait for one ahead of others. If $2 is set, it includes those that only read the table.
const holdersSQL = `
	SELECT CASE WHEN l.pid IS NULL THEN pg_catalog.format('prepared transaction %L (user %s, %s)', p.gid, p.owner, pg_catalog.string_agg(DISTINCT l.mode, ', '))
		ELSE pg_catalog.format('pid %s (user %s%s, %s)', l.pid, coalesce(a.usename, '?'),
			coalesce(', application ' || nullif(a.application_name, ''), ''), pg_catalog.string_agg(DISTINCT l.mode, ', ')) END
	FROM pg_catalog.pg_locks AS l
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
	LEFT JOIN pg_catalog.pg_locks AS x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction
	LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = x.transactionid
	WHERE l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
		AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
		AND l.relation = pg_catalog.to_regclass($1) AND ($2 OR l.mode <> 'AccessShareLock')
	GROUP BY l.pid, a.usename, a.application_name, p.gid, p.owner
	ORDER BY l.pid
	LIMIT 5`

// NameHolders adds the sessions that hold a lock on a table to an error about not getting one
// in time. It includes those that only read the table if alone is set. The failed transaction
// is over.
func NameHolders(ctx context.Context, q Querier, table relation.TableName, alone bool, failure error) error {
	if pgclient.Code(failure) != pgclient.LockNotAvailable {
		return failure
	}
	rows, _ := q.Query(ctx, holdersSQL, table.SQL(), alone)
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(holders) == 0 {
		return failure
	}
	return fmt.Errorf("%w; %s is locked by %s. Wait until they have finished, or end them, and run the replication again",
		failure, table, strings.Join(holders, ", "))
}
