package syncrun

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// A worker replicates tables of a run, through a connection to each side.
type worker struct {
	tablesync.Job
	sessions *tablesync.Sessions
	queue    *tablesync.Queue // nil before the run has begun
	notes    []string         // of the run, from its start
}

// errNoLeader says that a run no longer has a leader.
var errNoLeader = errors.New("the process that led the run ended or lost its connection to the destination. The next run continues from what was committed")

// processUnits does units of the run until each is done, by whatever process.
func (w *worker) processUnits(ctx context.Context) error {
	for ctx.Err() == nil {
		found, err := w.processNextUnit(ctx)
		switch {
		case err != nil:
			return err
		case !found.Unfinished:
			return nil
		case !found.HasLeader:
			return errNoLeader
		}
	}
	return nil
}

// processUnitsRecovering is processUnits that turns a panic into an error: a panic would end
// the provider, and with it what the provider does for other resources.
func (w *worker) processUnitsRecovering(ctx context.Context) (err error) {
	defer func() {
		if what := recover(); what != nil {
			w.sessions.Interrupt(ctx)
			err = fmt.Errorf("a bug in this provider stopped a worker of the run. Rows that were committed stay, and the next run continues from there. "+
				"Report the bug to the provider's maintainers with these lines: %v\n%s", what, debug.Stack())
		}
	}()
	return w.processUnits(ctx)
}

// processNextUnit does the next unit. If there is none, it waits briefly for the units of
// other workers, which may be divided into ranges, and for those of lost workers.
func (w *worker) processNextUnit(ctx context.Context) (found catalog.RunState, err error) {
	var unit catalog.Unit
	found = catalog.RunState{Unfinished: true, HasLeader: true}
	err = w.sessions.WithRetry(ctx, func(ctx context.Context) error {
		if err := w.sessions.ReconnectUnlessHealthy(ctx); err != nil {
			return err
		}
		unit, err = w.queue.Claim(ctx, 0)
		if errors.Is(err, catalog.ErrNotFound) {
			found, err = w.queue.MaintainLeases(ctx, 0)
		}
		return err
	})
	switch {
	case err != nil:
		return found, err
	case unit.ID == 0 && found.Unfinished:
		_ = pgclient.Pause(ctx, tablesync.PollInterval) // the caller checks whether it is cancelled
		return found, nil
	case unit.ID == 0:
		return found, nil
	}
	w.sessions.Healthy = time.Time{}
	if unit.Range != nil {
		return found, w.copyRange(ctx, unit)
	}
	report := tablesync.SyncTable(ctx, w.Job, w.sessions, w.queue, unit)
	if report.Status == catalog.Succeeded {
		w.sessions.Healthy = time.Now()
	}
	w.Logger.InfoContext(ctx, "table "+report.Status, "run", w.Run.ID, "table", report.SourceTable,
		"rows_extracted", report.RowsExtracted, "rows_loaded", report.RowsLoaded, "duration", report.Duration)
	return found, nil
}

// copyRange copies a range, or reports to the worker of its table why it could not. That
// worker decides whether to try the table again: a snapshot may be gone.
func (w *worker) copyRange(ctx context.Context, unit catalog.Unit) error {
	err := tablesync.RangeCopier{Job: w.Job, Sessions: w.sessions}.CopyInTime(ctx, unit)
	if err == nil || errors.Is(err, tablesync.ErrSnapshotAge) { // which the other worker has met as well
		return nil
	}
	return w.queue.Fail(ctx, unit, err)
}

// dropOrphanedStaging drops the staging tables that could not be dropped while other workers
// copied into them. It returns notes on those that it cannot drop either. The next run tries
// them again.
func (w *worker) dropOrphanedStaging(ctx context.Context) (notes []string) {
	_ = w.sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error { // if it fails, the next run drops them
		kept, err := destination.DropOrphanedStaging(ctx, tx, w.Definition.SchemaName)
		notes = nil
		for _, why := range kept {
			notes = append(notes, pgclient.Explain(why)+"\nThis does not make a run fail: the next run tries to drop the table again.")
		}
		return err
	})
	return notes
}
