package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// farewell is how long a run that was cancelled may take to say so.
const farewell = 20 * time.Second

// A Run is what a sync run did. Its reports are in the order of the tables.
type Run struct {
	catalog.Run
	Tables []catalog.Report
}

// RowsExtracted is the sum over all tables.
func (r Run) RowsExtracted() (n int64) {
	for _, t := range r.Tables {
		n += t.RowsExtracted
	}
	return n
}

// RowsLoaded is the sum over all tables.
func (r Run) RowsLoaded() (n int64) {
	for _, t := range r.Tables {
		n += t.RowsLoaded
	}
	return n
}

// A Runner runs replications.
type Runner struct {
	// Server finds a server that a definition names.
	Server func(name string) (*postgres.Server, error)
	// Progress is told when a run starts and when a table is done. It may be nil.
	Progress func(ctx context.Context, message string, fields ...map[string]any)
}

// Run runs the replication into the schema schemaName of a destination. If
// tables failed, it returns the run and a *TablesError. If ctx was cancelled,
// it returns the run, with the status interrupted, and no error.
func (r Runner) Run(ctx context.Context, destination postgres.Endpoint, schemaName string) (Run, error) {
	run, err := r.run(ctx, destination, schemaName)
	if err != nil {
		err = fmt.Errorf("run replication %q: %w", schemaName, err)
	}
	return run, err
}

func (r Runner) run(ctx context.Context, destination postgres.Endpoint, schemaName string) (Run, error) {
	stored, err := Find(ctx, destination, schemaName)
	if err != nil {
		return Run{}, err
	}
	sourceServer, err := r.Server(stored.Source.Server)
	if err != nil {
		return Run{}, err
	}
	w := &worker{definition: stored}
	source := postgres.Endpoint{Server: sourceServer, Database: stored.Source.Database}
	if w.source, w.destination, err = postgres.AcquirePair(ctx, source, destination); err != nil {
		return Run{}, err
	}
	defer w.source.Discard() // both have settings of their own
	defer w.unlock(ctx)

	if err := w.start(ctx); err != nil {
		return Run{}, err
	}
	r.progress(ctx, "sync run started", map[string]any{"run": w.run.ID, "schema": schemaName, "tables": len(stored.Tables)})
	run := Run{Run: w.run}
	for _, key := range stored.keys() {
		if ctx.Err() != nil {
			break
		}
		report := w.replicate(ctx, key)
		run.Tables = append(run.Tables, report)
		r.progress(ctx, "table "+report.Status, map[string]any{
			"run": w.run.ID, "table": key, "rows_extracted": report.RowsExtracted, "rows_loaded": report.RowsLoaded,
			"duration": report.Duration.String(),
		})
	}
	return w.finish(ctx, run)
}

func (r Runner) progress(ctx context.Context, message string, fields map[string]any) {
	if r.Progress != nil {
		r.Progress(ctx, message, fields)
	}
}

// A worker is a run at work.
type worker struct {
	definition  Definition
	replication int64
	run         catalog.Run
	structure   map[postgres.TableName]postgres.Table // of the source, as the run began
	identity    string                                // of the source database
	source      *postgres.Conn
	destination *postgres.Conn

	sourceReady      *pgx.Conn // the session that is prepared
	destinationReady *pgx.Conn // the session that is prepared and holds the lock
}

// start makes this session the one that runs the replication, and does the
// structure sync.
func (w *worker) start(ctx context.Context) error {
	err := w.inDestination(ctx, func(tx pgx.Tx) error {
		if err := catalog.Install(ctx, tx); err != nil {
			return err
		}
		stored, err := catalog.ReplicationOf(ctx, tx, w.definition.SchemaName)
		w.replication = stored.ID
		return err
	})
	if err != nil {
		return err
	}
	if err := w.reconnect(ctx); err != nil {
		return err
	}
	if w.identity, err = identify(ctx, w.source.Conn, w.definition.Source.Server); err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, w.source.Conn, func(tx pgx.Tx) (err error) {
		w.structure, err = postgres.ReadTables(ctx, tx, w.definition.sourceTables())
		return err
	})
	if err != nil {
		return fmt.Errorf("structure sync: %w", err)
	}
	return w.inDestination(ctx, func(tx pgx.Tx) (err error) {
		if err := createSchema(ctx, tx, w.replication, w.definition.SchemaName); err != nil {
			return err
		}
		w.run, err = catalog.StartRun(ctx, tx, w.replication, uuid.NewString())
		return err
	})
}

func createSchema(ctx context.Context, tx pgx.Tx, replication int64, name string) error {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", name).Scan(&exists); err != nil {
		return fmt.Errorf("look for schema %q: %w", name, err)
	}
	if exists {
		return nil
	}
	if _, err := tx.Exec(ctx, "CREATE SCHEMA "+postgres.Ident(name)); err != nil {
		return fmt.Errorf("create schema %q in the destination: %w", name, err)
	}
	return catalog.MarkSchemaCreated(ctx, tx, replication)
}

// reconnect makes both sessions ready. It replaces those that broke while the
// table before was copied.
func (w *worker) reconnect(ctx context.Context) error {
	if err := w.source.Renew(ctx); err != nil {
		return err
	}
	if w.sourceReady != w.source.Conn {
		if err := prepare(ctx, w.source.Conn, rowSecuritySQL); err != nil {
			return err
		}
		w.sourceReady = w.source.Conn
	}
	return w.reconnectDestination(ctx)
}

// reconnectDestination makes the session the only one that runs the replication.
func (w *worker) reconnectDestination(ctx context.Context) error {
	if err := w.destination.Renew(ctx); err != nil {
		return err
	}
	if w.destinationReady == w.destination.Conn {
		return nil
	}
	if err := prepare(ctx, w.destination.Conn, extensionPathSQL); err != nil {
		return err
	}
	if err := catalog.OpenSession(ctx, w.destination.Conn); err != nil {
		return err
	}
	if err := catalog.Lock(ctx, w.destination.Conn, w.replication); err != nil {
		return err
	}
	w.destinationReady = w.destination.Conn
	return nil
}

// unlock ends the session. The server would free the lock by itself, but only
// some time after it has been told goodbye.
func (w *worker) unlock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if w.destinationReady == w.destination.Conn && !w.destination.IsClosed() {
		_ = catalog.Unlock(ctx, w.destination.Conn, w.replication)
	}
	w.destination.Discard() // it may act as another role
}

// record writes to the catalog, even when ctx is cancelled or the connection broke.
func (w *worker) record(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := w.reconnectDestination(ctx); err != nil {
		return err
	}
	return w.inDestination(ctx, func(tx pgx.Tx) error { return f(ctx, tx) })
}

func (w *worker) inDestination(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, w.destination.Conn, f)
}

// finish records how the run ended.
func (w *worker) finish(ctx context.Context, run Run) (Run, error) {
	var failed []catalog.Report
	run.Status = catalog.Succeeded
	for _, report := range run.Tables {
		if report.Status == catalog.Failed {
			failed = append(failed, report)
		}
	}
	if len(failed) > 0 {
		run.Status = catalog.Failed
	}
	interrupted := ctx.Err() != nil && len(run.Tables) < len(w.definition.Tables)
	for _, report := range run.Tables {
		interrupted = interrupted || report.Status == catalog.Interrupted
	}
	if interrupted {
		run.Status = catalog.Interrupted
	}
	run.CompletedAt = time.Now()
	err := w.record(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		run.CompletedAt, err = catalog.FinishRun(ctx, tx, run.ID, run.Status)
		return err
	})
	switch {
	case interrupted:
		return run, nil // what could not be recorded is found by the next run
	case len(failed) > 0:
		return run, &TablesError{Reports: failed}
	}
	return run, err
}

// LastRun returns a recorded run by its id, or the latest one if the id is
// empty. It returns catalog.ErrNotFound, or catalog.ErrNone, if there is none.
func LastRun(ctx context.Context, destination postgres.Endpoint, schemaName, id string) (Run, error) {
	var run Run
	err := inCatalog(ctx, destination, func(tx pgx.Tx) error {
		stored, err := catalog.ReplicationOf(ctx, tx, schemaName)
		if err != nil {
			return err
		}
		if run.Run, err = catalog.RunOf(ctx, tx, stored.ID, id); err != nil {
			return err
		}
		run.Tables, err = catalog.Reports(ctx, tx, run.ID)
		return err
	})
	return run, err
}

// IsAnothers reports whether err says that the catalog belongs to a role that
// the login can not act as.
func IsAnothers(err error) bool {
	var owner *catalog.OwnerError
	return errors.As(err, &owner)
}

// IsGone reports whether err says that the catalog was read and does not hold
// what was looked for.
func IsGone(err error) bool {
	return errors.Is(err, catalog.ErrNone) || errors.Is(err, catalog.ErrNotFound)
}

func decode(stored catalog.Replication) (Definition, error) {
	var d Definition
	if err := json.Unmarshal(stored.Definition, &d); err != nil {
		return Definition{}, fmt.Errorf("read the definition of %q: %w", stored.SchemaName, err)
	}
	return d, nil
}

// The statuses of a run that a caller tells apart.
const (
	Succeeded   = catalog.Succeeded
	Interrupted = catalog.Interrupted
)
