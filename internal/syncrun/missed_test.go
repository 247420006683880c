package syncrun

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// backdate moves what the catalog remembers back in time.
func (e *env) backdate(t *testing.T, d time.Duration) {
	t.Helper()
	e.atDestination(t, fmt.Sprintf(`
		UPDATE _stitch.bookmark SET horizon = jsonb_set(horizon, '{passed}', (
			SELECT jsonb_agg(jsonb_set(p, '{at}', to_jsonb((p->>'at')::bigint - %d)) ORDER BY n)
			FROM jsonb_array_elements(horizon->'passed') WITH ORDINALITY AS e (p, n)))
		WHERE horizon ? 'passed'`, int64(d.Seconds())))
}

// The late-commit window counts back from the run that did not see a row, not from the run
// that looks for it, which may be a day or a weekend later.
func TestDailyRuns(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 10)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.backdate(t, 24*time.Hour)
	late := e.session(t)
	pgtest.Do(t, late, `BEGIN; INSERT INTO t (v) VALUES ('late')`)
	e.atSource(t, `INSERT INTO t (v) VALUES ('early')`)
	e.run(t)
	pgtest.Do(t, late, `COMMIT`)
	e.backdate(t, 24*time.Hour)
	for range 2 {
		e.run(t)
		e.wantSame(t, "t")
	}
}

// A run finds rows that come with a partition, although they were committed before it was
// attached and have keys before the bookmark.
func TestAttachedPartition(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for _, key := range []string{"id", "at"} {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int, at timestamptz, region int) PARTITION BY LIST (region);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); INSERT INTO t SELECT g, now() - interval '10 seconds', 1 FROM generate_series(1, 10) g;
			CREATE TABLE t_2 (LIKE t); INSERT INTO t_2 SELECT g, now(), 2 FROM generate_series(11, 20) g;
			INSERT INTO t SELECT g, now() + interval '1 second', 1 FROM generate_series(21, 30) g`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: key}
		e.create(t)
		e.run(t)
		e.run(t)
		e.atSource(t, `ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES IN (2)`)
		e.run(t)
		e.wantSame(t, "t")
	}
}

// Sessions may reserve numbers of a sequence (CACHE, or hi/lo of an application): a run finds
// the rows of transactions that begin after the first run although they have keys before the
// first bookmark.
func TestCachedSequence(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for _, typ := range []string{"bigint", "numeric(20)"} {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE SEQUENCE s CACHE 50; CREATE TABLE t (id `+typ+` PRIMARY KEY DEFAULT nextval('s'), v text)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		a, b := e.session(t), e.session(t)
		pgtest.Do(t, a, `INSERT INTO t (v) VALUES ('a')`)
		pgtest.Do(t, b, `INSERT INTO t (v) VALUES ('b')`) // 51
		e.run(t)
		pgtest.Do(t, a, `INSERT INTO t (v) VALUES ('a')`) // 2, seconds after it was taken
		e.run(t)
		e.wantSame(t, "t")
	}
}

// Text keys are ordered by their column's collation, not by the database's: here a < b < B,
// and in C, B < a.
func TestCollatedKey(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, k text COLLATE "en-x-icu"); INSERT INTO t VALUES (1, 'a')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
	e.create(t)
	e.run(t)
	late := e.session(t)
	pgtest.Do(t, late, `BEGIN; INSERT INTO t VALUES (2, 'b')`)
	e.atSource(t, `INSERT INTO t VALUES (3, 'B')`)
	e.run(t)
	pgtest.Do(t, late, `COMMIT`)
	e.run(t)
	e.wantSame(t, "t")
}

// A row with a future time that comes between runs does not hide the rows that follow it.
func TestKeyAhead(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, k timestamptz DEFAULT now()); INSERT INTO t SELECT FROM generate_series(1, 5)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
	e.create(t)
	e.run(t)
	e.atSource(t, `INSERT INTO t (k) VALUES (now() + interval '2 days')`)
	for range 2 {
		e.run(t)
	}
	e.atSource(t, `INSERT INTO t (k) VALUES (now())`)
	e.run(t)
	e.wantSame(t, "t")
}

// When the window is turned on while a transaction is open, runs find the rows of that
// transaction.
func TestWindowTurnedOn(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.ignoreLateCommits()
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 10)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.definition.LateCommitWindow = nil
	if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	late := e.session(t)
	pgtest.Do(t, late, `BEGIN; INSERT INTO t (v) VALUES ('late')`)
	e.atSource(t, `INSERT INTO t (v) VALUES ('early')`)
	e.run(t)
	pgtest.Do(t, late, `COMMIT`)
	e.run(t)
	e.wantSame(t, "t")
}

// A date means the beginning of its day, and yet a window of an hour reaches back over
// midnight.
func TestDates(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	window := time.Hour
	e.definition.LateCommitWindow = &window
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, k date); INSERT INTO t (k) VALUES ('2026-01-01')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
	e.create(t)
	e.run(t)
	late := e.session(t)
	pgtest.Do(t, late, `BEGIN; INSERT INTO t (k) VALUES ('2026-01-01')`) // a second before midnight
	e.atSource(t, `INSERT INTO t (k) VALUES ('2026-01-02')`)             // a second after
	e.run(t)
	pgtest.Do(t, late, `COMMIT`)
	e.run(t)
	e.wantSame(t, "t")
}

// A run that follows a replication key of another type while a transaction is open has a
// bookmark once rows were loaded.
func TestKeyBecomesTime(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO t SELECT FROM generate_series(1, 10)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.create(t)
	open := e.session(t)
	pgtest.Do(t, open, `BEGIN; SELECT`)
	e.run(t)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
	if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	if got := report(e.run(t), "public.t"); got.RowsExtracted != 10 || got.Bookmark == "" {
		t.Errorf("%d rows and the bookmark %q", got.RowsExtracted, got.Bookmark)
	}
}

// A run finds the rows of a table that was emptied and whose keys started over, and tells
// them from the earlier ones; the report says why.
func TestRestartIdentity(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'old' FROM generate_series(1, 30000)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.atSource(t, `TRUNCATE t RESTART IDENTITY; INSERT INTO t (v) SELECT 'new' FROM generate_series(1, 5)`)
	if notes := strings.Join(report(e.run(t), "public.t").Notes, "; "); !strings.Contains(notes, "no row has the key of the bookmark, 30000") {
		t.Errorf("notes %q", notes)
	}
	e.wantRows(t, `SELECT v, count(*) FROM shop.t GROUP BY v ORDER BY v`, "new|5", "old|29995")
	e.atSource(t, `INSERT INTO t (v) SELECT 'new' FROM generate_series(1, 5)`)
	if notes := report(e.run(t), "public.t").Notes; len(notes) > 0 {
		t.Errorf("notes %q, once the bookmark has gone back", notes)
	}
	e.wantRows(t, `SELECT v, count(*) FROM shop.t GROUP BY v ORDER BY v`, "new|10", "old|29990")
}

// Rows that were given other keys can be told from the earlier ones.
func TestKeyReplaced(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, k int); INSERT INTO t SELECT g * 10, g FROM generate_series(1, 5) g`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
	e.create(t)
	e.run(t)
	e.atSource(t, `ALTER TABLE t DROP id; ALTER TABLE t ADD id serial PRIMARY KEY`)
	if notes := strings.Join(report(e.run(t), "public.t").Notes, "; "); !strings.Contains(notes, "a column of the primary key was replaced") {
		t.Errorf("notes %q", notes)
	}
	e.wantRows(t, `SELECT id, k FROM shop.t WHERE _sdc_table_version = (SELECT max(_sdc_table_version) FROM shop.t) ORDER BY id`, "1|1", "2|2", "3|3", "4|4", "5|5")
	if got := report(e.run(t), "public.t"); got.RowsLoaded != 0 || len(got.Notes) > 0 {
		t.Errorf("again: %+v", got)
	}
}

// A run notices a table that was emptied and filled beyond its bookmark, and does not send
// one again that was only rewritten.
func TestRefilled(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for _, key := range []string{"id", "at"} {
			e := newEnv(t, s, s)
			e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, at timestamptz, v text); INSERT INTO t (at, v) SELECT now() - interval '9 days', 'old' FROM generate_series(1, 30000)`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: key}
			e.create(t)
			e.run(t)
			e.atSource(t, `TRUNCATE t RESTART IDENTITY; INSERT INTO t (at, v) SELECT now() - interval '90 days', 'new' FROM generate_series(1, 30000); INSERT INTO t (at) VALUES (now())`)
			if notes := strings.Join(report(e.run(t), "public.t").Notes, "; "); !strings.Contains(notes, "emptied by TRUNCATE") {
				t.Errorf("notes %q", notes)
			}
			e.wantSame(t, "t")
			e.atSource(t, `VACUUM FULL t`)
			if got := report(e.run(t), "public.t"); got.RowsLoaded != 0 {
				t.Errorf("after VACUUM FULL: %+v", got)
			}
			if got := report(e.run(t), "public.t"); len(got.Notes) > 0 {
				t.Errorf("again: notes %q", got.Notes)
			}
		}
	})
}

// A run finds a row that is committed late if the keys of its table have started over in the
// meantime, or the last of them were deleted.
func TestLateCommitAfterKeysWentBack(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	const insert = `INSERT INTO t (id) SELECT to_char(g, 'FM00000') FROM generate_series`
	for name, sql := range map[string]struct{ first, then string }{
		"last deleted": {"", `DELETE FROM t WHERE id > '00090'`},
		"started over": {"TRUNCATE t", insert + `(1, 95) g WHERE g <> 5`},
		"refilled":     {"TRUNCATE t", insert + `(1, 200) g WHERE g <> 5`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			e.atSource(t, `CREATE TABLE t (id text PRIMARY KEY, v text); `+insert+`(10, 80) g`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
			e.create(t)
			e.run(t)
			e.atSource(t, insert+`(86, 100) g`)
			e.run(t)
			late, later := e.session(t), e.session(t)
			e.atSource(t, sql.first)
			pgtest.Do(t, late, `BEGIN; INSERT INTO t VALUES ('00005', 'late')`)
			pgtest.Do(t, later, `BEGIN; INSERT INTO t VALUES ('00085', 'later')`)
			e.atSource(t, strings.ReplaceAll(sql.then, "g <> 5", "g NOT IN (5, 85)"))
			e.run(t)
			pgtest.Do(t, late, "COMMIT")
			e.run(t)
			pgtest.Do(t, later, "COMMIT")
			e.run(t)
			e.wantRows(t, `SELECT id, v FROM shop.t WHERE v LIKE 'late%' ORDER BY id`, "00005|late", "00085|later")
			if notes := report(e.run(t), "public.t").Notes; len(notes) > 0 {
				t.Errorf("notes %q", notes)
			}
			e.wantRows(t, `SELECT horizon ? 'open' FROM _stitch.bookmark`, "f")
		})
	}
}

// A NOT NULL key may still have nulls: in rows from before the constraint, until it is
// validated, and in those of tables that inherit from this one.
func TestNullKeysOfNotNull(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `
			CREATE TABLE a (id int PRIMARY KEY, k int); INSERT INTO a VALUES (1, 1);
			CREATE TABLE b (id int, k int); INSERT INTO b VALUES (1, 1); CREATE TABLE c () INHERITS (b)`)
		selection := definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
		e.definition.Tables["public.a"], e.definition.Tables["public.b"] = selection, selection
		e.create(t)
		e.run(t)
		e.atSource(t, `INSERT INTO a VALUES (2, NULL); INSERT INTO c VALUES (2, NULL)`)
		if s.Major >= 18 {
			e.atSource(t, `ALTER TABLE a ADD CONSTRAINT k NOT NULL k NOT VALID; ALTER TABLE b ADD CONSTRAINT n NOT NULL k NO INHERIT`)
		} else {
			e.atSource(t, `ALTER TABLE ONLY b ALTER k SET NOT NULL`)
		}
		run := e.run(t)
		for _, table := range []string{"a", "b"} {
			if got := report(run, "public."+table).NullKeys; got != 1 {
				t.Errorf("%s: %d null keys", table, got)
			}
			e.wantSame(t, table)
		}
	})
}
