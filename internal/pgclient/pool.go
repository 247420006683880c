package pgclient

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/semaphore"
)

const (
	idleLimit = 5 * time.Second // after which an unused connection is closed
	pingAfter = time.Second     // an idle connection younger than this is used without checking whether it is alive
)

// A pool holds a server's connections: never more than config.MaxConnections. Idle connections
// to other databases are closed to make room for one that is asked for.
type pool struct {
	name     string
	config   Config
	siblings *Servers
	budget   *semaphore.Weighted // one for each Conn in use

	mu          sync.Mutex
	open        int                // connections in use or idle, or being dialled
	dialling    int                // of these, those that are being dialled
	idle        []*Conn            // oldest first
	failures    map[string]error   // the errors of dials for planning, by database, or "" if they are not about one database
	poolings    map[string]Pooling // by database, as far as it is known
	planDials   chan struct{}
	planTimeout time.Duration // how long a plan waits for what it asked for

	shared sync.Map // what ReadShared has read
}

// Acquire returns a connection to database, which the caller must Release. It waits while all
// connections that the Config allows are in use.
func (s *Server) Acquire(ctx context.Context, database string) (*Conn, error) {
	if err := s.budget.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for one of the %d connections of server %q: %w", s.config.MaxConnections, s.name, err)
	}
	conn, err := s.checkOut(ctx, database, s.dial)
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

// AcquirePair returns a connection to each of two endpoints. All pairs are acquired in the same
// order, so that opposite pairs cannot block each other.
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

// TryAcquirePair returns a connection to each of two endpoints, or none if it would have to wait
// for one. The error says why an endpoint could not be dialled.
func TryAcquirePair(ctx context.Context, a, b Endpoint) (*Conn, *Conn, error) {
	if !a.Server.budget.TryAcquire(1) {
		return nil, nil, fmt.Errorf("all %d connections of server %q are in use", a.Server.config.MaxConnections, a.Server.name)
	}
	if !b.Server.budget.TryAcquire(1) {
		a.Server.budget.Release(1)
		return nil, nil, fmt.Errorf("all %d connections of server %q are in use", b.Server.config.MaxConnections, b.Server.name)
	}
	connA, err := a.Server.checkOut(ctx, a.Database, a.Server.connect)
	if err != nil {
		a.Server.budget.Release(1)
		b.Server.budget.Release(1)
		return nil, nil, err
	}
	connB, err := b.Server.checkOut(ctx, b.Database, b.Server.connect)
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
	connA, err := s.checkOut(ctx, a, s.dial)
	if err != nil {
		s.budget.Release(2)
		return nil, nil, err
	}
	connB, err := s.checkOut(ctx, b, s.dial)
	if err != nil {
		connA.Release()
		s.budget.Release(1)
		return nil, nil, err
	}
	return connA, connB, nil
}

// checkOut returns an idle connection to database or dials one. The caller holds one unit of the
// budget.
func (s *Server) checkOut(ctx context.Context, database string, dial func(context.Context, string) (*pgx.Conn, error)) (*Conn, error) {
	if database == "" {
		database = s.config.Database
	}
	for {
		conn := s.popIdle(database)
		if conn == nil {
			break
		}
		if time.Since(conn.since) < pingAfter || conn.isAlive(ctx) {
			return conn, nil
		}
		conn.close()
	}
	s.reserveSlot()
	conn, err := dial(ctx, database)
	s.mu.Lock()
	s.dialling--
	if err != nil {
		s.open--
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, pool: s.pool, database: database}, nil
}

func (p *pool) popIdle(database string) *Conn {
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

// reserveSlot counts one more connection as open, and first closes an idle one if there would be
// too many. An idle one exists then, because each connection in use holds one unit of the
// budget, and so does the caller.
func (p *pool) reserveSlot() {
	p.mu.Lock()
	var evicted *Conn
	if p.open >= p.config.MaxConnections && len(p.idle) > 0 {
		evicted, p.idle = p.idle[0], p.idle[1:]
		p.open--
	}
	p.open++
	p.dialling++
	p.mu.Unlock()
	if evicted != nil {
		evicted.endSession()
	}
}

// closeIdle closes the idle connections that match, and returns how many it closed.
func (p *pool) closeIdle(match func(*Conn) bool) int {
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
	return len(closing)
}

// closeTimeout is the timeout for terminating a connection.
const closeTimeout = 3 * time.Second

// A Conn is a connection that belongs to its holder until Release.
type Conn struct {
	*pgx.Conn
	pool     *pool
	database string
	since    time.Time // idle since
}

// Renew dials again if the connection broke. The session is then a new one.
func (c *Conn) Renew(ctx context.Context) error {
	if !c.IsClosed() && c.isAlive(ctx) {
		return nil
	}
	c.endSession()
	conn, err := (&Server{pool: c.pool}).connect(ctx, c.database)
	if err != nil {
		return err
	}
	c.Conn = conn
	return nil
}

// isAlive reports whether the server still answers.
func (c *Conn) isAlive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	return c.Ping(ctx) == nil
}

// Release gives the connection back. It closes a connection that broke, that was left within a
// transaction, or that prevents its database from being dropped.
func (c *Conn) Release() {
	defer c.pool.budget.Release(1)
	if c.IsClosed() || c.PgConn().TxStatus() != 'I' || c.pool.IsDropping(c.database) {
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

// Discard closes the connection instead of giving it back to the pool: its session holds
// settings or locks that must not outlive it.
func (c *Conn) Discard() {
	c.close()
	c.pool.budget.Release(1)
}

func (c *Conn) close() {
	c.endSession()
	c.pool.mu.Lock()
	c.pool.open--
	c.pool.mu.Unlock()
}

// endSession closes the connection, and waits until the server has ended its session: until then
// the session counts towards the limits of the server and of its role. A connection that was
// cancelled is being closed already.
func (c *Conn) endSession() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if !c.IsClosed() {
		conn := c.PgConn().Conn()
		_ = conn.SetDeadline(time.Now().Add(closeTimeout))
		c.PgConn().Frontend().Send(&pgproto3.Terminate{})
		if c.PgConn().Frontend().Flush() == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	_ = c.Conn.Close(ctx) // the connection is gone, whatever Close returns
	select {
	case <-c.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}
