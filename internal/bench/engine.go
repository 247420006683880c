package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
)

// An engine runs one replication.
type engine struct {
	bench       *bench
	servers     *pgclient.Servers
	destination pgclient.Endpoint
	definition  definition.Definition
}

// newEngine defines the replication of a dataset into a schema. connections bounds its connections
// to each server.
func (b *bench) newEngine(ctx context.Context, d dataset, schema string, connections int) (*engine, error) {
	return b.newEngineFrom(ctx, b.source.config(), d, schema, connections)
}

// newEngineFrom is newEngine with another connection to the source.
func (b *bench) newEngineFrom(ctx context.Context, source pgclient.Config, d dataset, schema string, connections int) (*engine, error) {
	loadsInto := b.destination.config()
	source.MaxConnections, loadsInto.MaxConnections = connections, connections
	e := &engine{bench: b}
	e.servers = pgclient.NewServers(map[string]pgclient.Config{"source": source, "destination": loadsInto})
	destination, _ := e.servers.Server("destination")
	e.destination = pgclient.Endpoint{Server: destination, Database: database}
	e.definition = definition.Definition{
		Name: schema, SchemaName: schema,
		Source:      definition.Endpoint{Server: "source", Database: database},
		Destination: definition.Endpoint{Server: "destination", Database: database},
		Tables:      map[string]definition.Selection{},
	}
	for _, t := range d.tables {
		e.definition.Tables["public."+t.name] = t.selection
	}
	return e, replication.Create(ctx, e.destination, e.definition, false, pgclient.Identity{})
}

// remove removes the replication, and its loaded tables unless keepTables.
func (e *engine) remove(ctx context.Context, keepTables bool) error {
	defer e.servers.Close()
	return replication.Delete(ctx, e.destination, e.definition.SchemaName, !keepTables)
}

// run is one sync run, with new connections.
func (e *engine) run(ctx context.Context) (measure, syncrun.Run, error) {
	runner := syncrun.Runner{Server: func(name string) (*pgclient.Server, error) {
		s, _ := e.servers.Server(name)
		return s, nil
	}}
	e.servers.Close()
	var run syncrun.Run
	m, err := e.bench.measure(ctx, func() (err error) {
		defer e.servers.Close()
		run, err = runner.Run(ctx, e.destination, e.definition.SchemaName)
		return err
	})
	if err == nil && run.Status != syncrun.Succeeded {
		err = fmt.Errorf("the run is %s", run.Status)
	}
	m.rows, m.tables = run.RowsExtracted(), len(run.Tables)
	for _, report := range run.Tables {
		m.bytes += report.Bytes
		m.report += report.Duration
	}
	return m, run, err
}

// runUnchanged is a run that finds nothing new. It counts the rows of the destination that the run
// wrote or locked.
func (e *engine) runUnchanged(ctx context.Context) (measure, error) {
	before, err := e.readState(ctx, 0)
	if err != nil {
		return measure{}, err
	}
	m, run, err := e.run(ctx)
	if err != nil {
		return measure{}, err
	}
	if run.RowsLoaded() != 0 {
		return measure{}, fmt.Errorf("nothing has changed, and the run loaded %d rows", run.RowsLoaded())
	}
	after, err := e.readState(ctx, before.transaction)
	m.heap = after.touched + max(before.rows-after.rows, 0)
	return m, err
}

// A tableState is the state of the tables of a schema.
type tableState struct {
	rows        int64
	touched     int64 // rows written or locked since a transaction
	transaction int64 // the next transaction
}

// readState reads the rows themselves: statistics arrive late, and do not count locked rows,
// although a lock writes to the row, too.
func (e *engine) readState(ctx context.Context, since int64) (s tableState, err error) {
	var parts []string
	for key := range e.definition.Tables {
		name, err := e.definition.TableNameOf(key)
		if err != nil {
			return tableState{}, err
		}
		parts = append(parts, "SELECT xmin, xmax FROM "+relation.TableName{Schema: e.definition.SchemaName, Name: name}.SQL())
	}
	err = e.bench.destination.conn.QueryRow(ctx, `
		SELECT count(*),
			count(*) FILTER (WHERE greatest(xmin::text::bigint, xmax::text::bigint) >= $1),
			txid_snapshot_xmax(txid_current_snapshot())
		FROM (`+strings.Join(parts, " UNION ALL ")+") AS all_rows", pgx.QueryExecModeSimpleProtocol, since).
		Scan(&s.rows, &s.touched, &s.transaction)
	return s, err
}
