package syncrun

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// A login that may read only the replicated columns replicates them, and the report says what
// it cannot know without further privileges.
func TestColumnRights(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.runs.rangeBytes, e.runs.Verify = 50<<10, tablesync.VerifyChecksum
		e.servers = e.newServers(t, 2)
		e.atSource(t, `
			CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL, card text, v text); INSERT INTO t SELECT i, now() - interval '1 day', 'secret', repeat('v', 100) FROM generate_series(1, 2000) AS i;
			CREATE TABLE parted (id int, at timestamptz NOT NULL, card text, v text) PARTITION BY RANGE (id);
			CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100); INSERT INTO parted SELECT i, now(), 'secret', 'v' FROM generate_series(1, 50) AS i;
			CREATE TABLE whole (id int PRIMARY KEY, card text, v text); INSERT INTO whole SELECT id, card, v FROM t;
			CREATE VIEW v AS SELECT id, at, card FROM t;
			REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM `+e.reader+`;
			GRANT SELECT (id, at, v) ON t, parted TO `+e.reader+`; GRANT SELECT (id, v) ON whole TO `+e.reader+`; GRANT SELECT (id, at) ON v TO `+e.reader)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at", ExcludeColumns: []string{"card"}}
		e.definition.Tables["public.parted"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at", ExcludeColumns: []string{"card"}}
		e.definition.Tables["public.whole"] = definition.Selection{Method: definition.FullTable, Columns: []string{"id", "v"}}
		e.definition.Tables["public.v"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at", Columns: []string{"id", "at"}, ViewKeyProperties: []string{"id"}}
		e.create(t)
		same := func() {
			t.Helper()
			e.wantSame(t, "t", "id", "at", "v")
			e.wantSame(t, "parted", "id", "at", "v")
			e.wantSame(t, "whole", "id", "v")
			e.wantSame(t, "v", "id", "at")
		}
		run := e.run(t)
		same()
		for _, table := range []string{"public.t", "public.parted"} {
			if notes := strings.Join(report(run, table).Notes, "\n"); !strings.Contains(notes, "GRANT SELECT (xmin, ctid, tableoid)") {
				t.Errorf("%s: %q", table, notes)
			}
		}
		e.atSource(t, `UPDATE t SET v = 'new', at = now() WHERE id < 10; DELETE FROM whole WHERE id = 5; ALTER TABLE t ADD more int DEFAULT 7; GRANT SELECT (more) ON t TO `+e.reader+`;
			CREATE TABLE parted_2 (LIKE parted); INSERT INTO parted_2 SELECT i, now() - interval '9 days', 'secret', 'old' FROM generate_series(100, 150) AS i;
			ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (100) TO (200)`)
		e.run(t)
		same()
		e.atSource(t, fmt.Sprintf(`GRANT SELECT (xmin, ctid, tableoid) ON t, parted TO %s`, e.reader))
		if notes := strings.Join(report(e.run(t), "public.t").Notes, "\n"); strings.Contains(notes, "runs miss rows") {
			t.Errorf("with rights on system columns: %q", notes)
		}
		same()
	})
}

// A run sees what happens to a table between the snapshot and the lock, which such a login
// gets only by reading.
func TestColumnRightsMeanwhile(t *testing.T) {
	t.Parallel()
	for _, change := range []string{
		`TRUNCATE t; INSERT INTO t VALUES (7, 'c', 'new')`,
		`ALTER TABLE t ALTER v TYPE varchar(30) USING v || '!'`,
		`DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, card text, v text); INSERT INTO t VALUES (8, 'c', 'other'); GRANT SELECT (id, v) ON t TO reader`,
		`ALTER TABLE t DROP v; ALTER TABLE t ADD v text DEFAULT 'again'; GRANT SELECT (v) ON t TO reader`,
	} {
		e := newEnv(t, sandbox.Shared(t, 0), sandbox.Shared(t, 0))
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, card text, v text); INSERT INTO t VALUES (1, 'c', 'v');
			REVOKE SELECT ON t FROM `+e.reader+`; GRANT SELECT (id, v) ON t TO `+e.reader)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable, Columns: []string{"id", "v"}}
		e.create(t)
		other := e.session(t)
		pgtest.Do(t, other, "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; "+strings.ReplaceAll(change, "reader", e.reader))
		done := e.start(t.Context())
		pgtest.Await(t, e.source, e.sourceDatabase, `SELECT FROM pg_stat_activity WHERE usename = '`+e.reader+`' AND wait_event_type = 'Lock'`, 1)
		pgtest.Do(t, other, "COMMIT")
		if r := <-done; r.err != nil {
			t.Fatal(r.err)
		}
		e.wantSame(t, "t", "id", "v")
	}
}
