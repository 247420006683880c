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

// pollInterval is how often a worker asks what others have done.
const pollInterval = 50 * time.Millisecond

// A queue hands the units of a run to one worker.
type queue struct {
	sessions *sessions
	run      string
	claims   int    // how often it claimed a unit
	pending  string // its name in the latest claim, unless that was answered
}

// claim takes the next unit, of the table that partOf replicates if it is not 0.
// What the claim before took, if its answer got lost, is given back first.
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

// tend looks after the leases of the run. holds is the unit that this worker has.
func (q *queue) tend(ctx context.Context, holds int64) (catalog.Tending, error) {
	d := q.sessions.destination
	return catalog.Tend(ctx, d.conn.Conn, q.run, d.session, holds, attempts)
}

// fail tells the worker whose table a range is of why it was not copied. If it cannot
// be told, it finds out by itself, see catalog.Tend.
func (q *queue) fail(ctx context.Context, unit catalog.Unit, why error) error {
	cancelled := ctx.Err() != nil
	return q.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := endUnit(ctx, tx, unit, cancelled, q.sessions.advise(why))
		if errors.Is(err, catalog.ErrFenced) {
			return nil // the table is being tried again already
		}
		return err
	})
}

// endUnit gives up a unit. Others may take it over if its worker was only cancelled.
func endUnit(ctx context.Context, tx pgx.Tx, unit catalog.Unit, cancelled bool, why error) error {
	if cancelled {
		return catalog.Release(ctx, tx, unit)
	}
	return catalog.FailUnit(ctx, tx, unit, pgclient.Explain(why), pgclient.Code(why))
}

// leave gives back what a worker has claimed that does not go on. If it cannot say so,
// its session ends, and others find out.
func (q *queue) leave(ctx context.Context) {
	d := q.sessions.destination
	session := d.session // which may have ended
	err := q.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error { return session.ReleaseAll(ctx, tx) })
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		_ = d.conn.Close(ctx)
	}
}
