package pgclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How transactions begin. The first one may write unless the default of the login or of the
// database forbids it.
const (
	readWrite = "BEGIN ISOLATION LEVEL READ COMMITTED"
	readOnly  = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
)

// InTx runs f in a transaction of database ("" for the default one), and again if other sessions
// interfered or held a lock.
func (s *Server) InTx(ctx context.Context, database string, f func(pgx.Tx) error) error {
	return s.tryTx(ctx, database, Contention{}, f)
}

func (s *Server) tryTx(ctx context.Context, database string, c Contention, f func(pgx.Tx) error) error {
	return s.Retry(ctx, database, c, func() error {
		return s.OnConn(ctx, database, func(conn *pgx.Conn) error { return BoundedTx(ctx, conn, f) })
	})
}

// InTx runs f in a transaction. Types, operators and functions in it are PostgreSQL's own,
// whatever search_path the owner of a database has set for its sessions: objects that precede
// them in that path would run with the privileges of the login. Each statement sees what was
// committed before it, whatever isolation level the login has.
func InTx(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) error {
	return begin(ctx, conn, readWrite+"; "+pinSQL(Version(conn), true), f)
}

// BoundedTx is InTx for statements that provision: each waits for a lock for at most
// LockTimeout.
func BoundedTx(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) error {
	return beginBounded(ctx, conn, readWrite, f)
}

// ReadTx is BoundedTx for transactions that only read.
func ReadTx(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) error {
	return beginBounded(ctx, conn, readOnly, f)
}

func beginBounded(ctx context.Context, conn *pgx.Conn, how string, f func(pgx.Tx) error) error {
	return begin(ctx, conn, fmt.Sprintf("%s; %s; SET LOCAL lock_timeout = %d", how, pinSQL(Version(conn), true), LockTimeout.Milliseconds()), f)
}

// begin refuses to begin a transaction within another, for which PostgreSQL only issues a
// warning: the inner one would end both, and unpin the outer one's path.
func begin(ctx context.Context, conn *pgx.Conn, sql string, f func(pgx.Tx) error) error {
	if conn.PgConn().TxStatus() != 'I' {
		return errors.New("begin a transaction: the connection has one already")
	}
	return explainClosed(conn, pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{BeginQuery: sql}, f))
}

// OnSession is OnConn for statements that wait for locks and cannot run in a transaction:
// lock_timeout is set for the session while f runs.
func (s *Server) OnSession(ctx context.Context, database string, f func(*pgx.Conn) error) error {
	if err := s.RequireSessions(ctx, database); err != nil {
		return err
	}
	bounded := func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", LockTimeout.Milliseconds())); err != nil {
			return err
		}
		err := f(conn)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if _, failed := conn.Exec(ctx, "RESET lock_timeout"); failed != nil {
			_ = conn.Close(ctx) // the setting must not outlive f
		}
		return err
	}
	return s.Retry(ctx, database, Contention{}, func() error { return s.OnConn(ctx, database, bounded) })
}

// Change runs f in a transaction of database, and again if other sessions interfered.
func (s *Server) Change(ctx context.Context, database string, c Contention, f func(pgx.Tx) error) error {
	defer s.Changed() // a login may work now
	return s.tryTx(ctx, database, c, f)
}

// sender is a connection or a transaction.
type sender interface {
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

// Send sends a batch that fill has filled. Its error says what was attempted.
func Send(ctx context.Context, to sender, attempt string, fill func(*pgx.Batch)) error {
	batch := &pgx.Batch{}
	fill(batch)
	if err := to.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	return nil
}

// ExecToTheEnd runs a statement whose outcome must be known. When ctx is done, it asks the
// server to cancel the statement, and waits for the answer, for grace at most.
func ExecToTheEnd(ctx context.Context, conn *pgx.Conn, sql string, grace time.Duration) error {
	uncancelled := context.WithoutCancel(ctx)
	asked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(asked)
		_ = conn.PgConn().Conn().SetDeadline(time.Now().Add(grace)) // the answer may never come
		ctx, cancel := context.WithTimeout(uncancelled, grace)
		defer cancel()
		_ = conn.PgConn().CancelRequest(ctx) // if the server does not receive the request, the statement ends by itself
	})
	_, err := conn.Exec(uncancelled, sql)
	if stop() {
		return err
	}
	<-asked // otherwise the request would cancel the next statement
	if conn.IsClosed() && !isServerError(err) {
		return Advise(fmt.Errorf("the server was asked to cancel the statement, but did not answer within %v: %w", grace, errors.Join(ctx.Err(), err)),
			"The server may have completed the statement. Apply again to find out.")
	}
	_ = conn.PgConn().Conn().SetDeadline(time.Time{})
	return err
}
