package catalog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Session is a session of a worker, as the others know it. It holds the advisory lock of a
// random key until it ends, and each claim records that key, its process and its login. So
// the server itself says whether a recorded session lives, without a renewal that could come
// too late: that process and that login hold the lock. Others cannot take the lock earlier,
// because they do not know the key, and taking it after the session's end is of no use to
// them, because they are logged in as another role. The session keeps no transaction open for
// this, which would hold back VACUUM.
type Session struct {
	key   int64
	lease time.Duration
}

// BeginSession makes a session known to others. What it claims is its own for as long as it
// lives, and for at least the time of a lease.
func BeginSession(ctx context.Context, conn *pgx.Conn, lease time.Duration) (Session, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Session{}, err
	}
	s := Session{key: int64(binary.NativeEndian.Uint64(random[:])), lease: lease}
	var held bool
	err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1)", s.key).Scan(&held)
	if err == nil && !held {
		err = errors.New("another session already holds the advisory lock that this session chose at random: run the replication again")
	}
	if err != nil {
		return Session{}, fmt.Errorf("register the session of the worker: %w", err)
	}
	return s, nil
}

// livesSQL is the condition that the session that the row s records lives.
const livesSQL = `
	EXISTS (
		SELECT
		FROM pg_catalog.pg_locks AS k
		JOIN pg_catalog.pg_stat_activity AS a ON a.pid = k.pid
		JOIN pg_catalog.pg_database AS d ON d.oid = k.database
		WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted AND d.datname = pg_catalog.current_database()
			AND (k.classid::bigint << 32) | k.objid::bigint = s.key
			AND k.pid = s.pid AND a.usesysid = s.login
	)`

// ReleaseAll gives back the units that the session has claimed and not done, for others to
// claim.
func (s Session) ReleaseAll(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "UPDATE _stitch.unit SET claimed_by = NULL WHERE key = $1 AND NOT done", s.key); err != nil {
		return fmt.Errorf("give back units of work: %w", err)
	}
	return nil
}
