package syncrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// A Run says what a sync run did. Its reports are in the order of the tables.
type Run struct {
	catalog.Run
	Tables []catalog.Report
	Notes  []string // what else is worth knowing about it
	// Missing are the tables that were loaded and still must be, and that the destination no
	// longer has. LastRun sets it.
	Missing []string
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
	Server func(name string) (*pgclient.Server, error)
	// Logger receives a message when a run starts and when a table is done. Nil logs nothing.
	Logger *slog.Logger
	// Verify says what is compared after loading, VerifyNone if it is empty.
	Verify string

	chunkRows   int           // 0: the default
	rangeBytes  int64         // 0: the default
	maxSnapshot time.Duration // 0: that of the definition
	lease       time.Duration // 0: the default
}

// maxStreams is how many tables, or ranges of a large one, are copied at once, if both
// servers' max_connections allow it.
const maxStreams = 4

// Run runs the replication into the schema schemaName of a destination. If
// tables failed, it returns the run and a *TablesError. If ctx was cancelled,
// it returns the run, with the status interrupted, and no error.
func (r Runner) Run(ctx context.Context, destination pgclient.Endpoint, schemaName string) (Run, error) {
	run, err := r.run(ctx, destination, schemaName)
	if err != nil {
		err = fmt.Errorf("run replication %q: %w", schemaName, err)
	}
	return run, err
}

func (r Runner) run(ctx context.Context, destination pgclient.Endpoint, schemaName string) (Run, error) {
	if err := destination.Server.RequireSessions(ctx, destination.Database); err != nil {
		return Run{}, err
	}
	stored, err := replication.Stored(ctx, destination, schemaName)
	if err != nil {
		return Run{}, err
	}
	d, err := replication.Decode(stored)
	if err != nil {
		return Run{}, err
	}
	source, leader, useful, err := r.begin(ctx, destination, stored.ID, d)
	if err != nil {
		return recordFailedStart(ctx, destination, stored.ID, d, err)
	}
	defer leader.sessions.Close(ctx)
	workers := []*worker{leader}
	for len(workers) < useful {
		helper, err := leader.newHelper(ctx, source, destination)
		if helper == nil {
			leader.Logger.InfoContext(ctx, "no further connection", "streams", len(workers), "reason", err)
			break
		}
		defer helper.sessions.Close(ctx)
		workers = append(workers, helper)
	}
	leader.Logger.InfoContext(ctx, "sync run started", "run", leader.Run.ID, "schema", schemaName, "tables", len(d.Tables), "streams", len(workers))
	for _, w := range workers {
		w.Streams = len(workers)
	}
	return complete(ctx, workers)
}

// complete does the rest of a run that has begun. The first of the workers leads it.
func complete(ctx context.Context, workers []*worker) (Run, error) {
	leader := workers[0]
	gaveUp := runWorkers(ctx, workers)
	return leader.finish(ctx, Run{Run: leader.Run, Notes: slices.Concat(gaveUp, leader.notes, leader.dropOrphanedStaging(ctx))}, strings.Join(gaveUp, "\n"))
}

// begin connects to both sides and starts the run. It returns its first worker, and how many
// workers are useful.
func (r Runner) begin(ctx context.Context, destination pgclient.Endpoint, id int64, d definition.Definition) (from pgclient.Endpoint, leader *worker, useful int, err error) {
	server, err := r.Server(d.Source.Server)
	if err != nil {
		return from, nil, 0, err
	}
	from = pgclient.Endpoint{Server: server, Database: d.Source.Database}
	if err := from.Server.RequireSessions(ctx, from.Database); err != nil {
		return from, nil, 0, err
	}
	leader = &worker{Job: tablesync.Job{
		Definition: d, Replication: id, Expiries: &sync.Map{}, Lease: cmp.Or(r.lease, tablesync.Lease), Logger: cmp.Or(r.Logger, slog.New(slog.DiscardHandler)),
		ChunkRows: cmp.Or(r.chunkRows, tablesync.ChunkRows), RangeBytes: cmp.Or(r.rangeBytes, source.RangeBytes),
		MaxSnapshot: cmp.Or(r.maxSnapshot, d.MaxSnapshot()),
	}}
	sourceConn, destinationConn, err := pgclient.AcquirePair(ctx, from, destination)
	if err != nil {
		return from, nil, 0, err
	}
	leader.sessions = tablesync.NewSessions(leader.Job, sourceConn, destinationConn)
	leader.sessions.Destination.Leads = id
	if useful, err = leader.start(ctx, cmp.Or(r.Verify, tablesync.VerifyNone)); err != nil {
		leader.sessions.Close(ctx)
		return from, nil, 0, err
	}
	return from, leader, useful, nil
}

// runWorkers lets the workers do the run's units, and returns why some stopped. Those leave
// their units to the others.
func runWorkers(ctx context.Context, workers []*worker) (notes []string) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() {
			err := w.processUnitsRecovering(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			w.queue.ReleaseUnits(ctx)
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, pgclient.Explain(err))
		})
	}
	group.Wait()
	return notes
}

// newHelper returns another worker of the run, or nil if no connection is left for it.
func (w *worker) newHelper(ctx context.Context, source, destination pgclient.Endpoint) (*worker, error) {
	sourceConn, destinationConn, err := pgclient.TryAcquirePair(ctx, source, destination)
	if sourceConn == nil {
		return nil, err
	}
	helper := &worker{Job: w.Job, sessions: tablesync.NewSessions(w.Job, sourceConn, destinationConn)}
	helper.sessions.Source.Identity, helper.sessions.Source.Follows = w.sessions.Source.Identity, true
	helper.queue = &tablesync.Queue{Sessions: helper.sessions, Run: w.Run.ID}
	return helper, nil
}

// start makes this session the one that runs the replication, does the structure sync, and
// divides the run into units. It returns how many workers are useful.
func (w *worker) start(ctx context.Context, verify string) (useful int, err error) {
	if err := w.sessions.Reconnect(ctx); err != nil {
		return 0, err
	}
	relations, err := w.readRelations(ctx)
	if err != nil {
		return 0, fmt.Errorf("structure sync: %w", err)
	}
	err = w.sessions.Destination.In(ctx, func(tx pgx.Tx) error {
		before, err := w.checkDefinition(ctx, tx)
		if err != nil {
			return err
		}
		if err := w.checkSourceIdentity(before); err != nil {
			return err
		}
		var loaded []string
		if w.sessions.Source.Identity.System == before { // else all tables are read again
			if loaded, err = catalog.ReadyTables(ctx, tx, w.Replication); err != nil {
				return err
			}
		}
		note, err := replication.OpenSchema(ctx, tx, w.Replication, w.Definition.SchemaName)
		if err != nil {
			return err
		}
		if note != "" {
			w.notes = append(w.notes, note)
		}
		var units []catalog.Unit
		units, useful = w.planUnits(relations, loaded, verify)
		w.Run.ID = uuid.NewString()
		w.queue = &tablesync.Queue{Sessions: w.sessions, Run: w.Run.ID}
		return pgclient.Send(ctx, tx, "begin the run", func(batch *pgx.Batch) {
			catalog.QueueStart(batch, w.Replication, &w.Run)
			catalog.QueueSourceSystem(batch, w.Replication, cmp.Or(w.sessions.Source.Identity.System, before))
			catalog.QueueTables(batch, w.Run.ID, units)
		})
	})
	if err != nil {
		return 0, err
	}
	// Now that the units of earlier runs are gone, their workers cannot commit.
	return useful, w.sessions.Destination.In(ctx, func(tx pgx.Tx) error {
		_, err := destination.DropOrphanedStaging(ctx, tx, w.Definition.SchemaName) // the end of the run reports what it keeps
		return err
	})
}

// readRelations reads which tables the source has, and how large they are. The sizes are
// estimates if another session's lock on a table prevents reading them exactly.
func (w *worker) readRelations(ctx context.Context) (relations map[relation.TableName]relation.Relation, err error) {
	for _, exactly := range []bool{true, false} {
		err = w.sessions.Source.Session.Read(ctx, func(tx pgx.Tx) error {
			relations, err = relation.ReadRelations(ctx, tx, w.Definition.SourceTables(), exactly)
			return err
		})
		if pgclient.Code(err) != pgclient.LockNotAvailable {
			break
		}
	}
	return relations, err
}

// checkDefinition refuses a definition that is no longer the stored one, now that the
// replication is locked: the run that this one waited for may already have followed the new
// definition. It returns the cluster that earlier runs read.
func (w *worker) checkDefinition(ctx context.Context, tx pgx.Tx) (sourceSystem string, err error) {
	stored, err := catalog.ReplicationOf(ctx, tx, w.Definition.SchemaName)
	if err != nil {
		return "", err
	}
	now, err := replication.Decode(stored)
	if err != nil {
		return "", err
	}
	now.Readers = w.Definition.Readers // a run reads them when it grants something
	if stored.ID != w.Replication || !reflect.DeepEqual(now, w.Definition) {
		return "", errors.New("the definition was changed while this run began: run the replication again")
	}
	return stored.SourceSystem, nil
}

// checkSourceIdentity refuses another cluster than the one that earlier runs read, unless the
// definition names it.
func (w *worker) checkSourceIdentity(before string) error {
	if err := w.Definition.RefuseCluster(w.sessions.Source.Identity.System, before); err != nil {
		return fmt.Errorf("%w. Nothing was changed", err)
	}
	return nil
}

// tablesPerStream is the number of small tables from which another worker is useful.
const tablesPerStream = 4

// planUnits makes a unit of each table, the largest first. It expects few rows from tables
// that were loaded and have a replication key, whatever their size.
func (w *worker) planUnits(relations map[relation.TableName]relation.Relation, loaded []string, verify string) (units []catalog.Unit, useful int) {
	keys, bytes := w.Definition.Keys(), int64(0)
	relation := func(key string) relation.Relation {
		name, _ := relation.ParseTableName(key) // a key that cannot be parsed names no table that exists
		return relations[name]
	}
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(relation(b).Bytes, relation(a).Bytes) })
	for _, key := range keys {
		units = append(units, catalog.Unit{Table: key, Kind: string(relation(key).Kind), Verify: verify})
		name, _ := w.Definition.TableNameOf(key) // a key without a name was never loaded
		if w.Definition.Tables[key].Method == definition.FullTable || !slices.Contains(loaded, name) {
			bytes += relation(key).Bytes
		}
	}
	return units, int(min(maxStreams, max(bytes/w.RangeBytes, int64(len(keys)/tablesPerStream), 1)))
}

// The statuses of a run that callers tell apart.
const (
	Succeeded   = catalog.Succeeded
	Interrupted = catalog.Interrupted
)
