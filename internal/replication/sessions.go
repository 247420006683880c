package replication

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// sessions are a worker's connections to both sides. They live as long as the worker, and may
// be replaced while it works on a table.
type sessions struct {
	source      *sourceConn
	destination *destinationConn
	healthy     time.Time // when both sides had last answered everything; zero if they have not
}

// newSessions returns the sessions of a worker of a job. None is ready.
func newSessions(j job, source, destination *pgclient.Conn) *sessions {
	return &sessions{
		source:      &sourceConn{conn: source, server: j.definition.Source.Server},
		destination: &destinationConn{conn: destination, server: j.definition.Destination.Server, lease: j.lease},
	}
}

// lease is how long a unit stays a worker's after the worker's session has ended: longer than
// it takes to connect again, with all the pauses of withRetry.
const lease = 30 * time.Second

// attempts is how many times a unit is tried.
const attempts = 5

// backoff is how long to wait after an attempt.
func backoff(attempt int) time.Duration { return time.Duration(1<<attempt) * 500 * time.Millisecond }

// cleanupTimeout bounds how long a cancelled run may take to record that.
const cleanupTimeout = 20 * time.Second

// isTransient reports whether an error is transient: a hot standby's recovery that had to
// proceed, a server that restarts, a deadlock, a lost connection.
func (s *sessions) isTransient(err error) bool {
	var unknown *commitUnknownError
	var elsewhere *rangeError
	if errors.Is(err, errPartitionsChanged) || errors.As(err, &unknown) || errors.As(err, &elsewhere) {
		return true
	}
	var held *heldError
	if errors.As(err, &held) {
		return false
	}
	switch code := pgclient.Code(err); code {
	case pgclient.SerializationFailure, pgclient.DeadlockDetected, pgclient.AdminShutdown, pgclient.CrashShutdown, pgclient.CannotConnectNow, pgclient.TooManyConnections, pgclient.ConnectionException, pgclient.ConnectionDoesNotExist, pgclient.ConnectionFailure, pgclient.LockNotAvailable:
		return true
	case "":
		return pgclient.IsUnreachable(err) || s.source.conn.IsClosed() || s.destination.conn.IsClosed()
	}
	return false
}

// withRetry reconnects, and tries again while servers may be about to come back.
func (s *sessions) withRetry(ctx context.Context, reconnect func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := reconnect(ctx)
		if err == nil || attempt == attempts || !s.isTransient(err) {
			return err
		}
		if err := sleep(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

// healthyFor is how long both sides are believed to be reachable after they answered.
const healthyFor = time.Second

func (s *sessions) areHealthy() bool { return time.Since(s.healthy) < healthyFor }

// reconnectInDoubt is reconnect, unless both sides have just answered.
func (s *sessions) reconnectInDoubt(ctx context.Context) error {
	if s.areHealthy() {
		return nil
	}
	return s.reconnect(ctx)
}

// reconnect makes both sessions ready. It replaces broken sessions.
func (s *sessions) reconnect(ctx context.Context) error {
	if err := s.source.reconnect(ctx); err != nil {
		return &sourceError{err}
	}
	return s.destination.reconnect(ctx)
}

// record writes to the catalog, even if ctx is cancelled or the connection broke. f may run
// twice.
func (s *sessions) record(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	work := func(tx pgx.Tx) error { return f(ctx, tx) }
	if s.areHealthy() {
		if err := s.destination.in(ctx, work); err == nil || !s.isTransient(err) {
			return err
		}
		s.healthy = time.Time{}
	}
	if err := s.destination.reconnect(ctx); err != nil {
		return err
	}
	return s.destination.in(ctx, work)
}

// interrupt closes both connections, whatever they are in the middle of.
func (s *sessions) interrupt(ctx context.Context) {
	interrupt(ctx, s.source.conn.PgConn())
	interrupt(ctx, s.destination.conn.PgConn())
}

// close ends both sessions, because they have settings, a role and maybe a lock of their own.
func (s *sessions) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	s.destination.unlock(ctx)
	s.source.conn.Discard()
	s.destination.conn.Discard()
}
