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
	step, err := w.arrange(ctx, source, selection, target, there)
	if err != nil {
		return err
	}
	report.Changes = step.layout.changes
	return w.load(ctx, source, step, catalog.Bookmark{
		Replication: w.replication, TableName: target.Name, SourceTable: key, Method: selection.Method,
		ReplicationKey: selection.ReplicationKey, KeyType: step.window.key.sql,
		Columns: step.layout.filled(), Attributes: step.layout.attributes(),
		Source: w.identity, SourceOID: source.table.OID, SourceColumns: lastColumn(source.table),
		TableVersion: step.version, Run: w.run.ID,
	}, report, began)
}

// arrange decides the next step and makes the destination table ready for it.
func (w *worker) arrange(ctx context.Context, source *extraction, s Selection, target postgres.TableName, there known) (step, error) {
	next, err := nextStep(s, source.table, w.identity, target, there)
	if err != nil {
		return step{}, err
	}
	if len(next.doubtful) > 0 && next.window.since != nil {
		more, err := source.holdsMore(ctx, next)
		if err != nil {
			return step{}, &extractError{err}
		}
		if more {
			next.window.since = nil
		}
	}
	if !next.layout.exists {
		return next, nil
	}
	err = alter(ctx, w.destination.Conn, next.layout)
	if code := postgres.Code(err); (code == "0A000" || code == "42601") && len(next.layout.widen) > 0 {
		// Something else than a view depends on the columns, such as a generated
		// column, for which PostgreSQL 12 to 14 report a syntax error. Leave them alone.
		for _, c := range next.layout.widen {
			there.viewed = append(there.viewed, c.name)
		}
		return w.arrange(ctx, source, s, target, there)
	}
	return next, err
}

// load moves the rows. Rows, bookmark and report commit together.
func (w *worker) load(ctx context.Context, source *extraction, step step, bookmark catalog.Bookmark, report *catalog.Report, began time.Time) error {
	if bookmark.Method == Incremental {
		greatest, err := source.greatestKey(ctx, step.window)
		if err != nil {
			return &extractError{err}
		}
		if bookmark.Bookmark = greatest; greatest == nil {
			bookmark.Bookmark = step.window.since // nothing new: it stays where it is
		}
		if bookmark.Bookmark != nil {
			report.Bookmark = *bookmark.Bookmark
		}
	}
	return pgx.BeginFunc(ctx, w.destination.Conn, func(tx pgx.Tx) error {
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
