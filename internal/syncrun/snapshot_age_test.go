package syncrun

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// slowLoadsSQL makes each load into shop.t take longer than half of the time for which a
// snapshot may be held.
const slowLoadsSQL = `
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2); RETURN NULL; END';
	CREATE TRIGGER slow BEFORE INSERT ON shop.t FOR EACH STATEMENT EXECUTE PROCEDURE slow()`

// A backlog that takes longer than a snapshot may be held is read in several snapshots: at
// the end it includes what was committed at the source in the meantime.
func TestSnapshotAge(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		e := newEnv(t, s, s)
		e.runs.chunkRows, e.runs.maxSnapshot = 1000, 3500*time.Millisecond
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		e.atDestination(t, slowLoadsSQL)
		e.atSource(t, `INSERT INTO t SELECT g, 'x' FROM generate_series(2, 2500) g; ANALYZE t`)
		done := e.start(t.Context())
		pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_stat_activity WHERE usename = '`+e.writer+`' AND wait_event = 'PgSleep'`, 1)
		e.atSource(t, `INSERT INTO t VALUES (9999, 'later')`)
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		e.wantSame(t, "t")
		if held := report(got.run, "public.t").Snapshot; held < time.Second || held > 4*time.Second {
			t.Errorf("the snapshot was held for %s", held)
		}
	}
}

// A first load is read in chunks if an index orders it, and a snapshot may not be held for
// all of it. Null keys arrive as well.
func TestSnapshotAgeFirstLoad(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		e := newEnv(t, s, s)
		e.runs.chunkRows, e.runs.maxSnapshot = 1000, time.Minute
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, k int, v text); CREATE INDEX ON t (k);
			INSERT INTO t SELECT g, nullif(g % 50, 0) * 100, 'x' FROM generate_series(1, 5000) g; ANALYZE t`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
		e.create(t)
		got := report(e.run(t), "public.t")
		e.wantSame(t, "t")
		if got.NullKeys < 100 || got.RowsLoaded != 5000 { // other sessions make the run extract some again
			t.Errorf("%+v", got)
		}
		if versions := e.destination.Query(t, e.destinationDatabase, `SELECT count(DISTINCT _sdc_sequence) > 3, count(DISTINCT _sdc_table_version) FROM shop.t`); versions[0] != "t|1" {
			t.Errorf("pieces and versions: %q", versions)
		}
		e.atSource(t, `UPDATE t SET v = 'y', k = 6000 WHERE id = 7`)
		if got := report(e.run(t), "public.t"); got.RowsLoaded != 1 {
			t.Errorf("%+v", got)
		}
		e.wantSame(t, "t")
	}
}

// What cannot be read in time fails, and the error names the setting and what to do. Nothing
// of it is loaded.
func TestSnapshotAgeFails(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct {
		selection definition.Selection
		want      string
	}{
		"full table":          {definition.Selection{Method: definition.FullTable}, "or replicate the table with INCREMENTAL"},
		"a key without index": {definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}, "an index of its own"},
	} {
		e := newEnv(t, s, s)
		e.runs.maxSnapshot = time.Second
		e.atSource(t, `CREATE VIEW t AS SELECT id FROM generate_series(1, 3) AS id, LATERAL (SELECT pg_sleep(5) WHERE id > 1) AS s; CREATE TABLE u (id int); INSERT INTO u VALUES (1)`)
		e.definition.Tables["public.t"] = tt.selection
		e.definition.Tables["public.u"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		run, err := e.tryRun(t.Context())
		got := report(run, "public.t")
		if err == nil || got.Status != catalog.Failed || !strings.Contains(got.Error, "max_snapshot_minutes") || !strings.Contains(got.Error, tt.want) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
		if got.Snapshot < time.Second || got.Snapshot > 8*time.Second {
			t.Errorf("%s: the snapshot was held for %s", name, got.Snapshot)
		}
		e.wantSame(t, "u")
		pgtest.Await(t, s, e.sourceDatabase, `SELECT FROM pg_stat_activity WHERE usename = '`+e.reader+`'`, 0)
	}
}

// A table that was committed when the limit was reached has not failed.
func TestSnapshotAgeAtCommit(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.runs.Verify = tablesync.VerifyCount // the snapshot is held until the end for it
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atDestination(t, `
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; EXCEPTION WHEN query_canceled THEN RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON shop.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE slow()`)
	e.atSource(t, `INSERT INTO t VALUES (2)`)
	e.runs.maxSnapshot = 3 * time.Second
	got := <-e.start(t.Context())
	if r := report(got.run, "public.t"); got.err != nil || r.Status != catalog.Succeeded || r.RowsLoaded != 1 {
		t.Errorf("%v, %+v", got.err, r)
	}
	e.wantSame(t, "t")
}

// The limit also applies to the questions that a run asks the source before it reads rows:
// whether old rows have values in a new column, and which key is the greatest.
func TestSnapshotAgeBeforeRows(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, slow := range map[string]func(*env){
		"values of a new column": func(e *env) {
			e.atSource(t, `CREATE VIEW t AS SELECT id FROM generate_series(1, 3) AS id`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
			e.create(t)
			e.run(t)
			e.atSource(t, `CREATE OR REPLACE VIEW t AS SELECT id, CASE WHEN pg_sleep(5) IS NULL THEN 1 END AS extra FROM generate_series(1, 3) AS id`)
		},
		"the greatest key": func(e *env) {
			e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (987654321)`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
			e.create(t)
			e.readHeld(t, 1, "987654321")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			slow(e)
			e.runs.maxSnapshot = time.Second
			result := <-e.start(t.Context())
			got := report(result.run, "public.t")
			if got.Status != catalog.Failed || !strings.Contains(got.Error, "max_snapshot_minutes") {
				t.Errorf("%v, %+v", result.err, got)
			}
			if got.Snapshot < time.Second || got.Snapshot > 8*time.Second {
				t.Errorf("the snapshot was held for %s", got.Snapshot)
			}
		})
	}
}

// A worker that reads a range of a table stops when the range's snapshot has become too old,
// even if it started later.
func TestSnapshotAgeOfParts(t *testing.T) {
	t.Parallel()
	s := sandbox.SharedFrom(t, 14)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'held')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.readHeld(t, 1, "held")
	w, table := e.claimTable(t)
	snapshot := exportSnapshot(t, e.session(t))
	unit := e.plantRange(t, w, table, fmt.Sprintf(`'public.t', '%s', 0, 0`, snapshot))
	w.MaxSnapshot = time.Hour
	w.Expiries.Store(snapshot, time.Now().Add(time.Second))
	if err := (tablesync.RangeCopier{Job: w.Job, Sessions: w.sessions}).CopyInTime(t.Context(), unit); !errors.Is(err, tablesync.ErrSnapshotAge) {
		t.Error(err)
	}
}

// A run holds no snapshot while a chunk of a backlog waits for another session's lock on the
// loaded table: it reads the rest in another snapshot.
func TestSnapshotWhilePieceWaits(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.runs.chunkRows = 1000
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.atDestination(t, `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
		CREATE TRIGGER wait BEFORE INSERT ON shop.t FOR EACH STATEMENT EXECUTE PROCEDURE wait()`)
	e.atSource(t, `INSERT INTO t SELECT g, 'x' FROM generate_series(2, 2500) g; ANALYZE t`)
	holder, locker := e.sessionAtDestination(t), e.sessionAtDestination(t)
	pgtest.Do(t, holder, `SELECT pg_advisory_lock(1)`)
	done := e.start(t.Context())
	pgtest.Await(t, s, e.destinationDatabase, waitingSQL, 1)
	locked := make(chan error, 1)
	go func() { // as CREATE INDEX, which comes while the first chunk is loaded
		_, err := locker.PgConn().Exec(context.WithoutCancel(t.Context()), `BEGIN; LOCK TABLE shop.t IN SHARE MODE`).ReadAll()
		locked <- err
	}()
	waits := `SELECT FROM pg_locks WHERE NOT granted AND relation = 'shop.t'::regclass AND mode = `
	pgtest.Await(t, s, e.destinationDatabase, waits+`'ShareLock'`, 1)
	pgtest.Do(t, holder, unlockAllSQL)
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	pgtest.Await(t, s, e.destinationDatabase, waits+`'RowExclusiveLock'`, 1)
	pgtest.Await(t, s, e.sourceDatabase, `SELECT FROM pg_stat_activity WHERE usename = '`+e.reader+`' AND xact_start IS NOT NULL`, 0)
	pgtest.Do(t, locker, `COMMIT`)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantSame(t, "t")
}

func TestExpectedSnapshot(t *testing.T) {
	for _, tt := range []struct {
		report catalog.Report
		rows   int64
		want   time.Duration
	}{
		{catalog.Report{Status: catalog.Succeeded, RowsExtracted: 100, Snapshot: time.Minute}, 300, 3 * time.Minute},
		{catalog.Report{Status: catalog.Succeeded, RowsExtracted: 100, Snapshot: time.Minute}, 0, time.Minute}, // not analyzed
		{catalog.Report{Status: catalog.Succeeded}, 300, 0},
		{catalog.Report{Status: catalog.Failed, Snapshot: time.Hour}, 1, time.Hour},
	} {
		if got := expectedSnapshot(tt.report, tt.rows); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// While another session holds a lock on the loaded table, a run waits for it without a
// snapshot of the source, and in short turns, so that others get through.
func TestLockBeforeSnapshot(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		e.atSource(t, `INSERT INTO t VALUES (2)`)
		holder := e.sessionAtDestination(t)
		pgtest.Do(t, holder, `BEGIN; LOCK TABLE shop.t IN SHARE MODE`) // as CREATE INDEX has
		done := e.start(t.Context())
		waits := `SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND l.mode = 'RowExclusiveLock' AND a.usename = '` + e.writer + `'`
		for range 2 { // turns
			pgtest.Await(t, s, e.destinationDatabase, waits, 1)
			if held := s.Query(t, e.sourceDatabase, `SELECT query FROM pg_stat_activity WHERE usename = $1 AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)`, e.reader); len(held) > 0 {
				t.Errorf("the source has a transaction: %q", held)
			}
			pgtest.Await(t, s, e.destinationDatabase, waits, 0)
		}
		pgtest.Do(t, holder, `COMMIT`)
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
		e.wantSame(t, "t")
	}
}
