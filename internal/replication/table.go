package replication

import (
	"context"
	"errors"
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
	report.Error = postgres.Explain(err)
	if err := w.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return catalog.AddReport(ctx, tx, w.run.ID, report)
	}); err != nil {
		report.Error += "\n" + postgres.Explain(err)
	}
	return report
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
		return w.definition.noTable(key, name)
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
	if step.layout.exists {
		if err := alter(ctx, w.destination.Conn, step.layout); err != nil {
			return err
		}
	}
	return w.load(ctx, source, step, catalog.Bookmark{
		Replication: w.replication, TableName: target.Name, SourceTable: key, Method: selection.Method,
		ReplicationKey: selection.ReplicationKey, Columns: step.layout.filled(), TableVersion: step.version, Run: w.run.ID,
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
		loading := loading{tx: tx, layout: step.layout, version: step.version, relay: func(copyIn string) (copied, error) {
			return relay(ctx, w.source.PgConn(), source.copySQL(step.layout, step.window), w.destination.PgConn(), copyIn)
		}}
		var moved copied
		var err error
		if step.layout.exists {
			moved, report.RowsLoaded, err = loading.merge(ctx, step.window)
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
}

// nextStep decides how to go on with a table, from what the source has and the
// destination holds of it. A table that was never loaded, or whose method or
// key changed, or that was dropped in the destination, is replicated whole,
// under a new version.
func nextStep(s Selection, source postgres.Table, target postgres.TableName, there known) (step, error) {
	var columns []column
	next := step{version: there.now}
	for _, c := range s.selected(source) {
		column := columnOf(c, there.types)
		if c.Name == s.ReplicationKey {
			next.window.key = column
		}
		columns = append(columns, column)
	}
	var loaded []string
	if b := there.bookmark; b != nil {
		loaded = b.Columns
		next.version = max(there.now, b.TableVersion+1)
		if there.table != nil && b.Method == s.Method && b.ReplicationKey == s.ReplicationKey {
			next.version = b.TableVersion
			next.window.since = b.Bookmark
		}
	}
	var err error
	next.layout, err = layOut(target, columns, s.keyColumns(source), there.table, loaded)
	// A key whose type changed lies in a column of its own.
	for _, c := range next.layout.columns {
		if c.source.Name == s.ReplicationKey {
			next.window.key = c
		}
	}
	return next, err
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

func (d Definition) noTable(key string, name postgres.TableName) error {
	problems := d.CheckSource(nil)
	for _, p := range problems {
		if p.Table == key {
			return p
		}
	}
	return errors.New(name.String() + " does not exist at the source")
}
