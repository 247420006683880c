package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

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
	unit, err = catalog.Claim(ctx, conn.Conn, q.run, partOf, q.pending)
	if err == nil || errors.Is(err, catalog.ErrNotFound) {
		q.pending = ""
	} else {
		q.sessions.healthy = time.Time{}
	}
	return unit, err
}

// fail tells the worker whose table a range is of why it was not copied. If it cannot
// be told, it finds out by itself, see errWorkerLost.
func (q *queue) fail(ctx context.Context, unit catalog.Unit, err error) error {
	return q.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := catalog.FailUnit(ctx, tx, unit, postgres.Explain(q.sessions.advise(err)), postgres.Code(err))
		if errors.Is(err, catalog.ErrFenced) {
			return nil // the table is being tried again already
		}
		return err
	})
}
