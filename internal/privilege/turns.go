package privilege

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// When two sessions change the privileges on one object at the same time, PostgreSQL fails one
// of them. Sessions of this provider therefore take turns: those of one process among
// themselves, and those of several processes by an advisory lock of the database. That saves
// attempts, and nothing else depends on it: every login that can connect can hold this lock, so
// the wait for it is short.
const (
	rightsLockClass = 0x53746974 // "Stit": a key space of our own, of two keys
	rightsLockKey   = 1

	advisoryLockTimeout = 10 * time.Second // how long to wait for the lock
	advisoryLockPause   = time.Minute      // after a timeout: how long not to wait again
)

// ChangeRights runs f in a transaction of database. It takes turns with other changes of this
// provider, and runs f again if other sessions interfered.
func ChangeRights(ctx context.Context, s *pgclient.Server, database string, f func(pgx.Tx) error) error {
	return ChangeObjects(ctx, s, database, pgclient.Contention{}, f)
}

// ChangeObjects is ChangeRights for a change that also locks tables.
func ChangeObjects(ctx context.Context, s *pgclient.Server, database string, c pgclient.Contention, f func(pgx.Tx) error) error {
	if err := s.RequireSessions(ctx, database); err != nil {
		return err
	}
	holders := ""
	err := serializeChange(ctx, s, database, c, func(tx pgx.Tx) error {
		holders = "" // of this attempt
		locked, err := lockRights(ctx, s, tx, database)
		if err == nil && !locked {
			holders, err = rightsHolders(ctx, tx)
		}
		if err != nil {
			return err
		}
		return f(tx)
	})
	if err == nil && holders != "" {
		s.Warn(pgclient.Warning{
			Summary: "Another session holds the lock for changes of privileges",
			Detail: fmt.Sprintf("Runs of Terraform use the advisory lock (%d, %d) of a database to take turns when they change privileges or schemas in it. "+
				"In database %q of server %q, this lock was held for more than %v by %s. "+
				"The provider made the change without the lock, and retried it if another change interfered. "+
				"Plan again to see whether two changes undid each other. If the session does not belong to another run of Terraform, find out what it does and end it.",
				rightsLockClass, rightsLockKey, s.DatabaseName(database), s.Name(), advisoryLockTimeout, holders),
		})
	}
	return err
}

// serializeChange runs a change that takes turns with the other changes of this process, even if
// it does not get the advisory lock: no change revokes what another one finds granted before
// that one has committed.
func serializeChange(ctx context.Context, s *pgclient.Server, database string, c pgclient.Contention, f func(pgx.Tx) error) error {
	defer s.Changed() // a login may work now
	return s.Retry(ctx, database, c, func() error {
		return Serialize(ctx, s, database, func() error {
			return s.OnConn(ctx, database, func(conn *pgx.Conn) error { return pgclient.BoundedTx(ctx, conn, f) })
		})
	})
}

// A rightsMemory is what this process remembers about the privileges that it changes.
type rightsMemory struct {
	granted claims

	mu         sync.Mutex
	semaphores map[string]chan struct{} // by database, see semaphore
	timedOut   map[rightsLock]time.Time // when a wait for the lock last timed out
}

// A rightsLock is the lock in a database of an entry.
type rightsLock struct{ server, database string }

func rightsMemoryOf(s *pgclient.Server) *rightsMemory { return pgclient.Memory[rightsMemory](s) }

// semaphore returns the channel that is full while the privileges in a database are being
// changed.
func (m *rightsMemory) semaphore(database string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.semaphores == nil {
		m.semaphores = map[string]chan struct{}{}
	}
	if m.semaphores[database] == nil {
		m.semaphores[database] = make(chan struct{}, 1)
	}
	return m.semaphores[database]
}

// lockRights waits for the lock by which changes take turns, and reports whether the transaction
// has it.
func lockRights(ctx context.Context, s *pgclient.Server, tx pgx.Tx, database string) (locked bool, err error) {
	if rightsLockTimedOut(s, database) {
		err = tx.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_xact_lock($1, $2)", rightsLockClass, rightsLockKey).Scan(&locked)
		if locked {
			noteLockTimeout(s, database, time.Time{})
		}
		return locked, err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`
		SAVEPOINT advisory_lock;
		SET LOCAL lock_timeout = %d;
		SELECT pg_catalog.pg_advisory_xact_lock(%d, %d);
		SET LOCAL lock_timeout = %d;
		RELEASE SAVEPOINT advisory_lock`,
		advisoryLockTimeout.Milliseconds(), rightsLockClass, rightsLockKey, pgclient.LockTimeout.Milliseconds()))
	if pgclient.Code(err) != pgclient.LockNotAvailable {
		return err == nil, err
	}
	noteLockTimeout(s, database, time.Now())
	_, err = tx.Exec(ctx, "ROLLBACK TO SAVEPOINT advisory_lock")
	return false, err
}

// rightsLockTimedOut reports whether a recent wait for the lock timed out: not every change of a
// long apply waits again.
func rightsLockTimedOut(s *pgclient.Server, database string) bool {
	m := rightsMemoryOf(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.timedOut[rightsLock{s.Name(), database}]) < advisoryLockPause
}

// noteLockTimeout notes when a wait for the lock timed out.
func noteLockTimeout(s *pgclient.Server, database string, since time.Time) {
	m := rightsMemoryOf(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timedOut == nil {
		m.timedOut = map[rightsLock]time.Time{}
	}
	m.timedOut[rightsLock{s.Name(), database}] = since
}

// rightsHoldersSQL lists the sessions that hold the lock: several can share it.
const rightsHoldersSQL = `
	SELECT ` + pgclient.SessionSQL + `
	FROM pg_catalog.pg_locks AS l
	JOIN pg_catalog.pg_database AS d ON d.oid = l.database
	JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
	WHERE d.datname = pg_catalog.current_database()
	  AND l.locktype = 'advisory' AND l.granted
	  AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.objsubid = 2
	ORDER BY a.pid
	LIMIT 5`

// rightsHolders describes the sessions that hold the lock.
func rightsHolders(ctx context.Context, tx pgx.Tx) (string, error) {
	rows, _ := tx.Query(ctx, rightsHoldersSQL, rightsLockClass, rightsLockKey)
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if len(holders) == 0 {
		holders = []string{"a session that has ended since"}
	}
	return strings.Join(holders, ", "), err
}
