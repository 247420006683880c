package replication

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A worker replicates tables of a run, through a connection to each side.
type worker struct {
	job
	sessions *sessions
	queue    *queue   // nil before the run has begun
	notes    []string // of the run, from its start
}

// work does units of the run until none is left, and tells each table's report.
func (w *worker) work(ctx context.Context, tell func(catalog.Report)) error {
	for ctx.Err() == nil {
		done, err := w.workOnNext(ctx, tell)
		switch {
		case err != nil:
			return err
		case done:
		case w.busy.Load() == 0:
			return nil
		default: // others replicate tables, which they may divide into parts
			_ = sleep(ctx, pollInterval) // the loop asks whether it is cancelled
		}
	}
	return nil
}

// survive is work, of which a panic becomes an error: it would end the provider, and
// with it what it does for other resources.
func (w *worker) survive(ctx context.Context, tell func(catalog.Report)) (err error) {
	defer func() {
		if what := recover(); what != nil {
			w.sessions.interrupt(ctx)
			err = fmt.Errorf("a fault of this provider has ended a worker of the run. What was committed stays, and the next run goes on from there. "+
				"Report it to the provider's maintainers with these lines: %v\n%s", what, debug.Stack())
		}
	}()
	return w.work(ctx, tell)
}

// workOnNext does the next unit, if there is one.
func (w *worker) workOnNext(ctx context.Context, tell func(catalog.Report)) (done bool, err error) {
	w.busy.Add(1)
	defer w.busy.Add(-1)
	var unit catalog.Unit
	err = w.sessions.withRetry(ctx, func(ctx context.Context) error {
		if err := w.sessions.reconnectInDoubt(ctx); err != nil {
			return err
		}
		unit, err = w.queue.claim(ctx, 0)
		return err
	})
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w.sessions.healthy = time.Time{}
	if unit.Range != nil {
		return true, w.copyRange(ctx, unit)
	}
	report := syncTable(ctx, w.job, w.sessions, w.queue, unit)
	if report.Status == catalog.Succeeded {
		w.sessions.healthy = time.Now()
	}
	tell(report)
	return true, nil
}

// copyRange copies a range, or tells the worker whose table it is why not. That one
// decides whether to try the table again: a snapshot may be gone.
func (w *worker) copyRange(ctx context.Context, unit catalog.Unit) error {
	err := rangeCopier{w.job, w.sessions}.copyInTime(ctx, unit)
	if err == nil || errors.Is(err, errSnapshotAge) { // which the other worker has met as well
		return nil
	}
	return w.queue.fail(ctx, unit, err)
}

// dropOrphanedStaging drops what tables could not drop while others copied into it, and
// returns notes on what it cannot drop either. The next run tries it again.
func (w *worker) dropOrphanedStaging(ctx context.Context) (notes []string) {
	_ = w.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error { // if it fails, the next run does that too
		kept, err := dropOrphanedStaging(ctx, tx, w.definition.SchemaName)
		notes = nil
		for _, why := range kept {
			notes = append(notes, postgres.Explain(why)+"\nNo run fails for it: the next one tries again.")
		}
		return err
	})
	return notes
}
