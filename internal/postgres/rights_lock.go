package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Two sessions that change the rights on one object at a time make PostgreSQL
// fail one of them, so ours queue up for an advisory lock. The lock belongs to
// one database; rights on the database itself do not, hence the retries.
const (
	rightsLockClass = 0x53746974 // "Stit": a key space of our own, of two keys
	rightsLockKey   = 1

	rightsQueueTimeout = 5 * time.Minute  // to wait for others of us
	rightsLockTimeout  = 10 * time.Second // to wait for anybody else

	rightsAttempts = 6
	rightsPause    = 50 * time.Millisecond // before the second attempt, then twice as long each time
)

// changeRights runs f in a transaction of database, one at a time in that
// database, and again if others interfered.
func (s *Server) changeRights(ctx context.Context, database string, f func(pgx.Tx) error) error {
	if err := s.RequireSessions(ctx, database); err != nil {
		return err
	}
	pause := rightsPause
	for attempt := 1; ; attempt++ {
		err := s.onConn(ctx, database, func(conn *pgx.Conn) error {
			err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if err := lockRights(ctx, tx); err != nil {
					return err
				}
				return f(tx)
			})
			if Code(err) == "55P03" {
				err = nameHolders(ctx, conn, err)
			}
			return err
		})
		if err == nil {
			s.siblings.changed() // a login may have been let in
			return nil
		}
		if !isInterference(err) || attempt == rightsAttempts {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			pause *= 2
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isInterference reports whether a transaction failed only because of what
// another did at the same time: also a table that vanished between being listed
// and being granted.
func isInterference(err error) bool {
	switch Code(err) {
	case "40001", "40P01", "42P01", "3F000", "23505": // the last from two who add default privileges
		return true
	case "XX000":
		// The code of internal errors tells nothing, and their text is never translated.
		var pg *pgconn.PgError
		return errors.As(err, &pg) &&
			(strings.HasPrefix(pg.Message, "tuple concurrently ") || strings.HasPrefix(pg.Message, "could not find tuple for default ACL"))
	}
	return false
}

func lockRights(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, fmt.Sprintf(`
		SET LOCAL lock_timeout = %d;
		SELECT pg_catalog.pg_advisory_xact_lock(%d, %d);
		SET LOCAL lock_timeout = %d`,
		rightsQueueTimeout.Milliseconds(), rightsLockClass, rightsLockKey, rightsLockTimeout.Milliseconds()))
	return err
}

// What holds a change of rights up is another one, or DDL, that was not
// committed: a transaction that has an id and is as old as the wait. Who may
// not see the age of another's transaction is shown it nevertheless.
const holdersSQL = `
	SELECT DISTINCT 'pid ' || a.pid || ' (user ' || coalesce(quote_ident(a.usename), '?')
	       || coalesce(', application ' || quote_literal(nullif(a.application_name, '')), '')
	       || coalesce(', ' || a.state, '') || ')'
	FROM pg_catalog.pg_locks AS l
	JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
	WHERE l.granted
	  AND a.pid <> pg_catalog.pg_backend_pid()
	  AND a.datname = pg_catalog.current_database()
	  AND (l.locktype = 'transactionid'
	       OR l.locktype = 'advisory' AND l.classid::int8 = $1 AND l.objid::int8 = $2 AND l.objsubid = 2)
	  AND coalesce(a.xact_start < pg_catalog.clock_timestamp() - $3 * interval '1 second', true)
	ORDER BY 1
	LIMIT 5`

// nameHolders adds to a lock timeout who probably holds the lock.
func nameHolders(ctx context.Context, conn *pgx.Conn, timeout error) error {
	rows, _ := conn.Query(ctx, holdersSQL, rightsLockClass, rightsLockKey, rightsLockTimeout.Seconds())
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(holders) == 0 {
		return timeout
	}
	return fmt.Errorf("%w; uncommitted changes that may hold it are those of %s", timeout, strings.Join(holders, ", "))
}
