package replication

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// Others queue behind whoever waits for a lock on a table. So no statement of ours
// waits for one longer than this, and then it steps aside before it tries again.
const (
	lockTurnSQL = "SET LOCAL lock_timeout = '2s'"
	lockPause   = time.Second

	lockPatience = time.Minute      // for a lock that only changes of structure conflict with
	soloPatience = 15 * time.Second // for a lock that readers conflict with
)

// inTurns makes attempts until one does not fail for a lock that another session
// holds. An attempt is a transaction of its own, or a part of one that is undone.
func inTurns(ctx context.Context, patience time.Duration, attempt func() error) error {
	for deadline := time.Now().Add(patience); ; {
		err := attempt()
		if postgres.Code(err) != lockNotAvailable || time.Now().After(deadline) {
			return err
		}
		if err := sleep(ctx, lockPause); err != nil {
			return err
		}
	}
}

// lockNotAvailable is the SQLSTATE of a lock that was not had in time.
const lockNotAvailable = "55P03"

// holdersSQL lists the sessions that hold a lock on the table $1, or wait for one
// ahead of others.
const holdersSQL = `
	SELECT pg_catalog.format('pid %s (user %s%s, %s)', l.pid, coalesce(a.usename, '?'),
		coalesce(', application ' || nullif(a.application_name, ''), ''), pg_catalog.string_agg(DISTINCT l.mode, ', '))
	FROM pg_catalog.pg_locks AS l
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
	WHERE l.locktype = 'relation' AND l.pid <> pg_catalog.pg_backend_pid()
		AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
		AND l.relation = pg_catalog.to_regclass($1) AND l.mode <> 'AccessShareLock'
	GROUP BY l.pid, a.usename, a.application_name
	ORDER BY l.pid
	LIMIT 5`

// nameHolders adds to a failure to get a lock on a table in time who holds it. The
// transaction that failed is over.
func nameHolders(ctx context.Context, q querier, table postgres.TableName, failure error) error {
	if postgres.Code(failure) != lockNotAvailable {
		return failure
	}
	rows, _ := q.Query(ctx, holdersSQL, table.SQL())
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(holders) == 0 {
		return failure
	}
	return fmt.Errorf("%w; %s is locked by %s. Wait until they have finished, or end those sessions, and run the replication again",
		failure, table, strings.Join(holders, ", "))
}
