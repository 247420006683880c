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

// A session that waits for a lock makes other sessions wait behind it. A transaction
// therefore waits for a short time only, and is tried again, as it is when another
// session changed the same objects at the same time.
const (
	lockTimeout      = 2 * time.Second // of one attempt
	lockAttempts     = 5
	dropLockAttempts = 15 // for a schema, whose tables are more likely to be in use

	interferedAttempts = 40 // over more than a minute: there may be many other sessions
	vanishedAttempts   = 6  // an object that does not exist may never have existed

	lockPause     = 200 * time.Millisecond // in which the sessions behind get the lock
	shortestPause = 50 * time.Millisecond  // after the first interference, then twice as long each time
	longestPause  = 2 * time.Second
)

// A contention describes the locks on tables that a transaction needs. Other sessions
// hold those even if they only read.
type contention struct {
	attempts int    // at getting a lock; 0: lockAttempts
	schema   string // the tables are in this schema
	owner    string // the tables are owned by this role
}

// attempts counts the failed attempts at a transaction, by the reason.
type attempts struct{ locked, interfered, vanished int }

// after counts one more failure, and reports whether to try again.
func (a attempts) after(err error, c contention) (attempts, bool) {
	switch {
	case Code(err) == LockNotAvailable:
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

// retried makes attempts at a transaction of database until one succeeds or after
// says that another is pointless.
func (s *Server) retried(ctx context.Context, database string, c contention, attempt func() error) error {
	var made attempts
	for {
		err := attempt()
		next, again := made.after(err, c)
		if !again {
			return s.explainRefusal(ctx, database, c, err)
		}
		made = next
		pause := made.pause()
		if ended := Pause(ctx, pause/2+rand.N(pause)); ended != nil { // at random, so that two sessions do not stay in step
			return errors.Join(ended, err)
		}
	}
}

// change runs f in a transaction of database, and again if others interfered.
func (s *Server) change(ctx context.Context, database string, c contention, f func(pgx.Tx) error) error {
	defer s.Changed() // a login may have been let in
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
	case SerializationFailure, DeadlockDetected, UniqueViolation: // the last from two who add default privileges
		return true
	case InternalError:
		// The code of internal errors tells nothing, and their text is never translated.
		var pg *pgconn.PgError
		return errors.As(err, &pg) &&
			(strings.HasPrefix(pg.Message, "tuple concurrently ") || strings.HasPrefix(pg.Message, "could not find tuple for default ACL"))
	}
	return isVanished(err)
}

// isVanished reports whether a transaction failed because a table, a schema or another
// object does not exist.
func isVanished(err error) bool {
	switch Code(err) {
	case UndefinedTable, InvalidSchemaName, UndefinedObject:
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

// holdersSQL finds the sessions and prepared transactions that may block a change. If $1
// is set, these are those with uncommitted changes, whose transactions have an id and are as
// old as the wait, or of an age that the login may not see; and those that hold a lock on
// a table of a schema or an owner. Otherwise, those that hold or await all such locks.
const holdersSQL = `
	WITH held AS (
		SELECT DISTINCT l.pid, CASE WHEN l.pid IS NULL THEN l.virtualtransaction END AS prepared
		FROM pg_catalog.pg_locks AS l
		LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
		LEFT JOIN pg_catalog.pg_class AS c
			ON c.oid = l.relation AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
		WHERE l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
		  AND ($1 AND l.granted AND l.locktype = 'transactionid'
		           AND coalesce(a.xact_start < pg_catalog.clock_timestamp() - $2 * interval '1 second', true)
		       OR (n.nspname = $3 OR r.rolname = $4) AND ($1 AND l.granted OR l.mode = 'AccessExclusiveLock'))
	)
	SELECT coalesce(` + sessionSQL + `, 'prepared transaction ' || pg_catalog.quote_literal(p.gid) || ' (user ' || pg_catalog.quote_ident(p.owner)
		|| CASE WHEN p.database = pg_catalog.current_database() THEN '' ELSE ', database ' || pg_catalog.quote_ident(p.database) END || ')')
	FROM held AS h
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = h.pid
	LEFT JOIN pg_catalog.pg_locks AS x ON x.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = h.prepared
	LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = x.transactionid
	WHERE a.pid IS NOT NULL OR p.gid IS NOT NULL
	ORDER BY coalesce(a.datname, p.database) = pg_catalog.current_database() DESC NULLS LAST, a.pid
	LIMIT 5`

// explainRefusal adds to the refusal of a change what the server can tell of its reason.
func (s *Server) explainRefusal(ctx context.Context, database string, c contention, refusal error) error {
	return s.explainReadOnly(ctx, database, s.nameHolders(ctx, database, c, refusal))
}

// preparedSQL finds the prepared transactions that may block a change: those of this
// database or, if $1 is set, of any. They have no session.
const preparedSQL = `
	SELECT 'prepared transaction ' || pg_catalog.quote_literal(p.gid) || ' of user ' || pg_catalog.quote_ident(p.owner)
	       || ' (in database ' || pg_catalog.quote_ident(p.database) || ', ROLLBACK PREPARED ' || pg_catalog.quote_literal(p.gid) || ' or COMMIT PREPARED ends it)'
	FROM pg_catalog.pg_prepared_xacts AS p
	WHERE $1 OR p.database = pg_catalog.current_database()
	ORDER BY p.prepared
	LIMIT 5`

// NameHolders adds to a lock timeout on a table of a schema the sessions that lock
// tables there against every other use.
func (s *Server) NameHolders(ctx context.Context, database, schema string, failure error) error {
	return s.addHolders(ctx, database, false, contention{schema: schema}, failure, "tables of the schema are locked by")
}

// nameHolders adds to a lock timeout of a change the sessions that may hold the lock.
func (s *Server) nameHolders(ctx context.Context, database string, c contention, failure error) error {
	what := "uncommitted changes that may hold it are those of"
	if c.schema != "" || c.owner != "" {
		what = "sessions that may hold it are"
	}
	return s.addHolders(ctx, database, true, c, failure, what)
}

func (s *Server) addHolders(ctx context.Context, database string, uncommitted bool, c contention, failure error, what string) error {
	if Code(failure) != LockNotAvailable {
		return failure
	}
	var holders []string
	err := s.OnConn(ctx, database, func(conn *pgx.Conn) error {
		return readTx(ctx, conn, func(tx pgx.Tx) (err error) {
			rows, _ := tx.Query(ctx, holdersSQL, uncommitted, lockTimeout.Seconds(), c.schema, c.owner)
			holders, err = pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || !uncommitted {
				return err
			}
			rows, _ = tx.Query(ctx, preparedSQL, c.schema == "" && c.owner == "")
			prepared, err := pgx.CollectRows(rows, pgx.RowTo[string])
			holders = append(holders, prepared...)
			return err
		})
	})
	if err != nil || len(holders) == 0 {
		return failure
	}
	return fmt.Errorf("%w; %s %s", failure, what, strings.Join(holders, ", "))
}
