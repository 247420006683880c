package syncrun

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A run finds a row that was committed after the last run with a key that the last run had
// passed, whenever its transaction began and whatever it wrote.
func TestLateCommits(t *testing.T) {
	t.Parallel()
	const number, clock = `nextval('s')`, `now()`
	for name, tt := range map[string]struct {
		create    string
		key       string
		before    string // in the late transaction, before the first run
		meanwhile string // in it, after the first run and before the second
	}{
		"a sequence":                             {`id int PRIMARY KEY, k int`, number, `INSERT INTO t VALUES (1000, nextval('s'))`, ``},
		"a sequence, asked before the first run": {`id int PRIMARY KEY, k int`, number, `SELECT nextval('s')`, `INSERT INTO t VALUES (1000, currval('s'))`},
		"a sequence, within a savepoint":         {`id int PRIMARY KEY, k int`, number, `INSERT INTO other VALUES (1); SAVEPOINT x; INSERT INTO t VALUES (1000, nextval('s'))`, `RELEASE x`},
		"an update":                              {`id int PRIMARY KEY, k int`, number, `SELECT nextval('s')`, `UPDATE t SET k = currval('s') WHERE id = 3`},
		"now()":                                  {`id int PRIMARY KEY, k timestamptz`, clock, `SELECT now()`, `INSERT INTO t VALUES (1000, now())`},
		"now(), without time zone":               {`id int PRIMARY KEY, k timestamp NOT NULL`, clock, `INSERT INTO t VALUES (1000, now())`, ``},
		"without a primary key":                  {`id int, k int`, number, `INSERT INTO t VALUES (1, 1), (1000, nextval('s'))`, `INSERT INTO t SELECT * FROM t WHERE id = 2`},
		"without a primary key, now()":           {`id int, k timestamptz`, clock, `INSERT INTO t VALUES (1000, now()), (1000, now())`, `INSERT INTO t SELECT * FROM t WHERE id = 2`},
		"a null key":                             {`id int PRIMARY KEY, k int`, number, `INSERT INTO t VALUES (1000, NULL)`, `INSERT INTO t VALUES (1001, NULL)`},
		"a null key without a primary key":       {`id int, k int`, number, `INSERT INTO t VALUES (1000, NULL), (1000, NULL)`, ``},
		"a partitioned table":                    {`id int, k int) PARTITION BY RANGE (id`, number, `INSERT INTO t VALUES (1000, nextval('s'))`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
				e := newEnv(t, s, s)
				e.atSource(t, `CREATE TABLE t (`+tt.create+`); CREATE SEQUENCE s; CREATE TABLE other (id int)`)
				if strings.Contains(tt.create, "PARTITION") {
					e.atSource(t, `CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100); CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (100) TO (10000)`)
				}
				insert := func(id int) { e.atSource(t, fmt.Sprintf(`INSERT INTO t VALUES (%d, %s)`, id, tt.key)) }
				for id := range 5 {
					insert(id)
				}
				e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
				e.create(t)

				late := e.session(t)
				pgtest.Do(t, late, "BEGIN; "+tt.before)
				insert(10)
				e.run(t)
				if tt.meanwhile != "" {
					pgtest.Do(t, late, tt.meanwhile)
				}
				insert(11)
				e.run(t)
				pgtest.Do(t, late, "COMMIT")
				e.run(t)
				e.wantSame(t, "t")
				var notes []string
				if !strings.Contains(tt.create, "PRIMARY KEY") {
					notes = []string{definition.KeepsVersionsWarning}
				}
				if got := report(e.run(t), "public.t"); got.RowsLoaded != 0 || !slices.Equal(got.Notes, notes) {
					t.Errorf("with nothing new, %d rows were loaded; notes %q", got.RowsLoaded, got.Notes)
				}
			})
		})
	}
}

// Runs also find the rows of a transaction that is open when the table was loaded long
// before, and of one that is prepared.
func TestLateCommitsBetweenRuns(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{Settings: map[string]string{"max_prepared_transactions": "5"}})
	for _, tt := range []struct{ end, after string }{
		{`COMMIT`, ``},
		{`PREPARE TRANSACTION 'x'`, `COMMIT PREPARED 'x'`},
	} {
		for _, first := range []bool{true, false} {
			e := newEnv(t, s, s)
			e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 10)`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
			e.create(t)
			if !first {
				e.run(t)
			}
			late := e.session(t)
			pgtest.Do(t, late, `BEGIN; INSERT INTO t (v) VALUES ('late')`)
			for range 2 {
				e.atSource(t, `INSERT INTO t (v) VALUES ('early')`)
				e.run(t)
			}
			pgtest.Do(t, late, tt.end)
			e.run(t)
			if tt.after != "" {
				e.atSource(t, tt.after)
				e.run(t)
			}
			e.wantSame(t, "t")
			if got := report(e.run(t), "public.t"); got.RowsLoaded != 0 {
				t.Errorf("with nothing new, %d rows were loaded", got.RowsLoaded)
			}
		}
	}
}

// A key in the future does not hide the rows that come after it.
func TestKeyInTheFuture(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for _, typ := range []string{"timestamptz", "timestamp", "date"} {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, k `+typ+` DEFAULT now()); INSERT INTO t (k) VALUES ('2999-01-01'), ('0044-03-15 BC')`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
		e.create(t)
		e.run(t)
		for range 2 {
			e.atSource(t, `INSERT INTO t DEFAULT VALUES; UPDATE t SET k = now() - interval '1 hour' WHERE id = 2`)
			e.run(t)
			e.wantSame(t, "t")
		}
	}
}

// A run looks for late commits by the index on the key, not by reading the table.
func TestLateCommitsByIndex(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{Settings: map[string]string{"autovacuum": "off"}})
	for _, key := range []string{"id", "at"} {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, at timestamptz);
			INSERT INTO t (at) SELECT now() - g * interval '1 minute' FROM generate_series(100000, 1, -1) g; CREATE INDEX ON t (at); ANALYZE t`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: key}
		e.create(t)
		e.run(t)
		scans := func() string {
			time.Sleep(1500 * time.Millisecond) // sessions report their statistics when they end, or now and then
			return e.source.Query(t, e.sourceDatabase, `SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 't'`)[0]
		}
		before := scans()
		late := e.session(t)
		pgtest.Do(t, late, `BEGIN; INSERT INTO t (at) VALUES (now())`)
		e.atSource(t, `INSERT INTO t (at) VALUES (now())`)
		e.run(t)
		pgtest.Do(t, late, `COMMIT`)
		if got := report(e.run(t), "public.t"); got.RowsLoaded != 1 {
			t.Errorf("by %s: loaded %d rows", key, got.RowsLoaded)
		}
		e.run(t)
		if after := scans(); after != before {
			t.Errorf("by %s: %s sequential scans instead of %s", key, after, before)
		}
		e.wantSame(t, "t")
	}
}

// The report says what late commits need and the source does not have.
func TestLateCommitsNotKnown(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE base (id int, secret text); INSERT INTO base VALUES (1, 's'); CREATE VIEW v AS SELECT id FROM base`)
	e.definition.Tables["public.v"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id", ViewKeyProperties: []string{"id"}}
	e.create(t)
	for range 2 {
		if notes := strings.Join(report(e.run(t), "public.v").Notes, "; "); !strings.Contains(notes, "rows of a view") {
			t.Errorf("notes %q", notes)
		}
	}
	e.wantSame(t, "v")
	e.definition.LateCommitWindow = new(time.Duration)
	if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	if notes := report(e.run(t), "public.v").Notes; len(notes) > 0 {
		t.Errorf("notes %q, although nothing was asked for", notes)
	}
}
