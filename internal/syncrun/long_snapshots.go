package syncrun

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// LongSnapshots returns the FULL_TABLE tables that probably take longer to read than a
// snapshot may be held, and how long they take. It estimates that from the current number of
// rows and the speed of the last run that replicated them.
func LongSnapshots(ctx context.Context, source, destination pgclient.Endpoint, d definition.Definition) ([]string, error) {
	last, err := LastRun(ctx, destination, d.SchemaName)
	if err != nil {
		return nil, err
	}
	var relations map[relation.TableName]relation.Relation
	err = source.Server.OnConn(ctx, source.Database, func(conn *pgx.Conn) error {
		return pgclient.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			relations, err = relation.ReadRelations(ctx, tx, d.SourceTables(), false)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	var long []string
	for _, r := range last.Tables {
		name, err := d.SourceTable(r.SourceTable)
		if err != nil || d.Tables[r.SourceTable].Method != definition.FullTable {
			continue
		}
		if takes := expectedSnapshot(r, relations[name].Rows); takes > d.MaxSnapshot() {
			long = append(long, fmt.Sprintf("%s: about %s", r.SourceTable, takes.Round(time.Second)))
		}
	}
	return long, nil
}

// expectedSnapshot estimates how long reading that many rows will hold a snapshot, at the
// speed in the report. The speed of a table that failed is not known, but reading it took at
// least as long.
func expectedSnapshot(r catalog.Report, rows int64) time.Duration {
	if r.Status != catalog.Succeeded || r.RowsExtracted == 0 {
		return r.Snapshot
	}
	return time.Duration(float64(r.Snapshot) * max(float64(rows)/float64(r.RowsExtracted), 1))
}
