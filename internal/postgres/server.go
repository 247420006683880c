package postgres

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"
)

// Servers are the servers of one provider block.
type Servers struct {
	byName map[string]*Server

	mu       sync.Mutex
	dropping map[string]int // databases that this process is dropping, by address/name
}

// NewServers prepares servers without connecting to them.
func NewServers(configs map[string]Config) *Servers {
	all := &Servers{byName: map[string]*Server{}, dropping: map[string]int{}}
	for name, config := range configs {
		config = config.withDefaults()
		all.byName[name] = &Server{pool: &pool{
			name:      name,
			config:    config,
			budget:    semaphore.NewWeighted(int64(config.MaxConnections)),
			siblings:  all,
			planDials: make(chan struct{}, 1),
		}}
	}
	return all
}

// Server returns the server called name.
func (all *Servers) Server(name string) (*Server, bool) {
	s, ok := all.byName[name]
	return s, ok
}

// Close closes the idle connections of all servers. Those in use are closed by their users.
func (all *Servers) Close() {
	for _, s := range all.byName {
		s.closeIdle(func(*Conn) bool { return true })
	}
}

// changed forgets the dials that failed, because a login may work from now on,
// and what was read, because it may be otherwise now.
func (all *Servers) changed() {
	for _, s := range all.byName {
		s.mu.Lock()
		s.failure = nil
		s.mu.Unlock()
		s.accesses.forget()
		s.users.forget()
		s.schemas.forget()
		s.databases.forget()
	}
}

// A Server is one PostgreSQL server as one login sees it. It is safe for
// concurrent use and opens no connection before it needs one.
type Server struct {
	*pool
	planning bool
}

// Planning returns a view of s for Plan and Read, which shares its connections.
// Its dials go one at a time, and one that failed is not repeated: whoever asks
// later is told the same.
func (s *Server) Planning() *Server { return &Server{pool: s.pool, planning: true} }

// Name is the server's key in the provider block.
func (s *Server) Name() string { return s.name }

// DefaultDatabase is where the entry connects to when no database is asked for.
func (s *Server) DefaultDatabase() string { return s.config.Database }

func (s *Server) dial(ctx context.Context, database string) (*pgx.Conn, error) {
	if !s.planning {
		return s.connect(ctx, database)
	}
	select {
	case s.planDials <- struct{}{}:
		defer func() { <-s.planDials }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	failure := s.failure
	s.mu.Unlock()
	if failure != nil {
		return nil, failure
	}
	conn, err := s.connect(ctx, database)
	// A missing database says nothing about the others.
	if err != nil && ctx.Err() == nil && Code(err) != "3D000" {
		s.mu.Lock()
		s.failure = err
		s.mu.Unlock()
	}
	return conn, err
}

func (s *Server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	failed := func(err error) error {
		return &ConnectError{
			Server: s.name, Address: s.config.address(), Database: database, Username: s.config.Username, Err: err,
		}
	}
	config, err := s.config.connConfig(database)
	if err != nil {
		return nil, failed(err)
	}
	password, err := s.config.password(ctx)
	if err != nil {
		return nil, failed(err)
	}
	// pgx would prepare it by other rules than PostgreSQL's, but leaves alone what is prepared.
	config.Password = saslprep(password)
	conn, err := pgx.ConnectConfig(ctx, config)
	if refused := Code(err); config.Password != password && (refused == "28P01" || refused == "28000") {
		config.Password = password // as it is: for what is not SCRAM, such as LDAP
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return nil, failed(s.connectCause(err))
	}
	return conn, nil
}

// inTx runs f in a transaction of database ("" for the default one).
func (s *Server) inTx(ctx context.Context, database string, f func(pgx.Tx) error) error {
	return s.onConn(ctx, database, func(conn *pgx.Conn) error { return InTx(ctx, conn, f) })
}

// InTx runs f in a transaction. Types, operators and functions are PostgreSQL's own
// in it, whatever search_path the owner of a database has given to its sessions: what
// stands before them would run with the rights of the login.
func InTx(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) error {
	return inTx(ctx, conn, "BEGIN", f)
}

func inTx(ctx context.Context, conn *pgx.Conn, begin string, f func(pgx.Tx) error) error {
	begin += "; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"
	return explainClosed(conn, pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{BeginQuery: begin}, f))
}

// onConn runs f with a connection to database, for what can not run in a transaction:
// nothing that search_path matters to.
func (s *Server) onConn(ctx context.Context, database string, f func(*pgx.Conn) error) error {
	conn, err := s.Acquire(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Release()
	return explainClosed(conn.Conn, f(conn.Conn))
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
