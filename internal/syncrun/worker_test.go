package syncrun

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// Workers read large tables in ranges, and several small ones at once, and leave nothing
// behind but the tables.
func TestStreams(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, shared *sandbox.Server) {
		// Transactions of other tests that are open while a table is loaded make the run read more
		// rows again.
		s := sandbox.OwnServer(t, sandbox.Config{Major: shared.Major})
		e := newEnv(t, s, s)
		e.servers = e.newServers(t, 4)
		e.runs.rangeBytes = 100 << 10
		e.atSource(t, `
			CREATE TABLE keyed (id int PRIMARY KEY, v text); INSERT INTO keyed SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
			CREATE TABLE keyless (v text); INSERT INTO keyless SELECT md5((g % 1000)::text) FROM generate_series(1, 20000) g;
			CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
			CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (15000); CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (15000) TO (99999);
			INSERT INTO parted SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
			CREATE TABLE toasted (id int PRIMARY KEY, v text); ALTER TABLE toasted ALTER v SET STORAGE EXTERNAL; INSERT INTO toasted SELECT g, repeat('x', 100000) FROM generate_series(1, 20) g;
			CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1);
			CREATE TABLE empty (id int)`)
		tables := []string{"keyed", "keyless", "parted", "toasted", "small", "empty"}
		for _, name := range tables {
			e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
		}
		e.atSource(t, `CREATE TABLE queue (id serial PRIMARY KEY, v text); INSERT INTO queue (v) SELECT md5(g::text) FROM generate_series(1, 20000) g`)
		e.definition.Tables["public.queue"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		var streams any
		e.onProgress(func(message string, fields map[string]any) {
			if message == "sync run started" {
				streams = fields["streams"]
			}
		})
		e.create(t)
		for _, change := range []string{``, `UPDATE keyed SET v = 'new' WHERE id % 100 = 0; DELETE FROM keyed WHERE id > 19000;
			DELETE FROM keyless WHERE ctid IN (SELECT ctid FROM keyless LIMIT 500); INSERT INTO parted VALUES (20001, 'x'); INSERT INTO queue (v) VALUES ('new')`} {
			e.atSource(t, change)
			run := e.run(t)
			if streams != int64(4) {
				t.Errorf("%v streams", streams)
			}
			for _, name := range append(tables, "queue") {
				e.wantSame(t, name)
			}
			if got := report(run, "public.queue"); got.Bookmark < "20000" || got.Bookmark == "20001" && got.RowsExtracted > 10000 {
				t.Errorf("the report on queue: %+v", got)
			}
			if got := report(run, "public.parted"); got.RowsExtracted < 20000 {
				t.Errorf("the report on parted counts %d rows", got.RowsExtracted)
			}
		}
		e.wantRows(t, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'shop' AND relkind = 'r'`, "7")
		e.wantRows(t, `SELECT count(*) FROM _stitch.unit`, "0")
		e.wantRows(t, `SELECT count(*) FROM shop.keyed WHERE _sdc_table_version IS NULL OR _sdc_received_at IS NULL`, "0")
	})
}

// Only a table that is read whole, or many tables, make several workers useful.
func TestDivide(t *testing.T) {
	t.Parallel()
	w := &worker{Job: tablesync.Job{RangeBytes: 100, Definition: definition.Definition{Tables: map[string]definition.Selection{
		"public.a": {Method: definition.FullTable}, "public.b": {Method: definition.Incremental, ReplicationKey: "id", TableName: "other"},
	}}}}
	table := func(name string) relation.TableName { return relation.TableName{Schema: "public", Name: name} }
	for _, test := range []struct {
		a, b   int64
		loaded []string
		want   int
	}{
		{0, 0, nil, 1},
		{250, 0, []string{"a"}, 2},
		{250, 250, nil, 4},
		{0, 900, nil, 4},
		{0, 900, []string{"a", "b"}, 4},
		{0, 900, []string{"a", "other"}, 1},
	} {
		relations := map[relation.TableName]relation.Relation{table("a"): {Bytes: test.a}, table("b"): {Bytes: test.b}}
		if units, useful := w.planUnits(relations, test.loaded, tablesync.VerifyNone); len(units) != 2 || useful != test.want {
			t.Errorf("%+v: %d units, %d workers of use", test, len(units), useful)
		}
	}
}

// The catalog has what a worker needs: a worker with connections of its own does the units of
// a run that another process began.
func TestUnitsElsewhere(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, 'v' FROM generate_series(1, 50) g; CREATE TABLE b (id int); INSERT INTO b VALUES (1)`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.definition.Tables["public.b"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	leader := newWorker(t, e, catalog.Run{})
	leader.sessions.Destination.Leads = leader.Replication
	if _, err := leader.start(t.Context(), tablesync.VerifyNone); err != nil {
		t.Fatal(err)
	}
	if units := s.Query(t, e.destinationDatabase, `SELECT source_table FROM _stitch.unit ORDER BY id`); len(units) != 2 {
		t.Fatalf("units %s", units)
	}

	other := newWorker(t, e, leader.Run)
	if err := other.processUnits(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.wantRows(t, `SELECT source_table, status FROM _stitch.report ORDER BY 1`, "public.a|succeeded", "public.b|succeeded")
	e.wantSame(t, "a")
	e.wantSame(t, "b")
}

// shortLease is the lease of tests that wait until it has run out.
const shortLease = 2 * time.Second

// newWorker returns a worker that shares nothing with others but the catalog.
func newWorker(t *testing.T, e *env, run catalog.Run) *worker {
	t.Helper()
	return workerOf(t, e.newServers(t, 1), e.definition.Destination, e.definition.SchemaName, run)
}

// workerOf returns a worker made from what a process knows that has the name of a replication
// and, for a run in progress, its id.
func workerOf(t *testing.T, servers *pgclient.Servers, at definition.Endpoint, schema string, run catalog.Run) *worker {
	t.Helper()
	server, _ := servers.Server(at.Server)
	destination := pgclient.Endpoint{Server: server, Database: at.Database}
	stored, err := replication.Stored(t.Context(), destination, schema)
	if err != nil {
		t.Fatal(err)
	}
	d, err := replication.Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	source, _ := servers.Server(d.Source.Server)
	w := &worker{Job: tablesync.Job{
		Definition: d, Replication: stored.ID, Run: run, Expiries: &sync.Map{}, Lease: shortLease, Logger: slog.New(slog.DiscardHandler),
		Streams: 1, ChunkRows: tablesync.ChunkRows, RangeBytes: 500 << 10,
	}}
	sourceConn, destinationConn, err := pgclient.AcquirePair(t.Context(), pgclient.Endpoint{Server: source, Database: d.Source.Database}, destination)
	if err != nil {
		t.Fatal(err)
	}
	w.sessions = tablesync.NewSessions(w.Job, sourceConn, destinationConn)
	w.queue = &tablesync.Queue{Sessions: w.sessions, Run: run.ID}
	t.Cleanup(func() { w.sessions.Close(context.WithoutCancel(t.Context())) })
	return w
}

// claimTable begins a run, in which it claims a table that has a column id, and creates the
// staging table for its ranges.
func (e *env) claimTable(t *testing.T) (*worker, catalog.Unit) {
	t.Helper()
	leader := newWorker(t, e, catalog.Run{})
	leader.sessions.Destination.Leads = leader.Replication
	if _, err := leader.start(t.Context(), tablesync.VerifyNone); err != nil {
		t.Fatal(err)
	}
	table, err := leader.queue.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	e.atDestination(t, fmt.Sprintf(`SET ROLE %s; CREATE TABLE shop._sdc_loading_%d_1 AS SELECT * FROM (VALUES (1, 'x')) AS v (id, v) LIMIT 0`, e.writer, table.ID))
	return leader, table
}

// plantRange records a range of a table in the catalog, and claims it.
func (e *env) plantRange(t *testing.T, w *worker, table catalog.Unit, values string) catalog.Unit {
	t.Helper()
	e.atDestination(t, fmt.Sprintf(`
		INSERT INTO _stitch.unit (run, part_of, source_table, snapshot, first_page, end_page, table_attempt, as_text)
		SELECT run, id, %s, 1, false FROM _stitch.unit WHERE id = %d`, values, table.ID))
	unit, err := w.queue.Claim(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return unit
}

// exportSnapshot exports a snapshot of a session, which holds it from then on.
func exportSnapshot(t *testing.T, conn *pgx.Conn) (name string) {
	t.Helper()
	pgtest.Do(t, conn, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	if err := conn.QueryRow(t.Context(), `SELECT pg_export_snapshot()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}

// A worker whose unit another attempt or another run has taken over cannot commit.
func TestFence(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	for name, takeOver := range map[string]string{
		"another attempt": `UPDATE _stitch.unit SET attempt = attempt + 1`,
		"another run":     `DELETE FROM _stitch.unit`,
	} {
		e.definition.SchemaName = "shop" + fmt.Sprint(len(name))
		e.create(t)
		leader := newWorker(t, e, catalog.Run{})
		leader.sessions.Destination.Leads = leader.Replication
		if _, err := leader.start(t.Context(), tablesync.VerifyNone); err != nil {
			t.Fatal(err)
		}
		unit, err := leader.queue.Claim(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		e.atDestination(t, takeOver)
		got := tablesync.SyncTable(t.Context(), leader.Job, leader.sessions, leader.queue, unit)
		if why, _, _ := strings.Cut(got.Error, "\n"); got.Status != catalog.Failed || !strings.Contains(why, catalog.ErrFenced.Error()) {
			t.Errorf("%s: %+v", name, got)
		}
		e.wantRows(t, `SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'a' AND nspname = '`+e.definition.SchemaName+`'`)
	}
}

// A connection that is lost in COMMIT does not say whether rows are there. The run asks the
// destination, and its report says what happened.
func TestUnknownCommit(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, committed := range map[string]bool{"committed": true, "rolled back": false} {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 10)`)
		e.definition.Tables["public.a"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		proxy := newProxy(t, s)
		proxy.cutCommit(committed)
		e.loadThrough(t, proxy)
		got := report(e.run(t), "public.a")
		if got.RowsExtracted != 10 || got.RowsLoaded != 10 || got.Bookmark != "10" || got.Status != catalog.Succeeded {
			t.Errorf("%s: %+v", name, got)
		}
		if cut := proxy.cuts.Load(); cut != 1 {
			t.Errorf("%s: %d connections were cut", name, cut)
		}
		e.wantSame(t, "a")
		e.wantRows(t, `SELECT rows_extracted, rows_loaded, status FROM _stitch.report`, "10|10|succeeded")
	}
}

// A run that is cancelled while it commits reports what was committed as committed.
func TestCancelledInCommit(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 10)`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	proxy := newProxy(t, s)
	proxy.cutCommit(true)
	e.loadThrough(t, proxy)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := e.start(ctx)
	for proxy.cuts.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if got := report((<-done).run, "public.a"); got.Status != catalog.Succeeded || got.RowsLoaded != 10 {
		t.Errorf("%+v", got)
	}
	e.wantRows(t, `SELECT status, rows_loaded FROM _stitch.report`, "succeeded|10")
	e.wantRows(t, `SELECT count(*) FROM shop.a`, "10")
}
