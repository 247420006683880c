package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// pollInterval is how often a worker reads what others have done.
const pollInterval = 50 * time.Millisecond

// A queue hands the units of a run to one worker.
type queue struct {
	sessions *sessions
	run      string
	claims   int    // how many times it claimed a unit
	pending  string // the name of the latest claim, unless that got an answer
}

// claim takes the next unit: a range of the table that partOf replicates, if partOf is not 0.
// It first gives back what the claim before took, if its answer was lost.
func (q *queue) claim(ctx context.Context, partOf int64) (unit catalog.Unit, err error) {
	conn := q.sessions.destination.conn
	if q.pending != "" {
		if err := catalog.Unclaim(ctx, conn.Conn, q.run, q.pending); err != nil {
			return catalog.Unit{}, err
		}
	}
	q.claims++
	q.pending = fmt.Sprintf("backend %d claim %d", conn.PgConn().PID(), q.claims)
	unit, err = catalog.Claim(ctx, conn.Conn, q.run, partOf, q.sessions.destination.session, q.pending)
	if err == nil || errors.Is(err, catalog.ErrNotFound) {
		q.pending = ""
	} else {
		q.sessions.healthy = time.Time{}
	}
	return unit, err
}

// tend renews or ends the leases of the run. holds is the unit that this worker has.
func (q *queue) tend(ctx context.Context, holds int64) (catalog.Tending, error) {
	d := q.sessions.destination
	return catalog.Tend(ctx, d.conn.Conn, q.run, d.session, holds, attempts)
}

// fail reports to the worker whose table a range belongs to why the range was not copied. If
// fail cannot report it, that worker learns it by itself, see catalog.Tend.
func (q *queue) fail(ctx context.Context, unit catalog.Unit, why error) error {
	cancelled := ctx.Err() != nil
	return q.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := endUnit(ctx, tx, unit, cancelled, q.sessions.advise(why))
		if errors.Is(err, catalog.ErrFenced) {
			return nil // another worker already tries the table again
		}
		return err
	})
}

// endUnit gives up a unit. Others may take it over only if its worker was cancelled.
func endUnit(ctx context.Context, tx pgx.Tx, unit catalog.Unit, cancelled bool, why error) error {
	if cancelled {
		return catalog.Release(ctx, tx, unit)
	}
	return catalog.FailUnit(ctx, tx, unit, pgclient.Explain(why), pgclient.Code(why))
}

// leave gives back the units of a worker that stops. If it cannot record that, it ends the
// worker's session, and other workers learn from that.
func (q *queue) leave(ctx context.Context) {
	d := q.sessions.destination
	session := d.session // may have ended
	err := q.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error { return session.ReleaseAll(ctx, tx) })
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		_ = d.conn.Close(ctx)
	}
}
