package pgclient

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Pause waits, or returns the reason why the context ended first.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A session that waits for a lock makes other sessions wait behind it. A transaction therefore
// waits only briefly, and is then retried. It is also retried if another session changed the
// same objects at the same time.
const (
	LockTimeout      = 2 * time.Second // of one attempt
	lockAttempts     = 5
	DropLockAttempts = 15 // for a schema, whose tables are more likely to be in use

	interferedAttempts = 40 // over more than a minute: many other sessions may interfere
	vanishedAttempts   = 6  // an object that does not exist may never have existed

	lockPause     = 200 * time.Millisecond // in which the sessions that wait behind get the lock
	shortestPause = 50 * time.Millisecond  // after the first interference; it doubles each time
	longestPause  = 2 * time.Second
)

// A Contention describes the locks on tables that a transaction needs. Other sessions
// hold those even if they only read.
type Contention struct {
	Attempts int    // to get the lock; 0: lockAttempts
	Schema   string // the tables are in this schema
	Owner    string // the tables are owned by this role
}

// attempts counts the failed attempts at a transaction, by the reason.
type attempts struct{ locked, interfered, vanished int }

// after counts one more failure, and reports whether to try again.
func (a attempts) after(err error, c Contention) (attempts, bool) {
	switch {
	case Code(err) == LockNotAvailable:
		a.locked++
		return a, a.locked < cmp.Or(c.Attempts, lockAttempts)
	case isVanished(err):
		a.vanished++
		return a, a.vanished < vanishedAttempts
	case IsInterference(err):
		a.interfered++
		return a, a.interfered < interferedAttempts
	}
	return a, false
}

// pause returns how long to wait before the next attempt.
func (a attempts) pause() time.Duration {
	if a.interfered+a.vanished == 0 {
		return lockPause
	}
	pause := shortestPause
	for range a.interfered + a.vanished - 1 {
		pause = min(2*pause, longestPause)
	}
	return pause
}

// Retry makes attempts at a transaction of database until one succeeds, or until after says that
// another attempt is pointless.
func (s *Server) Retry(ctx context.Context, database string, c Contention, attempt func() error) error {
	var made attempts
	for {
		err := attempt()
		next, again := made.after(err, c)
		if !again {
			return s.explainRefusal(ctx, database, c, err)
		}
		made = next
		pause := made.pause()
		if ended := Pause(ctx, pause/2+rand.N(pause)); ended != nil { // random, so that two sessions do not stay in step
			return errors.Join(ended, err)
		}
	}
}

// IsInterference reports whether a transaction failed only because of what another session did
// at the same time. That includes a table, a schema or a role that vanished after it was listed
// and before it was used. A lock that could not be acquired is no interference.
func IsInterference(err error) bool {
	switch Code(err) {
	case SerializationFailure, DeadlockDetected, UniqueViolation: // the last if two sessions add default privileges
		return true
	case InternalError:
		// The SQLSTATE of internal errors says nothing more, and their text is never translated.
		var pg *pgconn.PgError
		return errors.As(err, &pg) &&
			(strings.HasPrefix(pg.Message, "tuple concurrently ") || strings.HasPrefix(pg.Message, "could not find tuple for default ACL"))
	}
	return isVanished(err)
}

// isVanished reports whether a transaction failed because a table, a schema or another object
// does not exist.
func isVanished(err error) bool {
	switch Code(err) {
	case UndefinedTable, InvalidSchemaName, UndefinedObject:
		return true
	}
	return false
}
