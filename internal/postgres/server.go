package postgres

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/semaphore"
)

const (
	idleLimit = 5 * time.Second // after which an unused connection is closed
	trusted   = time.Second     // an idle connection younger than this is used without asking whether it lives
	parting   = 3 * time.Second // to say goodbye to a server
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

// A pool holds a server's connections: never more than config.MaxConnections,
// idle ones of other databases giving way to the one that is asked for.
type pool struct {
	name     string
	config   Config
	siblings *Servers
	budget   *semaphore.Weighted // one for each Conn in use

	mu        sync.Mutex
	open      int                // connections in use or idle
	idle      []*Conn            // oldest first
	failure   error              // what a dial for planning met
	poolings  map[string]Pooling // by database, as far as it is known
	planDials chan struct{}

	accesses sharedReads[*access]        // by database
	users    sharedRead[map[string]User] // for those who plan
}

// A Conn is a connection that belongs to its holder until Release.
type Conn struct {
	*pgx.Conn
	pool     *pool
	database string
	since    time.Time // idle since
}

// Acquire returns a connection to database, which the caller must Release. It
// waits while all connections that the Config allows are in use.
func (s *Server) Acquire(ctx context.Context, database string) (*Conn, error) {
	if err := s.budget.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for one of the %d connections of server %q: %w", s.config.MaxConnections, s.name, err)
	}
	conn, err := s.take(ctx, database)
	if err != nil {
		s.budget.Release(1)
		return nil, err
	}
	return conn, nil
}

// An Endpoint is a database on a server.
type Endpoint struct {
	Server   *Server
	Database string
}

// AcquirePair returns a connection to each of two endpoints. Pairs are acquired
// in one order everywhere, so that opposite ones can not block each other.
func AcquirePair(ctx context.Context, a, b Endpoint) (*Conn, *Conn, error) {
	if a.Server.name > b.Server.name {
		connB, connA, err := AcquirePair(ctx, b, a)
		return connA, connB, err
	}
	if a.Server.pool == b.Server.pool {
		return a.Server.acquireTwo(ctx, a.Database, b.Database)
	}
	connA, err := a.Server.Acquire(ctx, a.Database)
	if err != nil {
		return nil, nil, err
	}
	connB, err := b.Server.Acquire(ctx, b.Database)
	if err != nil {
		connA.Release()
		return nil, nil, err
	}
	return connA, connB, nil
}

// TryAcquirePair returns a connection to each of two endpoints, or none if that
// would mean to wait. The error says why one could not be dialled.
func TryAcquirePair(ctx context.Context, a, b Endpoint) (*Conn, *Conn, error) {
	if !a.Server.budget.TryAcquire(1) {
		return nil, nil, fmt.Errorf("all %d connections of server %q are in use", a.Server.config.MaxConnections, a.Server.name)
	}
	if !b.Server.budget.TryAcquire(1) {
		a.Server.budget.Release(1)
		return nil, nil, fmt.Errorf("all %d connections of server %q are in use", b.Server.config.MaxConnections, b.Server.name)
	}
	connA, err := a.Server.take(ctx, a.Database)
	if err != nil {
		a.Server.budget.Release(1)
		b.Server.budget.Release(1)
		return nil, nil, err
	}
	connB, err := b.Server.take(ctx, b.Database)
	if err != nil {
		connA.Release()
		b.Server.budget.Release(1)
		return nil, nil, err
	}
	return connA, connB, nil
}

func (s *Server) acquireTwo(ctx context.Context, a, b string) (*Conn, *Conn, error) {
	if s.config.MaxConnections < 2 {
		return nil, nil, fmt.Errorf("a replication within server %q needs two connections: set max_connections to 2 or more", s.name)
	}
	if err := s.budget.Acquire(ctx, 2); err != nil {
		return nil, nil, fmt.Errorf("wait for two of the %d connections of server %q: %w", s.config.MaxConnections, s.name, err)
	}
	connA, err := s.take(ctx, a)
	if err != nil {
		s.budget.Release(2)
		return nil, nil, err
	}
	connB, err := s.take(ctx, b)
	if err != nil {
		connA.Release()
		s.budget.Release(1)
		return nil, nil, err
	}
	return connA, connB, nil
}

// take returns an idle connection to database or dials one. The caller holds
// one of the budget.
func (s *Server) take(ctx context.Context, database string) (*Conn, error) {
	if database == "" {
		database = s.config.Database
	}
	for {
		conn := s.takeIdle(database)
		if conn == nil {
			break
		}
		if time.Since(conn.since) < trusted || conn.Ping(ctx) == nil {
			return conn, nil
		}
		conn.close()
	}
	s.makeRoom()
	conn, err := s.dial(ctx, database)
	if err != nil {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
		return nil, err
	}
	return &Conn{Conn: conn, pool: s.pool, database: database}, nil
}

func (p *pool) takeIdle(database string) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, conn := range slices.Backward(p.idle) {
		if conn.database == database {
			p.idle = slices.Delete(p.idle, i, i+1)
			return conn
		}
	}
	return nil
}

// makeRoom counts one more connection as open, after closing an idle one if
// there would be too many. There is an idle one then, because each in use
// holds one of the budget, and so does the caller.
func (p *pool) makeRoom() {
	p.mu.Lock()
	var evicted *Conn
	if p.open >= p.config.MaxConnections && len(p.idle) > 0 {
		evicted, p.idle = p.idle[0], p.idle[1:]
		p.open--
	}
	p.open++
	p.mu.Unlock()
	if evicted != nil {
		evicted.sayGoodbye()
	}
}

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
		return nil, failed(connectCause(err))
	}
	return conn, nil
}

// Renew dials again if the connection broke. The session is then a new one.
func (c *Conn) Renew(ctx context.Context) error {
	if !c.IsClosed() && c.lives(ctx) {
		return nil
	}
	c.sayGoodbye()
	conn, err := (&Server{pool: c.pool}).connect(ctx, c.database)
	if err != nil {
		return err
	}
	c.Conn = conn
	return nil
}

// lives reports whether the server still answers.
func (c *Conn) lives(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, parting)
	defer cancel()
	return c.Ping(ctx) == nil
}

// Release gives the connection back. One that broke, or was left within a
// transaction, or is in the way of dropping its database, is closed.
func (c *Conn) Release() {
	defer c.pool.budget.Release(1)
	if c.IsClosed() || c.PgConn().TxStatus() != 'I' || c.pool.siblings.isDropping(c.pool.config.address(), c.database) {
		c.close()
		return
	}
	c.since = time.Now()
	c.pool.mu.Lock()
	c.pool.idle = append(c.pool.idle, c)
	c.pool.mu.Unlock()
	time.AfterFunc(idleLimit, func() {
		c.pool.closeIdle(func(idle *Conn) bool { return time.Since(idle.since) >= idleLimit })
	})
}

// Discard gives the connection back for good: its session holds settings or
// locks that must not outlive it.
func (c *Conn) Discard() {
	c.close()
	c.pool.budget.Release(1)
}

func (c *Conn) close() {
	c.sayGoodbye()
	c.pool.mu.Lock()
	c.pool.open--
	c.pool.mu.Unlock()
}

// sayGoodbye closes the connection, and waits until the server has ended its
// session: until then it counts for the limits of the server and of its role.
// One that was cancelled is being closed already.
func (c *Conn) sayGoodbye() {
	ctx, cancel := context.WithTimeout(context.Background(), parting)
	defer cancel()
	if !c.IsClosed() {
		conn := c.PgConn().Conn()
		_ = conn.SetDeadline(time.Now().Add(parting))
		c.PgConn().Frontend().Send(&pgproto3.Terminate{})
		if c.PgConn().Frontend().Flush() == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	_ = c.Conn.Close(ctx) // the connection is gone whatever this says
	select {
	case <-c.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}

// closeIdle closes the idle connections that match.
func (p *pool) closeIdle(match func(*Conn) bool) {
	p.mu.Lock()
	var closing, staying []*Conn
	for _, conn := range p.idle {
		if match(conn) {
			closing = append(closing, conn)
		} else {
			staying = append(staying, conn)
		}
	}
	p.idle = staying
	p.mu.Unlock()
	for _, conn := range closing {
		conn.close()
	}
}

// inTx runs f in a transaction of database ("" for the default one).
func (s *Server) inTx(ctx context.Context, database string, f func(pgx.Tx) error) error {
	return s.onConn(ctx, database, func(conn *pgx.Conn) error { return pgx.BeginFunc(ctx, conn, f) })
}

// onConn runs f with a connection to database, for what can not run in a transaction.
func (s *Server) onConn(ctx context.Context, database string, f func(*pgx.Conn) error) error {
	conn, err := s.Acquire(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(conn.Conn)
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
