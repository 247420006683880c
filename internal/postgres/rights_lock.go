package postgres

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Two sessions that change the rights on one object at a time make PostgreSQL fail
// one of them. Ours queue up for an advisory lock of the database, which spares
// attempts. It is a courtesy: anyone who can connect can hold that lock, so nothing
// depends on it, and nothing waits for it for long.
const (
	rightsLockClass = 0x53746974 // "Stit": a key space of our own, of two keys
	rightsLockKey   = 1

	courtesy      = 10 * time.Second // how long the lock is waited for
	courtesyPause = time.Minute      // for how long it is only tried for, after a wait in vain
)

// changeRights runs f in a transaction of database, if possible one at a time in
// that database, and again if others interfered.
func (s *Server) changeRights(ctx context.Context, database string, f func(pgx.Tx) error) error {
	return s.changeObjects(ctx, database, contention{}, f)
}

// changeObjects is changeRights for what also locks tables.
func (s *Server) changeObjects(ctx context.Context, database string, c contention, f func(pgx.Tx) error) error {
	if err := s.RequireSessions(ctx, database); err != nil {
		return err
	}
	holder := ""
	err := s.change(ctx, database, c, func(tx pgx.Tx) error {
		locked, err := s.lockRights(ctx, tx, database)
		if err == nil && !locked {
			holder, err = rightsHolder(ctx, tx)
		}
		if err != nil {
			return err
		}
		return f(tx)
	})
	if holder != "" && s.warn != nil {
		s.warn(Warning{
			Summary: "Changes of rights did not wait for each other",
			Detail: fmt.Sprintf("Runs of this provider that change rights or schemas in one database take turns, by its advisory lock (%d, %d). In a database of server %q (%s), "+
				"another session kept that lock for longer than %v: %s. This change was made without it, and repeated where another one interfered. "+
				"Unless that session belongs to another run of Terraform, find out what it does, and end it.",
				rightsLockClass, rightsLockKey, s.name, s.databaseName(database), courtesy, holder),
		})
	}
	return err
}

// lockRights waits for the lock that our changes of rights take turns by, but not
// for long, and reports whether it was had.
func (s *Server) lockRights(ctx context.Context, tx pgx.Tx, database string) (locked bool, err error) {
	if s.rightsLockIsKept(database) {
		err = tx.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_xact_lock($1, $2)", rightsLockClass, rightsLockKey).Scan(&locked)
		if locked {
			s.noteRightsLock(database, time.Time{})
		}
		return locked, err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`
		SAVEPOINT courtesy;
		SET LOCAL lock_timeout = %d;
		SELECT pg_catalog.pg_advisory_xact_lock(%d, %d);
		SET LOCAL lock_timeout = %d;
		RELEASE SAVEPOINT courtesy`,
		courtesy.Milliseconds(), rightsLockClass, rightsLockKey, lockTimeout.Milliseconds()))
	if Code(err) != "55P03" {
		return err == nil, err
	}
	s.noteRightsLock(database, time.Now())
	_, err = tx.Exec(ctx, "ROLLBACK TO SAVEPOINT courtesy")
	return false, err
}

// rightsLockIsKept reports whether a recent wait for the lock was in vain. Not each
// change of a long apply waits.
func (s *Server) rightsLockIsKept(database string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.rightsLockKept[database]) < courtesyPause
}

// noteRightsLock notes when a wait for the lock was in vain.
func (s *Server) noteRightsLock(database string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rightsLockKept == nil {
		s.rightsLockKept = map[string]time.Time{}
	}
	s.rightsLockKept[database] = since
}

const rightsHolderSQL = `
	SELECT coalesce((
		SELECT ` + sessionSQL + `
		FROM pg_catalog.pg_locks AS l
		JOIN pg_catalog.pg_database AS d ON d.oid = l.database
		JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
		WHERE d.datname = pg_catalog.current_database()
		  AND l.locktype = 'advisory' AND l.granted
		  AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.objsubid = 2
	), 'one that has ended since')`

// rightsHolder describes the session that holds the lock.
func rightsHolder(ctx context.Context, tx pgx.Tx) (holder string, err error) {
	err = tx.QueryRow(ctx, rightsHolderSQL, rightsLockClass, rightsLockKey).Scan(&holder)
	return holder, err
}

// databaseName returns what a database is called, "" being the default one.
func (s *Server) databaseName(database string) string { return cmp.Or(database, s.config.Database) }
