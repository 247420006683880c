package tablesync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// PollInterval is how often a worker reads what others have done.
const PollInterval = 50 * time.Millisecond

// A Queue hands the units of a run to one worker.
type Queue struct {
	Sessions *Sessions
	Run      string
	claims   int    // how many times it claimed a unit
	pending  string // the name of the latest claim, unless that got an answer
}

// Claim takes the next unit: a range of the table of the unit parent, if parent is not 0. It
// first gives back what the claim before took, if its answer was lost.
func (q *Queue) Claim(ctx context.Context, parent int64) (unit catalog.Unit, err error) {
	conn := q.Sessions.Destination.Conn
	if q.pending != "" {
		if err := catalog.ReleaseClaim(ctx, conn.Conn, q.Run, q.pending); err != nil {
			return catalog.Unit{}, err
		}
	}
	q.claims++
	q.pending = fmt.Sprintf("backend %d claim %d", conn.PgConn().PID(), q.claims)
	unit, err = catalog.Claim(ctx, conn.Conn, q.Run, parent, q.Sessions.Destination.Session, q.pending)
	if err == nil || errors.Is(err, catalog.ErrNotFound) {
		q.pending = ""
	} else {
		q.Sessions.Healthy = time.Time{}
	}
	return unit, err
}

// MaintainLeases renews or ends the leases of the run. holds is the unit that this worker has.
func (q *Queue) MaintainLeases(ctx context.Context, holds int64) (catalog.RunState, error) {
	d := q.Sessions.Destination
	return catalog.MaintainLeases(ctx, d.Conn.Conn, q.Run, d.Session, holds, attempts)
}

// Fail reports to the worker whose table a range belongs to why the range was not copied. If
// Fail cannot report it, that worker learns it by itself, see catalog.MaintainLeases.
func (q *Queue) Fail(ctx context.Context, unit catalog.Unit, why error) error {
	cancelled := ctx.Err() != nil
	return q.Sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := endUnit(ctx, tx, unit, cancelled, q.Sessions.advise(why))
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

// ReleaseUnits gives back the units of a worker that stops. If it cannot record that, it ends
// the worker's session, and other workers learn from that.
func (q *Queue) ReleaseUnits(ctx context.Context) {
	d := q.Sessions.Destination
	session := d.Session // may have ended
	err := q.Sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error { return session.ReleaseAll(ctx, tx) })
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
		defer cancel()
		_ = d.Conn.Close(ctx)
	}
}
