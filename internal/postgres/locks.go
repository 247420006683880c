package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Whoever waits for a lock makes others wait behind it. So a lock is waited for
// several times, each time for a moment only. What others did at the same time
// makes another attempt worthwhile as well.
const (
	lockTimeout      = 2 * time.Second // of one attempt
	lockAttempts     = 5
	dropLockAttempts = 15 // for a schema, whose tables are in use more often than not

	interferedAttempts = 40 // over a minute, since those who interfere are as many as make changes
	vanishedAttempts   = 6  // what is missing may never have been there

	lockPause     = 200 * time.Millisecond // in which those behind get their turn
	shortestPause = 50 * time.Millisecond  // after the first interference, then twice as long each time
	longestPause  = 2 * time.Second
)

// A contention says what locks a transaction waits for that other sessions may
// hold without having changed anything.
type contention struct {
	attempts int    // lockAttempts if 0
	schema   string // whose tables
	owner    string // whose tables
}

// attempts counts the attempts at a transaction that failed, by what failed them.
type attempts struct{ locked, interfered, vanished int }

// after counts one more, and reports whether another one is worthwhile.
func (a attempts) after(err error, c contention) (attempts, bool) {
	switch {
	case Code(err) == "55P03":
		a.locked++
		return a, a.locked < cmp.Or(c.attempts, lockAttempts)
	case isVanished(err):
		a.vanished++
		return a, a.vanished < vanishedAttempts
	case IsInterference(err):
		a.interfered++
		return a, a.interfered < interferedAttempts
	}
	return a, false
}

// pause returns how long to wait before the next attempt.
func (a attempts) pause() time.Duration {
	if a.interfered+a.vanished == 0 {
		return lockPause
	}
	pause := shortestPause
	for range a.interfered + a.vanished - 1 {
		pause = min(2*pause, longestPause)
	}
	return pause
}

// retried makes attempts at a transaction of database until one succeeds or there
// is no hope.
func (s *Server) retried(ctx context.Context, database string, c contention, attempt func() error) error {
	for made, again := (attempts{}), true; ; {
		err := attempt()
		if made, again = made.after(err, c); !again {
			return s.nameHolders(ctx, database, c, err)
		}
		pause := made.pause()
		select {
		case <-time.After(pause/2 + rand.N(pause)): // two of us must not meet again
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change runs f in a transaction of database, and again if others interfered.
func (s *Server) change(ctx context.Context, database string, c contention, f func(pgx.Tx) error) error {
	defer s.siblings.changed() // a login may have been let in
	return s.tryTx(ctx, database, c, f)
}

// changeUser runs f in a transaction, and again if others interfered.
func (s *Server) changeUser(ctx context.Context, f func(pgx.Tx) error) error {
	return s.change(ctx, "", contention{}, f)
}

// IsInterference reports whether a transaction failed only because of what
// another did at the same time: also a table, a schema or a role that vanished
// between being listed and being used. A lock that was not had is none.
func IsInterference(err error) bool {
	switch Code(err) {
	case "40001", "40P01", "23505": // the last from two who add default privileges
		return true
	case "XX000":
		// The code of internal errors tells nothing, and their text is never translated.
		var pg *pgconn.PgError
		return errors.As(err, &pg) &&
			(strings.HasPrefix(pg.Message, "tuple concurrently ") || strings.HasPrefix(pg.Message, "could not find tuple for default ACL"))
	}
	return isVanished(err)
}

// isVanished reports whether a transaction failed because a table, a schema, a role
// or the like does not exist, any more or at all.
func isVanished(err error) bool {
	switch Code(err) {
	case "42P01", "3F000", "42704":
		return true
	}
	return false
}

// sessionSQL describes a session, a row of pg_stat_activity called a.
const sessionSQL = `
	'pid ' || a.pid || ' (user ' || coalesce(pg_catalog.quote_ident(a.usename), '?')
	|| coalesce(', application ' || pg_catalog.quote_literal(nullif(a.application_name, '')), '')
	|| coalesce(', ' || a.state, '')
	|| CASE WHEN a.datname = pg_catalog.current_database() THEN '' ELSE coalesce(', database ' || pg_catalog.quote_ident(a.datname), '') END || ')'`

// holdersSQL finds who holds a change up: another one, or DDL, that was not
// committed, which is a transaction that has an id and is as old as the wait. Who
// may not see the age of another's transaction is shown it nevertheless. Of tables,
// it is who holds their locks, or waits for them.
const holdersSQL = `
	SELECT ` + sessionSQL + `
	FROM pg_catalog.pg_stat_activity AS a
	WHERE a.pid <> pg_catalog.pg_backend_pid()
	  AND EXISTS (
		SELECT
		FROM pg_catalog.pg_locks AS l
		LEFT JOIN pg_catalog.pg_class AS c
			ON c.oid = l.relation AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
		WHERE l.pid = a.pid
		  AND ($1 AND l.granted AND l.locktype = 'transactionid'
		           AND coalesce(a.xact_start < pg_catalog.clock_timestamp() - $2 * interval '1 second', true)
		       OR (n.nspname = $3 OR r.rolname = $4) AND ($1 AND l.granted OR l.mode = 'AccessExclusiveLock')))
	ORDER BY a.datname = pg_catalog.current_database() DESC NULLS LAST, a.pid
	LIMIT 5`

// NameHolders adds to a failure to get a lock on a table of a schema in time who
// probably has them all.
func (s *Server) NameHolders(ctx context.Context, database, schema string, failure error) error {
	return s.addHolders(ctx, database, false, contention{schema: schema}, failure, "tables of the schema are locked by")
}

// nameHolders does that for whatever is changed.
func (s *Server) nameHolders(ctx context.Context, database string, c contention, failure error) error {
	what := "uncommitted changes that may hold it are those of"
	if c.schema != "" || c.owner != "" {
		what = "sessions that may hold it are"
	}
	return s.addHolders(ctx, database, true, c, failure, what)
}

func (s *Server) addHolders(ctx context.Context, database string, uncommitted bool, c contention, failure error, what string) error {
	if Code(failure) != "55P03" {
		return failure
	}
	var holders []string
	err := s.onConn(ctx, database, func(conn *pgx.Conn) error {
		return boundedTx(ctx, conn, "BEGIN READ ONLY", func(tx pgx.Tx) (err error) {
			rows, _ := tx.Query(ctx, holdersSQL, uncommitted, lockTimeout.Seconds(), c.schema, c.owner)
			holders, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
	})
	if err != nil || len(holders) == 0 {
		return failure
	}
	return fmt.Errorf("%w; %s %s", failure, what, strings.Join(holders, ", "))
}
