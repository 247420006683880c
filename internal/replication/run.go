package replication

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
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
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
	stored, err := find(ctx, destination, schemaName)
	if err != nil {
		return Run{}, err
	}
	definition, err := decode(stored)
	if err != nil {
		return Run{}, err
	}
	source, leader, useful, err := r.begin(ctx, destination, stored.ID, definition)
	if err != nil {
		return recordUnbegun(ctx, destination, stored.ID, definition, err)
	}
	defer leader.sessions.close(ctx)
	workers := []*worker{leader}
	for len(workers) < useful {
		helper, err := leader.helper(ctx, source, destination)
		if helper == nil {
			leader.logger.InfoContext(ctx, "no further connection", "streams", len(workers), "reason", err)
			break
		}
		defer helper.sessions.close(ctx)
		workers = append(workers, helper)
	}
	leader.logger.InfoContext(ctx, "sync run started", "run", leader.run.ID, "schema", schemaName, "tables", len(definition.Tables), "streams", len(workers))
	for _, w := range workers {
		w.streams = len(workers)
	}
	return complete(ctx, workers)
}

// complete does the rest of a run that has begun. The first of the workers leads it.
func complete(ctx context.Context, workers []*worker) (Run, error) {
	leader := workers[0]
	gaveUp := runWorkers(ctx, workers)
	return leader.finish(ctx, Run{Run: leader.run, Notes: slices.Concat(gaveUp, leader.notes, leader.dropOrphanedStaging(ctx))}, strings.Join(gaveUp, "\n"))
}

// begin connects to both sides and starts the run. It returns its first worker, and how many
// workers are useful.
func (r Runner) begin(ctx context.Context, destination pgclient.Endpoint, id int64, definition Definition) (source pgclient.Endpoint, leader *worker, useful int, err error) {
	server, err := r.Server(definition.Source.Server)
	if err != nil {
		return source, nil, 0, err
	}
	source = pgclient.Endpoint{Server: server, Database: definition.Source.Database}
	if err := source.Server.RequireSessions(ctx, source.Database); err != nil {
		return source, nil, 0, err
	}
	leader = &worker{job: job{
		definition: definition, replication: id, expiries: &sync.Map{}, lease: cmp.Or(r.lease, lease), logger: cmp.Or(r.Logger, slog.New(slog.DiscardHandler)),
		chunkRows: cmp.Or(r.chunkRows, chunkRows), rangeBytes: cmp.Or(r.rangeBytes, rangeBytes),
		maxSnapshot: cmp.Or(r.maxSnapshot, definition.maxSnapshot()),
	}}
	sourceConn, destinationConn, err := pgclient.AcquirePair(ctx, source, destination)
	if err != nil {
		return source, nil, 0, err
	}
	leader.sessions = newSessions(leader.job, sourceConn, destinationConn)
	leader.sessions.destination.leads = id
	if useful, err = leader.start(ctx, cmp.Or(r.Verify, VerifyNone)); err != nil {
		leader.sessions.close(ctx)
		return source, nil, 0, err
	}
	return source, leader, useful, nil
}

// runWorkers lets the workers do the run's units, and returns why some stopped. Those leave
// their units to the others.
func runWorkers(ctx context.Context, workers []*worker) (notes []string) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() {
			err := w.survive(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			w.queue.leave(ctx)
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, pgclient.Explain(err))
		})
	}
	group.Wait()
	return notes
}

// helper returns another worker of the run, or nil if no connection is left for it.
func (w *worker) helper(ctx context.Context, source, destination pgclient.Endpoint) (*worker, error) {
	sourceConn, destinationConn, err := pgclient.TryAcquirePair(ctx, source, destination)
	if sourceConn == nil {
		return nil, err
	}
	helper := &worker{job: w.job, sessions: newSessions(w.job, sourceConn, destinationConn)}
	helper.sessions.source.identity, helper.sessions.source.follows = w.sessions.source.identity, true
	helper.queue = &queue{sessions: helper.sessions, run: w.run.ID}
	return helper, nil
}

// start makes this session the one that runs the replication, does the structure sync, and
// divides the run into units. It returns how many workers are useful.
func (w *worker) start(ctx context.Context, verify string) (useful int, err error) {
	if err := w.sessions.reconnect(ctx); err != nil {
		return 0, err
	}
	relations, err := w.readRelations(ctx)
	if err != nil {
		return 0, fmt.Errorf("structure sync: %w", err)
	}
	err = w.sessions.destination.in(ctx, func(tx pgx.Tx) error {
		before, err := w.sameDefinition(ctx, tx)
		if err != nil {
			return err
		}
		if err := w.accept(before); err != nil {
			return err
		}
		var loaded []string
		if w.sessions.source.identity.system == before { // else all tables are read again
			if loaded, err = catalog.ReadyTables(ctx, tx, w.replication); err != nil {
				return err
			}
		}
		note, err := openSchema(ctx, tx, w.replication, w.definition.SchemaName)
		if err != nil {
			return err
		}
		if note != "" {
			w.notes = append(w.notes, note)
		}
		var units []catalog.Unit
		units, useful = w.divide(relations, loaded, verify)
		w.run.ID = uuid.NewString()
		w.queue = &queue{sessions: w.sessions, run: w.run.ID}
		return pgclient.Send(ctx, tx, "begin the run", func(batch *pgx.Batch) {
			catalog.QueueStart(batch, w.replication, &w.run)
			catalog.QueueSourceSystem(batch, w.replication, cmp.Or(w.sessions.source.identity.system, before))
			catalog.QueueTables(batch, w.run.ID, units)
		})
	})
	if err != nil {
		return 0, err
	}
	// Now that the units of earlier runs are gone, their workers cannot commit.
	return useful, w.sessions.destination.in(ctx, func(tx pgx.Tx) error {
		_, err := dropOrphanedStaging(ctx, tx, w.definition.SchemaName) // the end of the run reports what it keeps
		return err
	})
}

// readRelations reads which tables the source has, and how large they are. The sizes are
// estimates if another session's lock on a table prevents reading them exactly.
func (w *worker) readRelations(ctx context.Context) (relations map[relation.TableName]relation.Relation, err error) {
	for _, exactly := range []bool{true, false} {
		err = w.sessions.source.session.read(ctx, func(tx pgx.Tx) error {
			relations, err = relation.ReadRelations(ctx, tx, w.definition.sourceTables(), exactly)
			return err
		})
		if pgclient.Code(err) != pgclient.LockNotAvailable {
			break
		}
	}
	return relations, err
}

// sameDefinition refuses a definition that is no longer the stored one, now that the
// replication is locked: the run that this one waited for may already have followed the new
// definition. It returns the cluster that earlier runs read.
func (w *worker) sameDefinition(ctx context.Context, tx pgx.Tx) (sourceSystem string, err error) {
	stored, err := catalog.ReplicationOf(ctx, tx, w.definition.SchemaName)
	if err != nil {
		return "", err
	}
	now, err := decode(stored)
	if err != nil {
		return "", err
	}
	now.Readers = w.definition.Readers // a run reads them when it grants something
	if stored.ID != w.replication || !reflect.DeepEqual(now, w.definition) {
		return "", errors.New("the definition was changed while this run began: run it again")
	}
	return stored.SourceSystem, nil
}

// accept refuses another cluster than the one that earlier runs read, unless the definition
// names it.
func (w *worker) accept(before string) error {
	if err := w.definition.RefuseCluster(w.sessions.source.identity.system, before); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	return nil
}

// tablesPerStream is the number of small tables from which another worker is useful.
const tablesPerStream = 4

// divide makes a unit of each table, the largest first. It expects few rows from tables that
// were loaded and have a replication key, whatever their size.
func (w *worker) divide(relations map[relation.TableName]relation.Relation, loaded []string, verify string) (units []catalog.Unit, useful int) {
	keys, bytes := w.definition.keys(), int64(0)
	relation := func(key string) relation.Relation {
		name, _ := relation.ParseTableName(key) // a key that cannot be parsed names no table that exists
		return relations[name]
	}
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(relation(b).Bytes, relation(a).Bytes) })
	for _, key := range keys {
		units = append(units, catalog.Unit{Table: key, Kind: string(relation(key).Kind), Verify: verify})
		name, _ := w.definition.TableNameOf(key) // a key without a name was never loaded
		if w.definition.Tables[key].Method == FullTable || !slices.Contains(loaded, name) {
			bytes += relation(key).Bytes
		}
	}
	return units, int(min(maxStreams, max(bytes/w.rangeBytes, int64(len(keys)/tablesPerStream), 1)))
}

// The statuses of a run that callers tell apart.
const (
	Succeeded   = catalog.Succeeded
	Interrupted = catalog.Interrupted
)
