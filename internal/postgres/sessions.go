package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A SessionsError says that a database is in use.
type SessionsError struct {
	Sessions []Session
	Err      error // the server's
	advice   string
}

// A Session is somebody who is connected. What the login may not see is empty.
type Session struct{ Username, Application, Address string }

// Autovacuum's workers leave when they are in the way.
const sessionsSQL = `
	SELECT coalesce(usename, ''), coalesce(application_name, ''), coalesce(pg_catalog.host(client_addr), '')
	FROM pg_catalog.pg_stat_activity
	WHERE datname = $1
	  AND backend_type IS DISTINCT FROM 'autovacuum worker'
	ORDER BY 1, 2, 3`

func sessionsOf(ctx context.Context, conn *pgx.Conn, database string) (all []Session, err error) {
	err = boundedTx(ctx, conn, readWrite, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sessionsSQL, database)
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Session])
		return err
	})
	return all, err
}

func (e *SessionsError) Error() string {
	if len(e.Sessions) == 0 { // they have left, or it is something else that uses it, which the server names
		return e.Err.Error()
	}
	lines := make([]string, len(e.Sessions))
	for i, session := range e.Sessions {
		lines[i] = session.String()
	}
	return e.Err.Error() + "\nConnected to it:" + list(lines) + "\n" + e.advice
}

func (e *SessionsError) Unwrap() error { return e.Err }

// mayPass reports whether another attempt may succeed: everybody has left, or
// there are connections of this provider, which are closed when they have been
// idle for a while. (Those of this process leave at once, but for entries that
// spell the server's address in another way.)
func (e *SessionsError) mayPass() bool {
	return len(e.Sessions) == 0 ||
		slices.ContainsFunc(e.Sessions, func(s Session) bool { return s.Application == applicationName })
}

func (s Session) String() string {
	parts := []string{s.Username}
	if s.Username == "" {
		parts[0] = "a process of the server"
	}
	if s.Application != "" {
		parts = append(parts, "with "+s.Application)
	}
	if s.Address != "" {
		parts = append(parts, "from "+s.Address)
	}
	return strings.Join(parts, " ")
}
