package syncrun

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// waitingSQL finds the sessions of a database that wait for an advisory lock.
const waitingSQL = `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

const (
	twoRangesSQL = `CREATE TABLE t (id int PRIMARY KEY, v text);` // for 20000 rows
	unlockAllSQL = `SELECT pg_advisory_unlock_all()`
)

// inRanges creates t, as create says, and prepares two workers for it, which read it in
// ranges. The proxy that it returns holds the rows 1 and 20000, which are in different
// ranges, at the markers "held 1" and "held 2".
func inRanges(t *testing.T, e *env, create string, rows int) *proxy {
	t.Helper()
	sandbox.SharedFrom(t, 14) // or skip: older major versions cannot read a range of pages alone
	e.atSource(t, create+fmt.Sprintf(`
		INSERT INTO t SELECT g, CASE g WHEN 1 THEN 'held 1' WHEN 20000 THEN 'held 2' ELSE md5(g::text) END FROM generate_series(1, %d) g`, rows))
	e.runs.rangeBytes = 500 << 10
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	return e.readHeld(t, 2, "held 1", "held 2")
}

// ownRange waits until both workers are in the middle of a range, and returns the marker in
// the range that the table's own worker copies.
func ownRange(t *testing.T, e *env, p *proxy) string {
	t.Helper()
	p.awaitHeld(t, 2)
	return "held " + pgtest.Await(t, e.destination, e.destinationDatabase, `
		SELECT p.n
		FROM _stitch.unit AS u
		JOIN (SELECT *, rank() OVER (ORDER BY id) AS n FROM _stitch.unit WHERE part_of IS NOT NULL) AS p ON p.part_of = u.id AND split_part(p.claimed_by, ' ', 2) = split_part(u.claimed_by, ' ', 2)`, 1)[0]
}

// otherCopier waits until the table's own worker has copied its range, and returns the
// session, in the destination, of the worker that still copies.
func otherCopier(t *testing.T, e *env, p *proxy) string {
	t.Helper()
	p.release(t, ownRange(t, e, p))
	return pgtest.Await(t, e.destination, e.destinationDatabase, `SELECT split_part(claimed_by, ' ', 2) FROM _stitch.unit WHERE part_of IS NOT NULL AND NOT done`, 1)[0]
}

// wantNoStaging fails if a staging table of ranges is left.
func (e *env) wantNoStaging(t *testing.T) {
	t.Helper()
	e.wantRows(t, `SELECT relname FROM pg_class WHERE relname LIKE '\_sdc%' AND relkind = 'r'`)
}

// No worker waits for one that dies in the middle of a range and cannot report it: another
// worker copies that range. If it was the leader, no worker can record how the run ended, but
// what was committed stays.
func TestLostHelper(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, twoRangesSQL, 20000)
	e.runs.lease = shortLease
	done := e.start(t.Context())
	helper := otherCopier(t, e, p)
	led := e.destination.Query(t, e.destinationDatabase, leaderSQL)
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT 1`) // as if other sessions had taken the connections
	s.Query(t, "postgres", `SELECT pg_terminate_backend($1::text::int)`, helper)
	pgtest.Await(t, s, "postgres", `SELECT FROM pg_stat_activity WHERE pid = `+helper, 0)
	p.releaseAll(t)
	got := <-done
	if leads := slices.Equal(led, []string{helper}); leads != (pgclient.Code(got.err) == "53300") || !leads && got.err != nil {
		t.Errorf("the worker that was lost is %s, %q leads, and the run says: %v", helper, led, got.err)
	}
	if len(got.run.Notes) != 1 {
		t.Errorf("notes %q, want that of the lost worker", got.run.Notes)
	}
	e.wantRows(t, `SELECT source_table, status FROM _stitch.report`, "public.t|succeeded")
	e.wantSame(t, "t")
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT -1`)
	e.run(t)
	e.wantNoStaging(t)
}

// leaderSQL finds the session that leads a run.
const leaderSQL = `SELECT pid FROM _stitch.leader`

// When the source ends all sessions while the table's own worker waits for the range of
// another, the run tries the table again.
func TestSourceSessionsEnd(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, twoRangesSQL, 20000)
	done := e.start(t.Context())
	otherCopier(t, e, p)
	if ended := s.Query(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, e.reader); len(ended) != 2 {
		t.Errorf("%d sessions were ended", len(ended))
	}
	p.cutHeld(t, p.awaitHeld(t, 1)[0]) // or the rest of the range, which may have been sent, would still arrive
	p.releaseAll(t)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantNoStaging(t)
	e.wantSame(t, "t")
}

// When the table's own worker fails with a transient error, it tries again although another
// worker still copies into the table of the first attempt.
func TestOwnerFails(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, twoRangesSQL, 20000)
	done := e.start(t.Context())
	p.cutHeld(t, ownRange(t, e, p))
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_class WHERE relname LIKE '\_sdc\_loading\_%' AND relkind = 'r'`, 2)
	p.releaseAll(t)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantNoStaging(t)
	e.wantSame(t, "t")
}

// What other roles do with a table that is being loaded, for which they need no privilege but
// USAGE on its schema, fails neither this run nor a later one. The run reports what prevents
// it from dropping the table.
func TestStagingInUse(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct{ held, kept, release string }{
		"a view":      {`SET ROLE %[1]s; SET search_path = public; CREATE VIEW v AS TABLE %[2]s`, "view public.v depends on table", `RESET ROLE; DROP VIEW v`},
		"a statement": {`SET ROLE %[1]s; BEGIN; PREPARE p AS TABLE %[2]s`, "AccessShareLock", `COMMIT`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			p := inRanges(t, e, twoRangesSQL, 20000)
			p.releaseAll(t)
			e.run(t)
			p = e.readHeld(t, 2, "held 2") // into a staging table
			done := e.start(t.Context())
			p.awaitHeld(t, 1)
			reader, other := s.Role(t), e.sessionAtDestination(t)
			staging := s.Query(t, e.destinationDatabase, `SELECT oid::regclass FROM pg_class WHERE relname LIKE '\_sdc\_loading\_%' AND relkind = 'r'`)[0]
			e.atDestination(t, `GRANT USAGE ON SCHEMA shop TO `+reader+`; GRANT CREATE ON SCHEMA public TO `+reader)
			pgtest.Do(t, other, fmt.Sprintf(tt.held, reader, staging))
			p.releaseAll(t)
			wantKept := func(run Run) {
				t.Helper()
				if notes := strings.Join(run.Notes, "\n"); len(run.Notes) != 1 || !strings.Contains(notes, staging) || !strings.Contains(notes, tt.kept) {
					t.Errorf("notes %q, want that %s is kept, and %q", run.Notes, staging, tt.kept)
				}
			}
			got := <-done
			if got.err != nil {
				t.Fatal(pgclient.Explain(got.err))
			}
			wantKept(got.run)
			wantKept(e.run(t))
			e.wantSame(t, "t")
			pgtest.Do(t, other, tt.release)
			if run := e.run(t); len(run.Notes) > 0 {
				t.Errorf("notes %q", run.Notes)
			}
			e.wantNoStaging(t)
		})
	}
}

// A table that was loaded in ranges gets its name once its readers are done, and no other
// session waits behind that.
func TestStagingIsRenamed(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, twoRangesSQL, 20000)
	done := e.start(t.Context())
	p.awaitHeld(t, 2)
	staging := s.Query(t, e.destinationDatabase, `SELECT oid::regclass FROM pg_class WHERE relname LIKE '\_sdc\_loading\_%' AND relkind = 'r'`)[0]
	other := e.sessionAtDestination(t)
	pgtest.Do(t, other, `BEGIN; PREPARE p AS TABLE `+staging)
	p.releaseAll(t)
	waits := `SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = '` + staging + `'::regclass`
	for range 2 { // turns
		pgtest.Await(t, s, e.destinationDatabase, waits, 1)
		pgtest.Await(t, s, e.destinationDatabase, waits, 0)
	}
	pgtest.Do(t, other, `COMMIT`)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantSame(t, "t")
	e.wantNoStaging(t)
}

// A partition that is attached while ranges are read arrives whole.
func TestAttachedWhileRead(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, `
		CREATE TABLE t (id int, v text) PARTITION BY RANGE (id);
		CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100000);
		CREATE TABLE t_2 (id int, v text); INSERT INTO t_2 SELECT g, md5(g::text) FROM generate_series(100001, 140000) g;`, 40000)
	done := e.start(t.Context())
	p.awaitHeld(t, 2)
	e.wantRows(t, `SELECT count(*) > 0 FROM _stitch.unit WHERE claimed_by IS NULL`, "t") // ranges are read after it too
	e.atSource(t, `ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (100000) TO (200000)`)
	p.releaseAll(t)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantSame(t, "t")
}

// The staging table of a killed run is dropped when the replication is deleted.
func TestDeleteAfterKill(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, twoRangesSQL, 20000)
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	done := e.start(ctx)
	ownRange(t, e, p)
	// As after kill -9: the worker can record nothing in the catalog.
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT 0`)
	s.Query(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, e.writer)
	kill()
	<-done
	e.wantRows(t, `SELECT count(*) FROM pg_class WHERE relname LIKE '\_sdc\_loading\_%' AND relkind = 'r'`, "1")
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT -1`)
	if err := replication.Delete(t.Context(), e.endpoint(), "shop", true); err != nil {
		t.Fatal(err)
	}
	e.wantRows(t, `SELECT nspname, relname FROM pg_namespace n LEFT JOIN pg_class c ON relnamespace = n.oid AND relkind = 'r' WHERE nspname IN ('shop', '_stitch')`)
}

// The snapshot of a table that was read in ranges ends before the merge: it holds back VACUUM
// at the source.
func TestSnapshotHeld(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	inRanges(t, e, twoRangesSQL, 20000).releaseAll(t)
	e.run(t)
	e.atDestination(t, `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
		CREATE TRIGGER wait BEFORE INSERT ON shop.t FOR EACH STATEMENT EXECUTE PROCEDURE wait()`)
	holder := e.sessionAtDestination(t)
	pgtest.Do(t, holder, `SELECT pg_advisory_lock(1)`)
	done := e.start(t.Context())
	pgtest.Await(t, s, e.destinationDatabase, waitingSQL, 1)
	if open := s.Query(t, e.sourceDatabase, `SELECT state, now() - xact_start FROM pg_stat_activity WHERE usename = $1 AND xact_start IS NOT NULL`, e.reader); len(open) > 0 {
		t.Errorf("while rows are merged, the source has %q", open)
	}
	pgtest.Do(t, holder, unlockAllSQL)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
}
