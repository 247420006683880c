package syncrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// env is a source and a destination, and a definition between them. The login of each has no
// more privileges than the documented grants give.
type env struct {
	source, destination                 *sandbox.Server
	sourcePort, destinationPort         int // at which the engine reaches them
	sourceDatabase, destinationDatabase string
	reader, writer                      string // the roles
	servers                             *pgclient.Servers
	definition                          definition.Definition
	adopt                               bool
	runs                                Runner // what its runs are like
}

// newEnv prepares two empty databases and grants a role what a user of the product would
// grant.
func newEnv(t *testing.T, source, destination *sandbox.Server) *env {
	t.Helper()
	e := &env{source: source, destination: destination, sourceDatabase: source.Database(t), destinationDatabase: destination.Database(t)}
	e.sourcePort, e.destinationPort = source.Port, destination.Port
	e.reader, e.writer = source.Role(t), destination.Role(t)
	source.Exec(t, e.sourceDatabase, `
		GRANT USAGE ON SCHEMA public TO `+e.reader+`;
		ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO `+e.reader)
	destination.Exec(t, e.destinationDatabase, `GRANT CREATE, CONNECT, TEMPORARY ON DATABASE `+e.destinationDatabase+` TO `+e.writer)
	e.servers = e.newServers(t, 1)
	e.definition = definition.Definition{
		Name: "Shop", SchemaName: "shop",
		Source:      definition.Endpoint{Server: "source", Database: e.sourceDatabase},
		Destination: definition.Endpoint{Server: "destination", Database: e.destinationDatabase},
		Tables:      map[string]definition.Selection{},
	}
	return e
}

// newServers returns the servers as another process would have them, with that many
// connections each.
func (e *env) newServers(t *testing.T, connections int) *pgclient.Servers {
	servers := pgclient.NewServers(map[string]pgclient.Config{
		"source":      {Host: e.source.Host, Port: e.sourcePort, Username: e.reader, Password: e.source.Password, MaxConnections: connections},
		"destination": {Host: e.destination.Host, Port: e.destinationPort, Username: e.writer, Password: e.destination.Password, MaxConnections: connections},
	})
	t.Cleanup(servers.Close)
	return servers
}

// ignoreLateCommits turns off the search for late commits, so that how many rows are extracted
// does not depend on other activity of the server.
func (e *env) ignoreLateCommits() { e.definition.LateCommitWindow = new(time.Duration) }

func (e *env) endpoint() pgclient.Endpoint {
	server, _ := e.servers.Server("destination")
	return pgclient.Endpoint{Server: server, Database: e.destinationDatabase}
}

func (e *env) runner() Runner {
	r := e.runs
	r.Server = func(name string) (*pgclient.Server, error) {
		server, ok := e.servers.Server(name)
		if !ok {
			return nil, errors.New("no server " + name)
		}
		return server, nil
	}
	return r
}

func (e *env) create(t *testing.T) {
	t.Helper()
	if err := replication.Create(t.Context(), e.endpoint(), e.definition, e.adopt, pgclient.Identity{}); err != nil {
		t.Fatal(pgclient.Explain(err))
	}
}

func (e *env) run(t *testing.T) Run {
	t.Helper()
	run, err := e.tryRun(t.Context())
	if err != nil {
		t.Fatal(pgclient.Explain(err))
	}
	return run
}

func (e *env) tryRun(ctx context.Context) (Run, error) {
	return e.runner().Run(ctx, e.endpoint(), e.definition.SchemaName)
}

// A result says how a run ended.
type result struct {
	run Run
	err error
}

// onProgress calls f for each message of the log.
func (e *env) onProgress(f func(message string, fields map[string]any)) {
	e.runs.Logger = slog.New(progress(f))
}

// A progress handles log records.
type progress func(message string, fields map[string]any)

func (progress) Enabled(context.Context, slog.Level) bool { return true }
func (p progress) WithAttrs([]slog.Attr) slog.Handler     { return p }
func (p progress) WithGroup(string) slog.Handler          { return p }

func (p progress) Handle(_ context.Context, record slog.Record) error {
	fields := map[string]any{}
	record.Attrs(func(a slog.Attr) bool {
		fields[a.Key] = a.Value.Any()
		return true
	})
	p(record.Message, fields)
	return nil
}

// start begins a run, which has a minute to end.
func (e *env) start(ctx context.Context) chan result {
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	go func() {
		defer cancel()
		run, err := e.tryRun(ctx)
		if err == nil && ctx.Err() != nil {
			err = fmt.Errorf("the run hung: %v", run.Tables)
		}
		done <- result{run, err}
	}()
	return done
}

// session opens a session at the source that the test controls.
func (e *env) session(t *testing.T) *pgx.Conn {
	t.Helper()
	return pgtest.Connect(t, e.source, e.sourceDatabase)
}

// sessionAtDestination is session for the destination.
func (e *env) sessionAtDestination(t *testing.T) *pgx.Conn {
	t.Helper()
	return pgtest.Connect(t, e.destination, e.destinationDatabase)
}

// lead makes a session the one that runs the replication, as another run would.
func (e *env) lead(t *testing.T) *pgx.Conn {
	t.Helper()
	conn := e.sessionAtDestination(t)
	id := e.destination.Query(t, e.destinationDatabase, `SELECT id FROM _stitch.replication WHERE schema_name = $1`, e.definition.SchemaName)[0]
	replication, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	session, err := catalog.BeginSession(t.Context(), conn, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := catalog.Lock(t.Context(), conn, replication, session); err != nil {
		t.Fatal(err)
	}
	return conn
}

func (e *env) atSource(t *testing.T, sql string) {
	t.Helper()
	e.source.Exec(t, e.sourceDatabase, sql)
}

func (e *env) atDestination(t *testing.T, sql string) {
	t.Helper()
	e.destination.Exec(t, e.destinationDatabase, sql)
}

// wantSame fails unless the table holds the same rows on both sides, compared by EXCEPT ALL
// both ways over the text of all columns of the source.
func (e *env) wantSame(t *testing.T, table string, columns ...string) {
	t.Helper()
	if len(columns) == 0 {
		columns = e.source.Query(t, e.sourceDatabase, `
			SELECT attname FROM pg_catalog.pg_attribute
			WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, "public."+table)
	}
	differences, err := sandbox.Differences(t.Context(),
		sandbox.Rows{Server: e.source, Database: e.sourceDatabase, Table: "public." + table, Columns: columns},
		sandbox.Rows{Server: e.destination, Database: e.destinationDatabase, Table: e.definition.SchemaName + "." + table, Columns: columns}, 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(differences) > 0 {
		t.Errorf("%s differs (- only at the source, + only in the destination): %q", table, differences)
	}
}

func (e *env) wantRows(t *testing.T, query string, want ...string) {
	t.Helper()
	if got := e.destination.Query(t, e.destinationDatabase, query); !slices.Equal(got, want) {
		t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func report(run Run, key string) catalog.Report {
	for _, r := range run.Tables {
		if r.SourceTable == key {
			return r
		}
	}
	return catalog.Report{}
}
