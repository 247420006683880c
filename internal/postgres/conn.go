package postgres

import (
	"context"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// parting is how long it may take to say goodbye to a server.
const parting = 3 * time.Second

// A Conn is a connection that belongs to its holder until Release.
type Conn struct {
	*pgx.Conn
	pool     *pool
	database string
	since    time.Time // idle since
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
