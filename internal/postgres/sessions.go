package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A SessionsError says that a database is in use.
type SessionsError struct {
	Sessions  []Session
	Obstacles []string // what uses it without a connection, each with how to remove it
	Err       error    // the server's error
	advice    string
}

// A Session is a connection to a database. What the login may not see is empty.
type Session struct{ Username, Application, Address string }

// Autovacuum's workers end when they block another session.
const sessionsSQL = `
	SELECT coalesce(usename, ''), coalesce(application_name, ''), coalesce(pg_catalog.host(client_addr), '')
	FROM pg_catalog.pg_stat_activity
	WHERE datname = $1
	  AND backend_type IS DISTINCT FROM 'autovacuum worker'
	ORDER BY 1, 2, 3`

func sessionsOf(ctx context.Context, conn *pgx.Conn, database string) (all []Session, err error) {
	err = pgclient.BoundedTx(ctx, conn, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sessionsSQL, database)
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Session])
		return err
	})
	return all, err
}

// obstaclesSQL finds what keeps a database from being dropped without a connection to it. The
// user who removes a subscription must decide what becomes of its slot at the publisher.
const obstaclesSQL = `
	SELECT 'prepared transaction ' || pg_catalog.quote_literal(p.gid) || ' of user ' || pg_catalog.quote_ident(p.owner)
	       || ': in that database, as that user or a superuser, run ROLLBACK PREPARED ' || pg_catalog.quote_literal(p.gid) || '; or COMMIT PREPARED'
	FROM pg_catalog.pg_prepared_xacts AS p
	WHERE p.database = $1
	UNION ALL
	SELECT 'subscription ' || pg_catalog.quote_ident(s.subname) || ': in that database, run DROP SUBSCRIPTION ' || pg_catalog.quote_ident(s.subname)
	       || '; if its publisher can no longer be reached, first run ALTER SUBSCRIPTION ' || pg_catalog.quote_ident(s.subname) || ' DISABLE; and ALTER SUBSCRIPTION '
	       || pg_catalog.quote_ident(s.subname) || ' SET (slot_name = NONE);'
	FROM pg_catalog.pg_subscription AS s
	JOIN pg_catalog.pg_database AS d ON d.oid = s.subdbid
	WHERE d.datname = $1
	UNION ALL
	SELECT 'replication slot ' || pg_catalog.quote_literal(r.slot_name) || ', which pid ' || r.active_pid || ' reads: stop that process, and run SELECT pg_catalog.pg_drop_replication_slot('
	       || pg_catalog.quote_literal(r.slot_name) || ');'
	FROM pg_catalog.pg_replication_slots AS r
	WHERE r.database = $1 AND r.active_pid IS NOT NULL
	ORDER BY 1`

func obstaclesOf(ctx context.Context, conn *pgx.Conn, database string) (all []string, err error) {
	err = pgclient.BoundedTx(ctx, conn, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, obstaclesSQL, database)
		all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return all, err
}

func (e *SessionsError) Error() string {
	text := e.Err.Error()
	if len(e.Obstacles) > 0 {
		text += "\nThese use the database even without a connection. Remove them and apply again:" + pgclient.List(e.Obstacles)
	}
	if len(e.Sessions) > 0 { // otherwise they have ended
		text += "\nThese sessions are connected to it:" + pgclient.List(pgclient.QuoteAll(e.Sessions, Session.String)) + "\n" + e.advice
	}
	return text
}

func (e *SessionsError) Unwrap() error { return e.Err }

// mayPass reports whether another attempt may succeed: all sessions have ended, or some belong
// to this provider, which closes connections that have been idle for a while. (This process
// closes its own at once, except those of entries that write the server's address differently.)
func (e *SessionsError) mayPass() bool {
	return len(e.Obstacles) == 0 && (len(e.Sessions) == 0 ||
		slices.ContainsFunc(e.Sessions, func(s Session) bool { return s.Application == pgclient.ApplicationName }))
}

func (s Session) String() string {
	parts := []string{s.Username}
	if s.Username == "" {
		parts[0] = "a server process"
	}
	if s.Application != "" {
		parts = append(parts, "with "+s.Application)
	}
	if s.Address != "" {
		parts = append(parts, "from "+s.Address)
	}
	return strings.Join(parts, " ")
}
