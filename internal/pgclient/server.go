package pgclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"
)

// Servers are the servers of one provider block.
type Servers struct {
	byName map[string]*Server
	memory sync.Map // see Memory

	mu       sync.Mutex
	dropping map[string]int // databases that this process is dropping, by address/name
}

// defaultPlanTimeout is how long a plan waits for what it asked of a server: longer than reading
// the catalogs of a hundred thousand tables takes. An apply waits until its context ends: how
// long it takes to copy a database or to drop a role is unknown.
const defaultPlanTimeout = 2 * time.Minute

// NewServers prepares servers without connecting to them.
func NewServers(configs map[string]Config) *Servers {
	all := &Servers{byName: map[string]*Server{}, dropping: map[string]int{}}
	for name, config := range configs {
		config = config.withDefaults()
		all.byName[name] = &Server{pool: &pool{
			name:        name,
			config:      config,
			budget:      semaphore.NewWeighted(int64(config.MaxConnections)),
			siblings:    all,
			planDials:   make(chan struct{}, 1),
			planTimeout: defaultPlanTimeout,
		}}
	}
	return all
}

// Server returns the server called name.
func (all *Servers) Server(name string) (*Server, bool) {
	s, ok := all.byName[name]
	return s, ok
}

// Close closes the idle connections of all servers. The holders of connections in use close
// them.
func (all *Servers) Close() {
	for _, s := range all.byName {
		s.closeIdle(func(*Conn) bool { return true })
	}
}

// A Server is one PostgreSQL server as one login sees it. It is safe for concurrent use and
// opens no connection before it needs one.
type Server struct {
	*pool
	planning bool
	warn     func(Warning) // nil: warnings are dropped
}

// Planning returns a view of s for Plan and Read, which shares its connections. The view dials
// one connection at a time, and does not repeat a dial that failed: later callers get the same
// error.
func (s *Server) Planning() *Server { return &Server{pool: s.pool, planning: true} }

// A Warning says what a user should know about a change that was made nevertheless.
type Warning struct{ Summary, Detail string }

// Warning returns a view of s, which shares its connections. A function that changes something
// through the view passes its warnings to warn before it returns.
func (s *Server) Warning(warn func(Warning)) *Server {
	return &Server{pool: s.pool, planning: s.planning, warn: warn}
}

// Warn passes a warning on.
func (s *Server) Warn(w Warning) {
	if s.warn != nil {
		s.warn(w)
	}
}

// IsPlanning reports whether s is a view for Plan and Read.
func (s *Server) IsPlanning() bool { return s.planning }

// Name is the server's key in the provider block.
func (s *Server) Name() string { return s.name }

// DefaultDatabase is the database that the entry connects to when the caller names none.
func (s *Server) DefaultDatabase() string { return s.config.Database }

// DatabaseName returns the name of a database, where "" means the default one.
func (s *Server) DatabaseName(database string) string { return cmp.Or(database, s.config.Database) }

// IsLocal reports whether what is sent to the server stays on this machine.
func (s *Server) IsLocal() bool { return isLoopback(s.config.Host) }

// VerifiesCertificate reports whether a server that presents a certificate must present one that
// a trusted authority has signed.
func (s *Server) VerifiesCertificate() bool {
	return s.config.SSLMode != "prefer" && (s.config.SSLMode != "require" || s.config.SSLRootCert != "")
}

// Username is the login of the entry.
func (s *Server) Username() string { return s.config.Username }

func (s *Server) dial(ctx context.Context, database string) (*pgx.Conn, error) {
	if !s.planning {
		return s.connectInTurn(ctx, database)
	}
	select {
	case s.planDials <- struct{}{}:
		defer func() { <-s.planDials }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if failure := s.plannedFailure(database); failure != nil {
		return nil, failure
	}
	conn, err := s.connectInTurn(ctx, database)
	if err != nil && ctx.Err() == nil {
		s.noteFailure(database, err)
	}
	return conn, err
}

// plannedFailure returns the error of an earlier dial for planning, as the error of this one.
func (s *Server) plannedFailure(database string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var shared *ConnectError
	if errors.As(s.failures[""], &shared) {
		return s.unreachable(database, shared.Err)
	}
	return s.failures[database]
}

// noteFailure makes later dials for planning return err instead of trying again. An error that
// may be about this database only says nothing about other databases.
func (s *Server) noteFailure(database string, err error) {
	switch Code(err) {
	case InvalidCatalogName: // another resource may create it before the next attempt
		return
	case InsufficientPrivilege, InvalidAuthorizationSpecification, TooManyConnections, ObjectNotInPrerequisiteState: // no CONNECT, pg_hba.conf, its limit, its ALLOW_CONNECTIONS
	default:
		database = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == nil {
		s.failures = map[string]error{}
	}
	s.failures[database] = err
}

// unreachable returns the error that database could not be asked because of err.
func (s *Server) unreachable(database string, err error) error {
	return &ConnectError{
		Server: s.name, Address: s.config.address(), Database: database, Username: s.config.Username, Err: err,
	}
}

const (
	maxTurnWait = 30 * time.Second // how long to wait for connections of this process
	turnPause   = 100 * time.Millisecond
	turnGrace   = time.Second // in which the server removes the session of a closed connection
)

// connectInTurn is connect, but waits while connections of this process prevent another one.
func (s *Server) connectInTurn(ctx context.Context, database string) (*pgx.Conn, error) {
	var inTheWay time.Time // when a connection of this process last was
	for began := time.Now(); ; {
		conn, err := s.connect(ctx, database)
		if Code(err) != TooManyConnections {
			return conn, err
		}
		if inUse, closed := s.closeAllIdle(); inUse+closed > 0 {
			inTheWay = time.Now()
		}
		if time.Since(inTheWay) > turnGrace || time.Since(began) > maxTurnWait {
			return nil, err
		}
		if ended := Pause(ctx, turnPause); ended != nil {
			return nil, errors.Join(ended, err)
		}
	}
}

func (s *Server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	failed := func(err error) error { return s.unreachable(database, err) }
	config, err := s.config.connConfig(database)
	if err != nil {
		return nil, failed(err)
	}
	password, err := s.config.password(ctx)
	if err != nil {
		return nil, failed(err)
	}
	// pgx would prepare it by other rules than PostgreSQL's, but does not prepare it a second
	// time.
	config.Password = SASLprep(password)
	conn, err := pgx.ConnectConfig(ctx, config)
	if refused := Code(err); config.Password != password && (refused == InvalidPassword || refused == InvalidAuthorizationSpecification) {
		config.Password = password // unprepared: for methods other than SCRAM, such as LDAP
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return nil, failed(s.connectCause(err))
	}
	pinning, cancel := context.WithTimeout(ctx, s.config.ConnectTimeout) // the login had its own timeout
	defer cancel()
	if err := pinNames(pinning, conn); err != nil {
		closeAbruptly(conn)
		return nil, failed(explainClosed(conn, err))
	}
	return conn, nil
}

// pinNames makes a new session resolve names in pg_catalog alone, by its first statement,
// whatever search_path its role or database has: functions that precede PostgreSQL's own in that
// path would run with the privileges of the login. It also pins how names and values are
// written, to what this program compares them with. Behind a proxy, another client may get the
// session for the next statement, so pinNames leaves it unchanged: each transaction pins its own
// settings there (InTx). A run pins the session once it knows that the proxy lends a session for
// as long as a connection lasts.
func pinNames(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, pinSQL(Version(conn), false)+" WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) $1::pg_catalog.int4",
		pgx.QueryExecModeExec, int32(conn.PgConn().PID())) // a process number: 31 bits
	return err
}

// closeAbruptly closes a connection whose session is of no use, and waits only briefly.
func closeAbruptly(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // the connection is gone, whatever Close returns
}

// OnConn runs f with a connection to database. What f runs outside a transaction must not use
// names whose meaning depends on search_path. In a plan, f has defaultPlanTimeout.
func (s *Server) OnConn(ctx context.Context, database string, f func(*pgx.Conn) error) error {
	conn, err := s.Acquire(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Release()
	if s.planning {
		return s.inTime(ctx, conn, f)
	}
	return f(conn.Conn)
}

// inTime is f(conn) for a plan, which no user may be there to cancel. A server that does not
// finish its answers in time counts as unreachable, and so does one that ends the session first.
// A deadline of the connection bounds what f does: pgx sets another deadline only when it
// abandons the connection.
func (s *Server) inTime(ctx context.Context, conn *Conn, f func(*pgx.Conn) error) error {
	wire, began := conn.PgConn().Conn(), time.Now()
	_ = wire.SetDeadline(began.Add(s.planTimeout))
	err := f(conn.Conn)
	if !conn.IsClosed() {
		_ = wire.SetDeadline(time.Time{})
	}
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case !isServerError(err) && time.Since(began) >= s.planTimeout:
		err = s.unreachable(conn.database, &silenceError{s.planTimeout})
		s.noteFailure(conn.database, err)
	case conn.IsClosed():
		err = s.unreachable(conn.database, fmt.Errorf("the session ended before the server finished its answers: %w", err))
	}
	return err
}

// Version returns the major version of the server behind conn.
func Version(conn *pgx.Conn) int {
	text := conn.PgConn().ParameterStatus("server_version") // "15.18 (Debian ...)", "18beta1"
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		text = text[:end]
	}
	major, _ := strconv.Atoi(text)
	return major
}
