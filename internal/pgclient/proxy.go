package pgclient

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A Pooling says how connections of a login get sessions of the server.
type Pooling string

// The ways in which connections get sessions.
const (
	NoPooling          Pooling = "none"        // each connection is a session of its own
	SessionPooling     Pooling = "session"     // a proxy lends a session for as long as a connection lasts
	TransactionPooling Pooling = "transaction" // a proxy lends a session for a transaction, or a statement
	UnknownPooling     Pooling = "unknown"     // a proxy lends sessions, for an unknown time
)

// A server reports the number of its process to each client that logs in (BackendKeyData), and
// pg_backend_pid() returns the same number. A proxy that pools sessions cannot pass the number
// on: clients send it to cancel their statements, and the proxy then has to find the session that
// runs the statement. All pooling proxies therefore make up a number of their own. One statement
// through one connection reveals them, whatever they are called and whether or not other clients
// use them at the time. A program that only forwards bytes (an SSH tunnel, HAProxy, the proxies of
// clouds for authentication) is not taken for a pooling proxy.
//
// Other evidence says less. SHOW VERSION is answered in PgBouncer's own database only, and only to
// its administrators. Ports differ behind every tunnel. Settings, locks and temporary tables vanish
// only while other clients use the pool, and then they have been left in another client's session.
//
// Two connections that are open at the same time show for how long a session is lent: if both of
// them reach one session, or one of them reaches two, a session is not lent for as long as a
// connection lasts. PgBouncer hands out the most recently used session, so the second connection
// reaches the session of the first at once. Pools that hand out the least recently used session
// give the first connection another session when it asks again. Hence each connection asks twice
// in a row, and the two take turns. The statement changes nothing in a session, and is not prepared.
const (
	processSQL = "SELECT pg_catalog.pg_backend_pid()"
	turns      = 3
)

// process returns the number of the session's process, as the server reports it now.
func process(ctx context.Context, conn *pgx.Conn) (pid int64, err error) {
	err = conn.QueryRow(ctx, processSQL, pgx.QueryExecModeExec).Scan(&pid)
	return pid, err
}

// IsProxied reports whether a proxy pools the sessions that conn reaches, one of which reported
// this process number.
func IsProxied(conn *pgx.Conn, pid int64) bool { return pid != int64(conn.PgConn().PID()) }

// decidePooling decides from the sessions that two connections reached.
func decidePooling(first, second []int64) Pooling {
	for _, pid := range first {
		if pid != first[0] || slices.Contains(second, pid) {
			return TransactionPooling
		}
	}
	for _, pid := range second {
		if pid != second[0] {
			return TransactionPooling
		}
	}
	return SessionPooling
}

// Pooling determines the pooling once for each database: PgBouncer has a mode for each.
func (s *Server) Pooling(ctx context.Context, database string) (Pooling, error) {
	s.mu.Lock()
	known, ok := s.poolings[database]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	proxied := false
	err := s.OnConn(ctx, database, func(conn *pgx.Conn) error {
		pid, err := process(ctx, conn)
		if err != nil {
			return fmt.Errorf("check whether a proxy is in front of server %q: %w", s.name, err)
		}
		proxied = IsProxied(conn, pid)
		return nil
	})
	if err != nil {
		return "", err
	}
	found := NoPooling
	if proxied {
		if found = s.poolingOfProxy(ctx, database); ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	s.RememberPooling(database, found)
	return found, nil
}

func (s *Server) RememberPooling(database string, found Pooling) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found == UnknownPooling { // the obstacle may be temporary
		return
	}
	if s.poolings == nil {
		s.poolings = map[string]Pooling{}
	}
	s.poolings[database] = found
}

// poolingOfProxy takes two connections. The caller must hold none.
func (s *Server) poolingOfProxy(ctx context.Context, database string) Pooling {
	if s.config.MaxConnections < 2 {
		return UnknownPooling
	}
	first, second, err := s.acquireTwo(ctx, database, database)
	if err != nil {
		return UnknownPooling
	}
	defer first.Release()
	defer second.Release()
	// A pool that has no second session to lend makes the connection wait.
	ctx, cancel := context.WithTimeout(ctx, s.config.ConnectTimeout)
	defer cancel()
	met := [2][]int64{}
	for range turns {
		for i, conn := range []*Conn{first, first, second, second} {
			pid, err := process(ctx, conn.Conn)
			if err != nil {
				return UnknownPooling
			}
			met[i/2] = append(met[i/2], pid)
			if len(met[1]) > 0 && decidePooling(met[0], met[1]) == TransactionPooling {
				return TransactionPooling
			}
		}
	}
	return SessionPooling
}

// RequireSessions returns a *PoolingError unless each connection to database has a session of
// its own. It keeps the answer: it costs one statement in the lifetime of a Servers, on a
// connection that the next caller uses.
func (s *Server) RequireSessions(ctx context.Context, database string) error {
	found, err := s.Pooling(ctx, database)
	if err == nil && (found == TransactionPooling || found == UnknownPooling) {
		err = &PoolingError{Server: s.name, Pooling: found}
	}
	return err
}

// A PoolingError says that the server is behind a proxy that does not give each connection a
// session, or may not.
type PoolingError struct {
	Server  string // the entry in the provider block
	Pooling Pooling
}

func (e *PoolingError) Error() string {
	const needed = "Runs and grants need sessions of their own: otherwise, the locks, settings, snapshots and temporary tables of a session would be lost, or would get into the session of another client"
	if e.Pooling == UnknownPooling {
		return fmt.Sprintf("a proxy that pools sessions, such as PgBouncer, is in front of server %q. The provider could not determine whether it pools them by transaction: "+
			"that takes a second connection at the same time. %s. Connect to the server itself; "+
			"or set max_connections of servers.%s to 2 or more, and allow the pool at least as many sessions", e.Server, needed, e.Server)
	}
	return fmt.Sprintf("a proxy that pools sessions by transaction is in front of server %q, such as PgBouncer with pool_mode = transaction, or RDS Proxy: "+
		"its clients share sessions. %s. Set host and port of servers.%s to the server itself, or to a pool with pool_mode = session", e.Server, needed, e.Server)
}
