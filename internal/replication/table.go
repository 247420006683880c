package replication

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// replicate copies one table and returns the report on it, which is then in the
// catalog too.
func (w *worker) replicate(ctx context.Context, key string) catalog.Report {
	selection := w.definition.Tables[key]
	name, err := w.definition.TableNameOf(key)
	report := catalog.Report{
		SourceTable: key, TableName: name, Status: catalog.Succeeded,
		Method: selection.Method, ReplicationKey: selection.ReplicationKey,
	}
	began := time.Now()
	if err == nil {
		err = w.copyTable(ctx, key, &report, began)
	}
	if err == nil {
		return report
	}
	report.Status = catalog.Failed
	if ctx.Err() != nil {
		report.Status = catalog.Interrupted
	}
	report.RowsExtracted, report.RowsLoaded, report.Bytes, report.Bookmark = 0, 0, 0, ""
	report.Duration = elapsed(began)
	report.Error = postgres.Explain(w.adviseRights(err))
	if err := w.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return catalog.AddReport(ctx, tx, w.run.ID, report)
	}); err != nil {
		report.Error += "\n" + postgres.Explain(err)
	}
	return report
}

// adviseRights says which rights a run needs, if that is what it lacked.
func (w *worker) adviseRights(err error) error {
	if postgres.Code(err) != "42501" || postgres.IsUnreachable(err) {
		return err
	}
	var source *extractError
	if errors.As(err, &source) {
		return postgres.Advise(err, "The login of server "+w.definition.Source.Server+
			" needs USAGE on the schema and SELECT on the table: stitch_source_grants grants both.")
	}
	return postgres.Advise(err, "The login of server "+w.definition.Destination.Server+
		" needs CREATE and TEMPORARY on the database, which stitch_destination_grants grants, and must own the tables that it loads.")
}

// elapsed is as precise as the catalog keeps it.
func elapsed(since time.Time) time.Duration { return time.Since(since).Truncate(time.Millisecond) }

// copyTable extracts and loads one table.
func (w *worker) copyTable(ctx context.Context, key string, report *catalog.Report, began time.Time) error {
	if err := w.reconnect(ctx); err != nil {
		return err
	}
	name, err := postgres.ParseTableName(key)
	if err != nil {
		return err
	}
	found, ok := w.structure[name]
	if !ok {
		return errors.New(w.definition.noTable(name))
	}
	source, err := openExtraction(ctx, w.source.Conn, name, found.Kind)
	if err != nil {
		return err
	}
	defer source.close(ctx)

	selection := w.definition.Tables[key]
	if problems := selection.check(key, source.table); len(problems) > 0 {
		return problems[0]
	}
	target := postgres.TableName{Schema: w.definition.SchemaName, Name: report.TableName}
	there, err := lookAt(ctx, w.destination.Conn, w.replication, target)
	if err != nil {
		return err
	}
	step, err := nextStep(selection, source.table, target, there)
	if err != nil {
		return err
	}
	report.Changes = step.layout.changes
	if step.layout.exists {
		if err := alter(ctx, w.destination.Conn, step.layout); err != nil {
			return err
		}
	}
	return w.load(ctx, source, step, catalog.Bookmark{
		Replication: w.replication, TableName: target.Name, SourceTable: key, Method: selection.Method,
		ReplicationKey: selection.ReplicationKey, Columns: step.layout.filled(),
		SourceOID: source.table.OID, SourceColumns: lastColumn(source.table), TableVersion: step.version, Run: w.run.ID,
	}, report, began)
}

// load moves the rows. Rows, bookmark and report commit together.
func (w *worker) load(ctx context.Context, source *extraction, step step, bookmark catalog.Bookmark, report *catalog.Report, began time.Time) error {
	if bookmark.Method == Incremental {
		greatest, err := source.greatestKey(ctx, step.window)
		if err != nil {
			return err
		}
		if bookmark.Bookmark = greatest; greatest == nil {
			bookmark.Bookmark = step.window.since // nothing new: it stays where it is
		}
		if bookmark.Bookmark != nil {
			report.Bookmark = *bookmark.Bookmark
		}
	}
	return pgx.BeginFunc(ctx, w.destination.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, settingsSQL); err != nil {
			return err
		}
		loading := loading{tx: tx, step: step, relay: func(copyIn string) (copied, error) {
			// The snapshot holds back VACUUM at the source: no longer than it is read.
			defer source.close(ctx)
			return relay(ctx, w.source.PgConn(), source.copySQL(step.layout, step.window), w.destination.PgConn(), copyIn)
		}}
		var moved copied
		var err error
		if step.layout.exists {
			moved, report.RowsLoaded, err = loading.merge(ctx)
		} else {
			moved, report.RowsLoaded, err = loading.create(ctx)
		}
		if err != nil {
			return err
		}
		report.RowsExtracted, report.Bytes, report.Duration = moved.rows, moved.bytes, elapsed(began)
		if err := catalog.SetBookmark(ctx, tx, bookmark); err != nil {
			return err
		}
		return catalog.AddReport(ctx, tx, w.run.ID, *report)
	})
}

// A step is what a run does with one table.
type step struct {
	layout  layout
	window  window
	version int64 // of the table, after the load
	reset   bool  // whether that is a new one
}

// nextStep decides how to go on with a table, from what the source has and the
// destination holds of it.
func nextStep(s Selection, source postgres.Table, target postgres.TableName, there known) (step, error) {
	next := step{version: there.now, reset: true}
	var columns []column
	for _, c := range s.selected(source) {
		columns = append(columns, columnOf(c, there.types))
	}
	var loaded []string
	if b := there.bookmark; b != nil {
		loaded = b.Columns
		next.version = max(there.now, b.TableVersion+1)
		if there.continues(s, source) {
			next.version, next.reset = b.TableVersion, false
			if !needsAll(columns, *b) {
				next.window.since = b.Bookmark
			}
		}
	}
	var err error
	next.layout, err = layOut(target, columns, s.keyColumns(source), there.table, loaded, there.viewed)
	for _, c := range next.layout.columns {
		if c.source.Name == s.ReplicationKey {
			next.window.key = c
		}
	}
	return next, err
}

// continues reports whether the bookmark still applies. A table whose method or
// replication key has changed, that was replaced by another of its name, or
// that was dropped in the destination, is replicated whole, under a new version.
func (k known) continues(s Selection, source postgres.Table) bool {
	b := k.bookmark
	return k.table != nil && b.Method == s.Method && b.ReplicationKey == s.ReplicationKey && b.SourceOID == source.OID
}

// needsAll reports whether rows that lie before the bookmark hold values that
// were never loaded: of a column that was not selected then, or of one that was
// added since and had its values computed for each row. What a plain ADD COLUMN
// gives to old rows is known without reading them.
func needsAll(columns []column, b catalog.Bookmark) bool {
	return slices.ContainsFunc(columns, func(c column) bool {
		if slices.Contains(b.Columns, c.source.Name) {
			return false
		}
		added := int(c.source.Number) > b.SourceColumns
		return !added || c.source.Missing == nil && (c.source.NotNull || c.source.Default)
	})
}

// lastColumn returns the greatest attribute number of a table.
func lastColumn(table postgres.Table) int {
	return int(table.Columns[len(table.Columns)-1].Number)
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
