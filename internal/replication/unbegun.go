package replication

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// recordUnbegun records a run that failed before it began, for instance because the
// source cannot be reached: all of its tables failed for that reason. It returns that
// run and the reason. What was cancelled, and what cannot be recorded, is no run.
func recordUnbegun(ctx context.Context, destination pgclient.Endpoint, id int64, d Definition, reason error) (Run, error) {
	if ctx.Err() != nil {
		return Run{}, reason
	}
	run := Run{Run: catalog.Run{ID: uuid.NewString(), Status: catalog.Failed}, Tables: failedReports(d, pgclient.Explain(reason))}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	err := inCatalog(ctx, destination, func(tx pgx.Tx) error {
		return pgclient.Send(ctx, tx, "record the run", func(batch *pgx.Batch) {
			catalog.QueueUnbegun(batch, id, &run.Run)
			for _, report := range run.Tables {
				catalog.QueueReport(batch, run.ID, report)
			}
		})
	})
	if err != nil {
		return Run{}, reason // which is what counts
	}
	return run, reason
}

// failedReports says of each table that it failed, and why.
func failedReports(d Definition, why string) (reports []catalog.Report) {
	for _, key := range d.keys() {
		reports = append(reports, failedReport(d, key, why))
	}
	return reports
}

// failedReport says of a table that nobody came to that it failed, and why.
func failedReport(d Definition, key, why string) catalog.Report {
	name, _ := d.TableNameOf(key) // as good as it gets
	selection := d.Tables[key]
	return catalog.Report{
		SourceTable: key, TableName: name, Status: catalog.Failed, Method: selection.Method, ReplicationKey: selection.ReplicationKey,
		Error: why,
	}
}
