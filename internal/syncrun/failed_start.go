package syncrun

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// recordFailedStart records a run that failed before it began, for instance because the source
// cannot be reached: all of its tables failed for that reason. It returns that run and the
// reason. If the run was cancelled or cannot be recorded, there is no run.
func recordFailedStart(ctx context.Context, destination pgclient.Endpoint, id int64, d definition.Definition, reason error) (Run, error) {
	if ctx.Err() != nil {
		return Run{}, reason
	}
	run := Run{Run: catalog.Run{ID: uuid.NewString(), Status: catalog.Failed}, Tables: failedReports(d, pgclient.Explain(reason))}
	ctx, cancel := context.WithTimeout(ctx, tablesync.CleanupTimeout)
	defer cancel()
	err := replication.InCatalog(ctx, destination, func(tx pgx.Tx) error {
		return pgclient.Send(ctx, tx, "record the run", func(batch *pgx.Batch) {
			catalog.QueueFailedStart(batch, id, &run.Run)
			for _, report := range run.Tables {
				catalog.QueueReport(batch, run.ID, report)
			}
		})
	})
	if err != nil {
		return Run{}, reason // the reason is what matters
	}
	return run, reason
}

// failedReports returns a report for each table that says that it failed, and why.
func failedReports(d definition.Definition, why string) (reports []catalog.Report) {
	for _, key := range d.Keys() {
		reports = append(reports, failedReport(d, key, why))
	}
	return reports
}

// failedReport returns a report for a table that no worker reached, with why it failed.
func failedReport(d definition.Definition, key, why string) catalog.Report {
	name, _ := d.TableNameOf(key) // the table name is "" if the key has none
	selection := d.Tables[key]
	return catalog.Report{
		SourceTable: key, TableName: name, Status: catalog.Failed, Method: selection.Method, ReplicationKey: selection.ReplicationKey,
		Error: why,
	}
}
