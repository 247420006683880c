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
// one database; rights on the database itself, and roles, do not, hence the
// attempts.
const (
	rightsLockClass = 0x53746974 // "Stit": a key space of our own, of two keys
	rightsLockKey   = 1

	rightsQueueTimeout = 5 * time.Minute  // to wait for others of us
	lockTimeout        = 10 * time.Second // to wait for anybody else

	changeAttempts = 6
	changePause    = 50 * time.Millisecond // before the second attempt, then twice as long each time
)

// changeRights runs f in a transaction of database, one at a time in that
// database, and again if others interfered.
func (s *Server) changeRights(ctx context.Context, database string, f func(pgx.Tx) error) error {
	if err := s.RequireSessions(ctx, database); err != nil {
		return err
	}
	return s.change(ctx, database, func(tx pgx.Tx) error {
		if err := lockRights(ctx, tx); err != nil {
			return err
		}
		return f(tx)
	})
}

func lockRights(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, fmt.Sprintf(`
		SET LOCAL lock_timeout = %d;
		SELECT pg_catalog.pg_advisory_xact_lock(%d, %d);
		SET LOCAL lock_timeout = %d`,
		rightsQueueTimeout.Milliseconds(), rightsLockClass, rightsLockKey, lockTimeout.Milliseconds()))
	return err
}

// changeUser runs f in a transaction, and again if others interfered.
func (s *Server) changeUser(ctx context.Context, f func(pgx.Tx) error) error {
	return s.change(ctx, "", func(tx pgx.Tx) error {
		if err := limitLocks(ctx, tx); err != nil {
			return err
		}
		return f(tx)
	})
}

func limitLocks(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", lockTimeout.Milliseconds()))
	return err
}

// change runs f in a transaction of database, and again if others interfered.
func (s *Server) change(ctx context.Context, database string, f func(pgx.Tx) error) error {
	defer s.siblings.changed() // a login may have been let in
	pause := changePause
	for attempt := 1; ; attempt++ {
		err := s.inTx(ctx, database, f)
		if !IsInterference(err) || attempt == changeAttempts {
			return s.NameHolders(ctx, database, "", err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			pause *= 2
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// IsInterference reports whether a transaction failed only because of what
// another did at the same time: also a table, a schema or a role that vanished
// between being listed and being used. A lock that was not had is none.
func IsInterference(err error) bool {
	switch Code(err) {
	case "40001", "40P01", "42P01", "3F000", "42704", "23505": // the last from two who add default privileges
		return true
	case "XX000":
		// The code of internal errors tells nothing, and their text is never translated.
		var pg *pgconn.PgError
		return errors.As(err, &pg) &&
			(strings.HasPrefix(pg.Message, "tuple concurrently ") || strings.HasPrefix(pg.Message, "could not find tuple for default ACL"))
	}
	return false
}

// What holds a change up is another one, or DDL, that was not committed: a
// transaction that has an id and is as old as the wait. Who may not see the age
// of another's transaction is shown it nevertheless. For the tables of a schema,
// it is who holds their locks, or waits for them.
const holdersSQL = `
	SELECT 'pid ' || a.pid || ' (user ' || coalesce(pg_catalog.quote_ident(a.usename), '?')
	       || coalesce(', application ' || pg_catalog.quote_literal(nullif(a.application_name, '')), '')
	       || coalesce(', ' || a.state, '')
	       || CASE WHEN a.datname = pg_catalog.current_database() THEN '' ELSE coalesce(', database ' || pg_catalog.quote_ident(a.datname), '') END || ')'
	FROM pg_catalog.pg_stat_activity AS a
	WHERE a.pid <> pg_catalog.pg_backend_pid()
	  AND EXISTS (
		SELECT
		FROM pg_catalog.pg_locks AS l
		LEFT JOIN pg_catalog.pg_class AS c
			ON c.oid = l.relation AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE l.pid = a.pid
		  AND CASE $1
			WHEN '' THEN l.granted
				AND (l.locktype = 'transactionid'
				     OR l.locktype = 'advisory' AND l.classid::bigint = $2 AND l.objid::bigint = $3 AND l.objsubid = 2)
				AND coalesce(a.xact_start < pg_catalog.clock_timestamp() - $4 * interval '1 second', true)
			ELSE l.mode = 'AccessExclusiveLock' AND n.nspname = $1
		  END)
	ORDER BY a.datname = pg_catalog.current_database() DESC NULLS LAST, a.pid
	LIMIT 5`

// NameHolders adds to a failure to get a lock in time who probably holds it: one
// on the tables of a schema or, if that is "", on whatever is changed.
func (s *Server) NameHolders(ctx context.Context, database, schema string, failure error) error {
	if Code(failure) != "55P03" {
		return failure
	}
	var holders []string
	err := s.inTx(ctx, database, func(tx pgx.Tx) (err error) {
		rows, _ := tx.Query(ctx, holdersSQL, schema, rightsLockClass, rightsLockKey, lockTimeout.Seconds())
		holders, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil || len(holders) == 0 {
		return failure
	}
	what := "uncommitted changes that may hold it are those of"
	if schema != "" {
		what = "tables of the schema are locked by"
	}
	return fmt.Errorf("%w; %s %s", failure, what, strings.Join(holders, ", "))
}
