package tablesync

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// Sessions are a worker's connections to both sides. They live as long as the worker, and may
// be replaced while it works on a table.
type Sessions struct {
	Source      *source.Conn
	Destination *destination.Conn
	Healthy     time.Time // when both sides had last answered everything; zero if they have not
}

// NewSessions returns the sessions of a worker of a job. None is ready.
func NewSessions(j Job, from, to *pgclient.Conn) *Sessions {
	return &Sessions{
		Source:      &source.Conn{Conn: from, Server: j.Definition.Source.Server},
		Destination: &destination.Conn{Conn: to, Server: j.Definition.Destination.Server, Lease: j.Lease},
	}
}

// Lease is how long a unit stays a worker's after the worker's session has ended: longer than
// it takes to connect again, with all the pauses of WithRetry.
const Lease = 30 * time.Second

// attempts is how many times a unit is tried.
const attempts = 5

// backoff is how long to wait after an attempt.
func backoff(attempt int) time.Duration { return time.Duration(1<<attempt) * 500 * time.Millisecond }

// CleanupTimeout bounds how long a cancelled run may take to record that.
const CleanupTimeout = 20 * time.Second

// isTransient reports whether an error is transient: a hot standby's recovery that had to
// proceed, a server that restarts, a deadlock, a lost connection.
func (s *Sessions) isTransient(err error) bool {
	var unknown *commitUnknownError
	var elsewhere *rangeError
	if errors.Is(err, errPartitionsChanged) || errors.As(err, &unknown) || errors.As(err, &elsewhere) {
		return true
	}
	var held *session.LockTimeoutError
	if errors.As(err, &held) {
		return false
	}
	switch code := pgclient.Code(err); code {
	case pgclient.SerializationFailure, pgclient.DeadlockDetected, pgclient.AdminShutdown, pgclient.CrashShutdown, pgclient.CannotConnectNow, pgclient.TooManyConnections, pgclient.ConnectionException, pgclient.ConnectionDoesNotExist, pgclient.ConnectionFailure, pgclient.LockNotAvailable:
		return true
	case "":
		return pgclient.IsUnreachable(err) || s.Source.Conn.IsClosed() || s.Destination.Conn.IsClosed()
	}
	return false
}

// WithRetry reconnects, and tries again while servers may be about to come back.
func (s *Sessions) WithRetry(ctx context.Context, reconnect func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := reconnect(ctx)
		if err == nil || attempt == attempts || !s.isTransient(err) {
			return err
		}
		if err := pgclient.Pause(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

// healthyFor is how long both sides are believed to be reachable after they answered.
const healthyFor = time.Second

func (s *Sessions) areHealthy() bool { return time.Since(s.Healthy) < healthyFor }

// ReconnectUnlessHealthy is Reconnect, unless both sides have just answered.
func (s *Sessions) ReconnectUnlessHealthy(ctx context.Context) error {
	if s.areHealthy() {
		return nil
	}
	return s.Reconnect(ctx)
}

// Reconnect makes both sessions ready. It replaces broken sessions.
func (s *Sessions) Reconnect(ctx context.Context) error {
	if err := s.Source.Reconnect(ctx); err != nil {
		return &copywire.SourceError{Err: err}
	}
	return s.Destination.Reconnect(ctx)
}

// Record writes to the catalog, even if ctx is cancelled or the connection broke. f may run
// twice.
func (s *Sessions) Record(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
	defer cancel()
	work := func(tx pgx.Tx) error { return f(ctx, tx) }
	if s.areHealthy() {
		if err := s.Destination.In(ctx, work); err == nil || !s.isTransient(err) {
			return err
		}
		s.Healthy = time.Time{}
	}
	if err := s.Destination.Reconnect(ctx); err != nil {
		return err
	}
	return s.Destination.In(ctx, work)
}

// Interrupt closes both connections, whatever they are in the middle of.
func (s *Sessions) Interrupt(ctx context.Context) {
	copywire.Interrupt(ctx, s.Source.Conn.PgConn())
	copywire.Interrupt(ctx, s.Destination.Conn.PgConn())
}

// Close ends both sessions, because they have settings, a role and maybe a lock of their own.
func (s *Sessions) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
	defer cancel()
	s.Destination.Unlock(ctx)
	s.Source.Conn.Discard()
	s.Destination.Conn.Discard()
}
