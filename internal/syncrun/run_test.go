package syncrun

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A round is one run of a story: what happens at the source before it, and what it must have
// done.
type round struct {
	sql       string
	extracted int64
	loaded    int64
	bookmark  string
}

// Stories replicate public.t. After each round both sides must hold the same.
func TestRun(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]struct {
		selection definition.Selection
		rounds    []round
	}{
		"full table with a key": {
			definition.Selection{Method: definition.FullTable},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 100) g`, 100, 100, ""},
				{``, 100, 0, ""},
				{`UPDATE t SET v = 'new' WHERE id = 7; DELETE FROM t WHERE id > 90; INSERT INTO t VALUES (1000, NULL)`, 91, 2, ""},
				{`DELETE FROM t`, 0, 0, ""},
			},
		},
		"full table without a key": {
			definition.Selection{Method: definition.FullTable},
			[]round{
				{`CREATE TABLE t (a int, b json); INSERT INTO t VALUES (1, '{}'), (1, '{}'), (2, NULL), (NULL, NULL)`, 4, 4, ""},
				{``, 4, 0, ""},
				{`INSERT INTO t VALUES (1, '{}'), (3, '[]'); DELETE FROM t WHERE a = 2`, 5, 2, ""},
				{`DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a = 1)`, 4, 0, ""},
			},
		},
		"incremental by time": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "at"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v int);
				  INSERT INTO t VALUES (1, '2026-01-01 10:00+00', 1), (2, '2026-01-01 11:00+00', 1)`, 2, 2, "2026-01-01 11:00:00+00"},
				{``, 1, 0, "2026-01-01 11:00:00+00"},
				{`INSERT INTO t VALUES (3, '2026-01-01 11:00+00', 1)`, 2, 1, "2026-01-01 11:00:00+00"},
				{`UPDATE t SET v = 2, at = '2026-01-02 00:00:00.000001+00' WHERE id = 1`, 3, 1, "2026-01-02 00:00:00.000001+00"},
			},
		},
		"infinite keys do not stop the bookmark": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "at"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, at timestamp); INSERT INTO t VALUES (1, 'infinity'), (2, '2026-01-01')`, 2, 2, "2026-01-01 00:00:00"},
				{`INSERT INTO t VALUES (3, '2026-01-02')`, 3, 1, "2026-01-02 00:00:00"},
			},
		},
		"incremental without a primary key appends each row once": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "n"},
			[]round{
				{`CREATE TABLE t (n numeric, v text); INSERT INTO t VALUES (1, 'a'), (2.50, 'b'), (2.50, 'b')`, 3, 3, "2.50"},
				{`INSERT INTO t VALUES (2.50, 'b'), (2.50, 'c')`, 4, 2, "2.50"},
				{`INSERT INTO t VALUES (3, 'd')`, 5, 1, "3"},
			},
		},
		"text keys keep quotes and backslashes": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "k"},
			[]round{
				{`CREATE TABLE t (k text PRIMARY KEY); INSERT INTO t VALUES ('a'), ('z''\')`, 2, 2, `z'\`},
				{`INSERT INTO t VALUES ('zz')`, 2, 1, "zz"},
			},
		},
		"integer keys are numbers": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "n"},
			[]round{
				{`CREATE TABLE t (n bigint PRIMARY KEY); INSERT INTO t VALUES (9), (10)`, 2, 2, "10"},
				{`INSERT INTO t VALUES (100)`, 2, 1, "100"},
			},
		},
		"uuid keys": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id uuid PRIMARY KEY); INSERT INTO t VALUES ('00000000-0000-0000-0000-000000000001')`, 1, 1, "00000000-0000-0000-0000-000000000001"},
				{`INSERT INTO t VALUES ('ffffffff-0000-0000-0000-000000000001')`, 2, 1, "ffffffff-0000-0000-0000-000000000001"},
			},
		},
		"an empty table has no bookmark yet": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY)`, 0, 0, ""},
				{`INSERT INTO t VALUES (-5)`, 1, 1, "-5"},
				{`DELETE FROM t; INSERT INTO t VALUES (-5)`, 1, 0, "-5"},
			},
		},
		"new column with a default, then a dropped one": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'), (2, 'y')`, 2, 2, "2"},
				{`ALTER TABLE t ADD COLUMN b int; INSERT INTO t VALUES (3, 'z', 5)`, 2, 1, "3"},
				{`ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (4, 6)`, 2, 1, "4"},
			},
		},
		"a column that gets more room": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, v varchar(3), n numeric(4,2)); INSERT INTO t VALUES (1, 'abc', 1)`, 1, 1, "1"},
				{`ALTER TABLE t ALTER v TYPE varchar(9), ALTER n TYPE numeric; INSERT INTO t VALUES (2, 'abcdef', 100.001)`, 2, 1, "2"},
				{`ALTER TABLE t ALTER v TYPE text; INSERT INTO t VALUES (3, 'abcdefghijk', 0)`, 2, 1, "3"},
			},
		},
		"a column that is computed for each row": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)`, 5, 5, "5"},
				{`ALTER TABLE t ADD COLUMN serial serial`, 5, 5, "5"},
				{``, 1, 0, "5"},
			},
		},
		"a table that was replaced": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 1 FROM generate_series(1, 5) g`, 5, 5, "5"},
				{`DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 2 FROM generate_series(1, 5) g`, 5, 5, "5"},
			},
		},
		"a replaced table without a key": {
			definition.Selection{Method: definition.FullTable},
			[]round{
				{`CREATE TABLE t (v int); INSERT INTO t VALUES (1), (1)`, 2, 2, ""},
				{`DROP TABLE t; CREATE TABLE t (v int); INSERT INTO t VALUES (1), (2)`, 2, 2, ""},
			},
		},
		"two columns swap their names": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t SELECT g, 'a', 'b' FROM generate_series(1, 5) g`, 5, 5, "5"},
				{`ALTER TABLE t RENAME a TO c; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME c TO b`, 5, 5, "5"},
				{``, 1, 0, "5"},
			},
		},
		"a column is replaced by another of its name": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'old' FROM generate_series(1, 5) g`, 5, 5, "5"},
				{`ALTER TABLE t DROP v; ALTER TABLE t ADD v text DEFAULT 'new'`, 5, 5, "5"},
			},
		},
		"a new column is filled before it is seen": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)`, 5, 5, "5"},
				{`ALTER TABLE t ADD v int; UPDATE t SET v = id * 10`, 5, 5, "5"},
				{`ALTER TABLE t ADD w int DEFAULT 7; ALTER TABLE t ALTER w DROP DEFAULT; UPDATE t SET w = 8`, 5, 5, "5"},
			},
		},
		"a plain new column is no reason to read all": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id"},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)`, 5, 5, "5"},
				{`CREATE VIEW other AS SELECT 1`, 1, 0, "5"},
				{`ALTER TABLE t ADD a text, ADD b int`, 1, 0, "5"},
			},
		},
		"less room rounds what was there": {
			definition.Selection{Method: definition.FullTable},
			[]round{
				{`CREATE TABLE t (id int PRIMARY KEY, v varchar(20)); INSERT INTO t VALUES (1, 'abc')`, 1, 1, ""},
				{`ALTER TABLE t ALTER v TYPE varchar(10)`, 1, 0, ""},
			},
		},
		"a keyless table gets a computed column": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "k"},
			[]round{
				{`CREATE TABLE t (id int, k date); INSERT INTO t SELECT g, '2026-01-01' FROM generate_series(1, 5) g`, 5, 5, "2026-01-01"},
				{`ALTER TABLE t ADD g serial`, 5, 5, "2026-01-01"},
			},
		},
		"a view gets another column": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "id", ViewKeyProperties: []string{"id"}},
			[]round{
				{`CREATE VIEW t AS SELECT g AS id FROM generate_series(1, 5) g`, 5, 5, "5"},
				{`CREATE OR REPLACE VIEW t AS SELECT g AS id, g * 2 AS twice FROM generate_series(1, 5) g`, 5, 5, "5"},
			},
		},
		"columns with the names of the engine's own": {
			definition.Selection{Method: definition.FullTable},
			[]round{
				{`CREATE TABLE t (s int, d int, n int, image int, stitch_image int, c0 int, times int); INSERT INTO t VALUES (1, 2, 3, 4, 5, 6, 7)`, 1, 1, ""},
				{`INSERT INTO t VALUES (1, 2, 3, 4, 5, 6, 8)`, 2, 1, ""},
			},
		},
		"a view with a key": {
			definition.Selection{Method: definition.FullTable, ViewKeyProperties: []string{"id"}},
			[]round{
				{`CREATE TABLE base (id int, v text); INSERT INTO base VALUES (1, 'a'); CREATE VIEW t AS SELECT * FROM base`, 1, 1, ""},
				{`UPDATE base SET v = 'b'`, 1, 1, ""},
			},
		},
		"a materialized view": {
			definition.Selection{Method: definition.FullTable},
			[]round{{`CREATE MATERIALIZED VIEW t AS SELECT g AS a FROM generate_series(1, 10) g`, 10, 10, ""}},
		},
		"a partitioned table": {
			definition.Selection{Method: definition.Incremental, ReplicationKey: "day"},
			[]round{
				{`CREATE TABLE t (day date NOT NULL, v int) PARTITION BY RANGE (day);
				  CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
				  INSERT INTO t VALUES ('2026-01-05', 1)`, 1, 1, "2026-01-05"},
				{`CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2026-02-01') TO ('2026-03-01'); INSERT INTO t VALUES ('2026-02-05', 1)`, 2, 1, "2026-02-05"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
				e := newEnv(t, s, s)
				e.ignoreLateCommits()
				e.definition.Tables["public.t"] = story.selection
				for i, round := range story.rounds {
					e.atSource(t, round.sql)
					if i == 0 {
						e.create(t)
					}
					got := report(e.run(t), "public.t")
					if got.RowsExtracted != round.extracted || got.RowsLoaded != round.loaded || got.Bookmark != round.bookmark {
						t.Errorf("round %d: extracted %d, loaded %d, bookmark %q; want %d, %d, %q", i+1,
							got.RowsExtracted, got.RowsLoaded, got.Bookmark, round.extracted, round.loaded, round.bookmark)
					}
					e.wantSame(t, "t")
				}
			})
		})
	}
}

// One table's failure leaves the others alone, and its whole error is reported.
func TestRunFailingTable(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `
			CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);
			CREATE TABLE b (id int PRIMARY KEY, v int); INSERT INTO b VALUES (1, 0);
			CREATE VIEW bad AS SELECT id, 1 / v AS quotient FROM b;
			CREATE TABLE gone (id int);
			CREATE TABLE secret (id int); REVOKE ALL ON secret FROM PUBLIC`)
		for _, name := range []string{"a", "b", "bad", "gone", "secret"} {
			e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
		}
		e.create(t)
		e.atSource(t, `DROP TABLE gone; REVOKE SELECT ON secret FROM `+e.reader)
		run, err := e.tryRun(t.Context())
		var failed *TablesError
		if !errors.As(err, &failed) || len(failed.Reports) != 3 || run.Status != catalog.Failed {
			t.Fatalf("status %s, error %v", run.Status, err)
		}
		for _, want := range []string{"public.bad", "division by zero", "public.gone", "no table or view public.gone", "public.secret", "permission denied", "stitch_source_grants grants both"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error lacks %q:\n%v", want, err)
			}
		}
		e.wantSame(t, "a")
		e.wantSame(t, "b")
		e.wantRows(t, `SELECT source_table, status FROM _stitch.report ORDER BY 1`,
			"public.a|succeeded", "public.b|succeeded", "public.bad|failed", "public.gone|failed", "public.secret|failed")
		e.wantRows(t, `SELECT table_name FROM _stitch.bookmark ORDER BY 1`, "a", "b")

		e.atSource(t, `UPDATE b SET v = 1; CREATE TABLE gone (id int); GRANT SELECT ON gone, secret TO `+e.reader)
		if run := e.run(t); run.Status != catalog.Succeeded {
			t.Errorf("status %s after the repair", run.Status)
		}
		e.wantSame(t, "bad")
	})
}

// A cancelled run keeps what it committed, reports that it was interrupted, and leaves no
// session behind.
func TestRunInterrupted(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `
		CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);
		CREATE VIEW slow AS SELECT g, pg_sleep(0.05) IS NULL AS slept FROM generate_series(1, 100000) g`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.slow"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.z"] = definition.Selection{Method: definition.FullTable}
	e.create(t)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan result, 1)
	go func() {
		run, err := e.tryRun(ctx)
		done <- result{run, err}
	}()
	const active = `SELECT FROM pg_catalog.pg_stat_activity WHERE query LIKE '%public"."slow%' AND pid <> pg_backend_pid() AND state <> 'idle'`
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM _stitch.report WHERE source_table = 'public.a' AND status = 'succeeded'`, 1)
	pgtest.Await(t, s, e.sourceDatabase, `SELECT WHERE EXISTS (`+active+`)`, 1)
	cancel()
	got := <-done
	if got.err != nil || got.run.Status != catalog.Interrupted {
		t.Fatalf("status %q, error %v", got.run.Status, got.err)
	}
	e.wantSame(t, "a")
	e.wantRows(t, `SELECT source_table, status FROM _stitch.report ORDER BY 1`, "public.a|succeeded", "public.slow|interrupted")
	e.wantRows(t, `SELECT status, completed_at IS NOT NULL FROM _stitch.run`, "interrupted|t")
	for deadline := time.Now().Add(20 * time.Second); e.source.Query(t, e.sourceDatabase, active) != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the source is still at work")
		}
	}
}

// Two runs of one replication never overlap.
func TestRunTwice(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE VIEW slow AS SELECT pg_sleep(15) IS NULL AS slept`)
	e.definition.Tables["public.slow"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	first := make(chan error, 1)
	go func() {
		_, err := e.tryRun(t.Context())
		first <- err
	}()
	pgtest.Await(t, s, e.sourceDatabase, `SELECT FROM pg_catalog.pg_stat_activity WHERE query LIKE '%public"."slow%' AND pid <> pg_backend_pid() AND state = 'active'`, 1)
	other := *e
	other.servers = e.newServers(t, 1)
	if _, err := other.tryRun(t.Context()); err == nil || !strings.Contains(err.Error(), "is being run by pid") {
		t.Errorf("the second run: %v", err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// Row-level security would leave rows out silently.
func TestRunRowSecurity(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		if _, err := e.tryRun(t.Context()); err == nil || !strings.Contains(err.Error(), "row-level security") ||
			!strings.Contains(err.Error(), "BYPASSRLS") || strings.Contains(err.Error(), "stitch_source_grants") {
			t.Errorf("got %v", err)
		}
	})
}

// Limits of the login do not cut a run short.
func TestRunTimeouts(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `ALTER ROLE `+e.reader+` SET statement_timeout = '200ms';
		CREATE VIEW slow AS SELECT pg_sleep(1) IS NULL AS slept`)
	e.definition.Tables["public.slow"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
}

// A column that is selected later arrives for old rows too, and a table that is deselected
// and selected again continues from its bookmark.
func TestRunSelection(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.ignoreLateCommits()
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t SELECT g, 'a', 'b' FROM generate_series(1, 9) g;
		CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)`)
	for i, step := range []struct {
		tables    map[string]definition.Selection
		sql       string
		extracted int64 // of t
	}{
		{map[string]definition.Selection{"public.t": {Method: definition.Incremental, ReplicationKey: "id", ExcludeColumns: []string{"b"}}}, ``, 9},
		{map[string]definition.Selection{"public.t": {Method: definition.Incremental, ReplicationKey: "id"}}, ``, 9},
		{map[string]definition.Selection{"public.u": {Method: definition.FullTable}}, `INSERT INTO t VALUES (10, 'a', 'b')`, 0},
		{map[string]definition.Selection{"public.t": {Method: definition.Incremental, ReplicationKey: "id"}}, ``, 2},
		{map[string]definition.Selection{"public.t": {Method: definition.FullTable}}, ``, 10},
	} {
		e.definition.Tables = step.tables
		if i == 0 {
			e.create(t)
		} else if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
			t.Fatal(err)
		}
		e.atSource(t, step.sql)
		if got := report(e.run(t), "public.t").RowsExtracted; got != step.extracted {
			t.Errorf("step %d: extracted %d rows, want %d", i+1, got, step.extracted)
		}
	}
	e.wantSame(t, "t")
	e.wantRows(t, `SELECT count(DISTINCT _sdc_table_version) FROM shop.t`, "1")
}
