package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// The catalog records which worker has a unit, and no process has to know of another: a unit
// is its worker's until its lease runs out, by the server's clock.
//
// A worker renews the lease with each claim and each commit. It cannot do so in the middle of
// a COPY, which occupies the only session that a worker has, and may take hours. So others
// do: a worker that finds nothing to claim reads the leases that are about to run out, and
// renews each whose session lives. No worker does so as long as there is other work, and no
// other worker can take the unit during that time.
//
// A lease outlasts its session, because a lost connection does not mean that its worker is
// lost. The worker has the rest of the lease to return with another session. If it does not,
// the unit is free again, and the worker can never commit what it has not committed.

// A RunState says what MaintainLeases found of a run whose units are all done, or claimed.
type RunState struct {
	Unfinished bool // whether there are units that are neither done nor failed
	HasLeader  bool // whether the leader of the run lives, or did until a moment ago
}

// maintainLeasesSQL frees the units that the session $3 has claimed, except the unit $4: the
// session does not know of the others.
const (
	maintainLeasesSQL = `
		WITH found AS (
			SELECT s.id, s.key <> $3 AND ` + livesSQL + ` AS lives, s.key = $3 OR s.lease_expires_at < pg_catalog.clock_timestamp() AS expired
			FROM _stitch.unit AS s
			WHERE s.run = $1 AND s.claimed_by IS NOT NULL AND NOT s.done AND s.error = '' AND s.id <> $4
				AND (s.key = $3 OR s.lease_expires_at < pg_catalog.clock_timestamp() + $2::interval / 2)
			FOR UPDATE OF s SKIP LOCKED
		), renewed AS (
			UPDATE _stitch.unit AS u
			SET lease_expires_at = pg_catalog.clock_timestamp() + $2
			FROM found AS f
			WHERE u.id = f.id AND f.lives
		)
		UPDATE _stitch.unit AS u
		SET claimed_by = NULL, error = CASE WHEN u.attempt < $5 THEN '' ELSE $6 END
		FROM found AS f
		WHERE u.id = f.id AND NOT f.lives AND f.expired`
	// The snapshot of ranges ends with the worker of their table.
	dropRangesSQL = `
		DELETE FROM _stitch.unit AS r
		USING _stitch.unit AS t
		WHERE r.run = $1 AND r.part_of = t.id AND (t.claimed_by IS NULL OR t.error <> '')`
	renewLeaderSQL = `
		UPDATE _stitch.leader AS s
		SET lease_expires_at = pg_catalog.clock_timestamp() + $2
		FROM _stitch.run AS r
		WHERE r.id = $1 AND s.replication = r.replication
			AND CASE WHEN s.lease_expires_at < pg_catalog.clock_timestamp() + $2::interval / 2 THEN ` + livesSQL + ` ELSE false END`
	runStateSQL = `
		SELECT EXISTS (SELECT FROM _stitch.unit AS u WHERE u.run = $1 AND NOT u.done AND u.error = ''), ` + hasLeaderSQL
	// hasLeaderSQL is the condition that the run $1 has a leader.
	hasLeaderSQL = `
		EXISTS (
			SELECT
			FROM _stitch.run AS r
			JOIN _stitch.leader AS l ON l.replication = r.replication
			WHERE r.id = $1 AND l.lease_expires_at > pg_catalog.clock_timestamp()
		)`
)

// MaintainLeases renews the leases of a run whose session lives, and frees the units whose
// worker is lost. A unit that was tried attempts times fails instead. holds is the unit that
// the session itself has, or 0 if it has none.
func MaintainLeases(ctx context.Context, conn *pgx.Conn, run string, session Session, holds int64, attempts int) (found RunState, err error) {
	lost := fmt.Sprintf("each of %d attempts ended because its worker process died or lost its connection to the destination. "+
		"Find out what ended them, and run the replication again", attempts)
	batch := &pgx.Batch{} // one transaction
	queue(batch, "renew the leases of workers", nil, maintainLeasesSQL, run, session.lease, session.key, holds, attempts, lost)
	queue(batch, "delete the ranges of a table whose worker is lost", nil, dropRangesSQL, run)
	queue(batch, "renew the leader's lease", nil, renewLeaderSQL, run, session.lease)
	batch.Queue(runStateSQL, run).QueryRow(func(row pgx.Row) error { return row.Scan(&found.Unfinished, &found.HasLeader) })
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return RunState{}, fmt.Errorf("check which workers of the run are alive: %w", err)
	}
	return found, nil
}
