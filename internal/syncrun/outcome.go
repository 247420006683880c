package syncrun

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
)

// finish records how the run ended, by the reports in the catalog, of all workers. why
// says why workers gave up.
func (w *worker) finish(ctx context.Context, run Run, why string) (Run, error) {
	cancelled := ctx.Err() != nil
	why = cmp.Or(why, "the run did not reach the table, because its unit of work was deleted from the catalog. Run the replication again")
	err := w.sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		unfinished, err := catalog.EndUnits(ctx, tx, run.ID) // first: then no worker writes a report afterwards
		if err != nil {
			return err
		}
		written, err := catalog.Reports(ctx, tx, run.ID)
		if err != nil {
			return err
		}
		ended := conclude(w.Definition, written, unfinished, cancelled, why)
		run.Status, run.Tables = ended.status, ended.reports
		return pgclient.Send(ctx, tx, "end the run", func(batch *pgx.Batch) {
			catalog.QueueFinish(batch, &run.Run)
			for _, report := range ended.added {
				catalog.QueueReport(batch, run.ID, report)
			}
		})
	})
	if err != nil {
		return w.finishUnrecorded(run, cancelled, err)
	}
	if failed := run.failed(); run.Status == catalog.Failed {
		return run, &TablesError{Reports: failed}
	}
	return run, nil
}

// finishUnrecorded is the end of a run that the catalog does not record: the next run records
// that this one was interrupted.
func (w *worker) finishUnrecorded(run Run, cancelled bool, err error) (Run, error) {
	run.Status, run.CompletedAt, run.Tables = catalog.Interrupted, time.Now(), nil
	if code := pgclient.Code(err); replication.IsNotFound(err) || code == pgclient.UndefinedTable || code == pgclient.InvalidSchemaName { // the catalog is gone
		err = catalog.ErrEnded
	}
	if errors.Is(err, catalog.ErrEnded) {
		err = pgclient.Advise(err, "Rows that were committed stay. Make sure that only one run is active, and run the replication again.")
	}
	if cancelled {
		run.Notes = append(run.Notes, "The progress of the run could not be recorded: "+pgclient.Explain(err))
		return run, nil
	}
	return run, err
}

// failed returns the reports of the tables that failed.
func (r Run) failed() []catalog.Report {
	return slices.DeleteFunc(slices.Clone(r.Tables), func(t catalog.Report) bool { return t.Status != catalog.Failed })
}

// A conclusion is how a run ended.
type conclusion struct {
	status  string
	reports []catalog.Report // in the order of the tables
	added   []catalog.Report // of these, those that the catalog does not have, or has otherwise
}

// conclude says how a run ended, given the reports that workers wrote, and what is known of
// the tables that no worker finished. Those tables have failed, for the reason why, unless
// the run was cancelled: then it was interrupted.
func conclude(d definition.Definition, written []catalog.Report, unfinished map[string]string, cancelled bool, why string) conclusion {
	c := conclusion{status: catalog.Succeeded}
	for _, key := range d.Keys() {
		i := slices.IndexFunc(written, func(r catalog.Report) bool { return r.SourceTable == key })
		var report catalog.Report
		switch {
		case i >= 0:
			report = written[i]
		case !cancelled:
			report = failedReport(d, key, cmp.Or(unfinished[key], why))
			c.added = append(c.added, report)
		default:
			c.status = catalog.Interrupted
			continue
		}
		if report.Status == catalog.Interrupted && !cancelled { // its worker did not continue
			report.Status, report.Error = catalog.Failed, cmp.Or(unfinished[key], why)
			c.added = append(c.added, report)
		}
		c.reports = append(c.reports, report)
		switch {
		case report.Status == catalog.Interrupted:
			c.status = catalog.Interrupted
		case report.Status == catalog.Failed && c.status == catalog.Succeeded:
			c.status = catalog.Failed
		}
	}
	return c
}

// A TablesError says which tables of a run failed, and why.
type TablesError struct {
	Reports []catalog.Report // of the tables that failed
}

func (e *TablesError) Error() string {
	lines := make([]string, len(e.Reports))
	for i, r := range e.Reports {
		lines[i] = r.SourceTable + ": " + strings.ReplaceAll(r.Error, "\n", "\n  ")
	}
	return strings.Join(lines, "\n\n")
}
