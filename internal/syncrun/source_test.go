package syncrun

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// readFrom makes the engine read the source at another address than the one that the test
// writes to.
func (e *env) readFrom(t *testing.T, host string, port int) {
	e.servers = pgclient.NewServers(map[string]pgclient.Config{
		"source":      {Host: host, Port: port, Username: e.reader, Password: e.source.Password, SSLMode: "disable"},
		"destination": {Host: e.destination.Host, Port: e.destination.Port, Username: e.writer, Password: e.destination.Password},
	})
	t.Cleanup(e.servers.Close)
}

// A standby can be a source: late commits are found on it too, the report says what it does
// not know, and the engine retries what conflicts with its recovery.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := sandbox.OwnServer(t, sandbox.Config{Settings: map[string]string{"autovacuum": "off", "wal_level": "replica", "max_wal_senders": "5"}})
	standby := sandbox.OwnServer(t, sandbox.Config{StandbyOf: primary, Settings: map[string]string{"max_standby_streaming_delay": "0"}})
	e := newEnv(t, primary, sandbox.Shared(t, 0))
	e.readFrom(t, standby.Host, standby.Port)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO t SELECT FROM generate_series(1, 10);
		CREATE TABLE u AS TABLE t; ALTER TABLE u ADD PRIMARY KEY (id); ALTER TABLE u ALTER at SET DEFAULT now();
		CREATE TABLE large (id int, v text); INSERT INTO large SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
		CREATE TABLE base (id int, slow boolean); INSERT INTO base SELECT g, true FROM generate_series(1, 3) g;
		CREATE VIEW v AS SELECT id, CASE WHEN slow THEN pg_sleep(2) IS NULL END AS slept FROM base`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.definition.Tables["public.u"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
	e.definition.Tables["public.large"] = definition.Selection{Method: definition.FullTable}
	e.runs.rangeBytes = 100 << 10 // several workers share one snapshot of the standby
	e.create(t)
	standby.Follow(t, e.source)
	notes := report(e.run(t), "public.t").Notes
	if len(notes) != 1 || !strings.Contains(notes[0], "the source is a standby") {
		t.Errorf("notes %q", notes)
	}
	late := e.session(t)
	pgtest.Do(t, late, `BEGIN; INSERT INTO t (at) VALUES (now()); INSERT INTO u VALUES (1000, now())`)
	e.atSource(t, `INSERT INTO t (at) VALUES (now()); INSERT INTO u VALUES (1001, now())`)
	standby.Follow(t, e.source)
	e.run(t)
	pgtest.Do(t, late, `COMMIT`)
	standby.Follow(t, e.source)
	run := e.run(t)
	for _, table := range []string{"t", "u", "large"} {
		e.wantSame(t, table)
	}
	if notes := report(run, "public.u").Notes; len(notes) > 0 {
		t.Errorf("notes on a key that is a time: %q", notes)
	}

	e.definition.Tables = map[string]definition.Selection{"public.v": {Method: definition.FullTable}}
	if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	done := make(chan Run, 1)
	go func() {
		run, err := e.tryRun(t.Context())
		if err != nil {
			t.Error(pgclient.Explain(err))
		}
		done <- run
	}()
	pgtest.Await(t, standby, e.sourceDatabase, `SELECT FROM pg_stat_activity WHERE usename = '`+e.reader+`' AND wait_event = 'PgSleep'`, 1)
	e.atSource(t, `DELETE FROM base WHERE slow; INSERT INTO base VALUES (7, false)`)
	e.atSource(t, `VACUUM base`)
	if got := report(<-done, "public.v"); got.Status != catalog.Succeeded || got.RowsExtracted != 1 {
		t.Errorf("%+v", got)
	}
	if log, err := standby.Log(); err != nil || !strings.Contains(log, "conflict with recovery") {
		t.Errorf("there was no conflict: %v", err)
	}
	e.wantSame(t, "v")
}

// Another cluster at the same address is refused until the definition names it.
func TestSourceIdentity(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		e.atDestination(t, `UPDATE _stitch.replication SET source_system = '123'; UPDATE _stitch.loaded_table SET source = '123/1'`)
		e.atSource(t, `DELETE FROM t`)
		identifier := s.Query(t, "postgres", `SELECT system_identifier FROM pg_control_system()`)[0]
		_, err := e.tryRun(t.Context())
		if err == nil || !strings.Contains(err.Error(), `accept_source_identity = "`+identifier+`"`) || !strings.Contains(err.Error(), "123") {
			t.Fatalf("got %v", err)
		}
		e.wantRows(t, `SELECT id FROM shop.t`, "1")
		before := e.definition.Revision()
		e.definition.AcceptSourceIdentity = identifier
		if e.definition.Revision() == before {
			t.Error("accepting it is no change of the revision")
		}
		if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			e.run(t)
		}
		e.wantRows(t, `SELECT id FROM shop.t`)
		e.wantRows(t, `SELECT source_system FROM _stitch.replication`, identifier)
	})
}

// A run does not use connections that a load balancer spreads over several servers.
func TestBalancedSource(t *testing.T) {
	t.Parallel()
	primary := sandbox.OwnServer(t, sandbox.Config{})
	standby := sandbox.OwnServer(t, sandbox.Config{StandbyOf: primary})
	e := newEnv(t, primary, sandbox.Shared(t, 0))
	e.runs.rangeBytes = 100 << 10
	balancer := newProxy(t, primary, standby)
	e.readFrom(t, "127.0.0.1", balancer.port())
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 20000) g`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	standby.Follow(t, e.source)
	run := e.run(t)
	if !slices.ContainsFunc(run.Notes, func(note string) bool { return strings.Contains(note, "load balancer") }) {
		t.Errorf("notes %q", run.Notes)
	}
	e.wantSame(t, "t")
}
