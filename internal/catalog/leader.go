package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// One session at a time runs a replication: its leader, which records itself in
// _stitch.leader. It leads for as long as it lives (session.go), and another session can lead
// as soon as it does not. The workers of its run rely on it until its lease runs out
// (lease.go): a leader that has lost its session returns with another one.

// maxLeaderWait is how long Lock waits: for the server to notice that the process that led
// is gone, not for a run to end.
const (
	maxLeaderWait = 10 * time.Second
	leaderPause   = maxLeaderWait / 20
)

const leadSQL = `
	INSERT INTO _stitch.leader AS s (replication, key, pid, login, since, lease_expires_at)
	SELECT r.id, $2, pg_catalog.pg_backend_pid(), u.oid, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp() + $3::interval
	FROM _stitch.replication AS r
	CROSS JOIN pg_catalog.pg_roles AS u
	WHERE r.id = $1 AND u.rolname = session_user
	ON CONFLICT (replication) DO UPDATE SET
		key = excluded.key,
		pid = excluded.pid,
		login = excluded.login,
		since = excluded.since,
		lease_expires_at = excluded.lease_expires_at
	WHERE s.pid = pg_catalog.pg_backend_pid() OR NOT ` + livesSQL

const leaderSQL = `
	SELECT pg_catalog.concat('pid ', l.pid, ' of the destination server (user ', coalesce(pg_catalog.quote_ident(r.rolname), '?'),
		', application ' || pg_catalog.quote_literal(nullif(a.application_name, '')), ', connected from ' || pg_catalog.host(a.client_addr), '), since ', l.since)
	FROM _stitch.leader AS l
	LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = l.login
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid AND a.usesysid = l.login
	WHERE l.replication = $1`

// Lock makes this session the only one that runs the replication, until Unlock or the end of
// the session. If another one runs it, the error says which, and the session is no longer
// known to others.
func Lock(ctx context.Context, conn *pgx.Conn, replication int64, session Session) error {
	err := lead(ctx, conn, replication, session)
	if err != nil && !conn.IsClosed() {
		_, unlockErr := conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_unlock($1)", session.key)
		err = errors.Join(err, unlockErr)
	}
	return err
}

// lead records this session as the leader.
func lead(ctx context.Context, conn *pgx.Conn, replication int64, session Session) error {
	for deadline := time.Now().Add(maxLeaderWait); ; {
		leads, err := tryLead(ctx, conn, replication, session)
		if leads {
			return nil
		}
		if err == nil {
			err = anotherLeads(ctx, conn, replication)
		}
		var other *leaderError
		if !errors.As(err, &other) && pgclient.Code(err) != pgclient.LockNotAvailable && pgclient.Code(err) != pgclient.ForeignKeyViolation { // the replication is being deleted
			return fmt.Errorf("lock the replication: %w", err)
		}
		if time.Now().After(deadline) {
			if other == nil {
				err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return nameHolders(ctx, tx, upgrading, err) })
			}
			return fmt.Errorf("lock the replication: %w", err)
		}
		if err := pgclient.Pause(ctx, leaderPause); err != nil {
			return err
		}
	}
}

// tryLead reports whether this session is the leader now.
func tryLead(ctx context.Context, conn *pgx.Conn, replication int64, session Session) (leads bool, err error) {
	batch := &pgx.Batch{} // one transaction
	batch.Queue(limitWaitsSQL, lockTimeout.String())
	batch.Queue(leadSQL, replication, session.key, session.lease).Exec(func(tag pgconn.CommandTag) error {
		leads = tag.RowsAffected() > 0
		return nil
	})
	err = conn.SendBatch(ctx, batch).Close()
	return leads && err == nil, err
}

// A leaderError says which session runs the replication.
type leaderError struct{ leader string }

func (e *leaderError) Error() string {
	return fmt.Sprintf("the replication is being run by %s: wait until it has finished", e.leader)
}

// anotherLeads returns the error that names the session that leads, given that this one does
// not.
func anotherLeads(ctx context.Context, conn *pgx.Conn, replication int64) error {
	var leader string
	err := conn.QueryRow(ctx, leaderSQL, replication).Scan(&leader)
	if errors.Is(err, pgx.ErrNoRows) { // this session would have taken over
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return &leaderError{leader}
}

// Unlock lets other sessions run the replication.
func Unlock(ctx context.Context, conn *pgx.Conn, replication int64) error {
	_, err := conn.Exec(ctx, `
		SELECT pg_catalog.pg_advisory_unlock(l.key)
		FROM _stitch.leader AS l
		WHERE l.replication = $1 AND l.pid = pg_catalog.pg_backend_pid()`, replication)
	if err != nil {
		return fmt.Errorf("unlock the replication: %w", err)
	}
	return nil
}
