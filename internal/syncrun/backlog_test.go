package syncrun

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// A large backlog is committed in chunks: chunks committed before a failure stay, and the
// next run continues after them.
func TestBacklog(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for name, create := range map[string]string{
			"with a key":    `CREATE TABLE t (id int PRIMARY KEY, k int, v text); CREATE INDEX ON t (k)`,
			"without a key": `CREATE TABLE t (id int, k int, v text); CREATE INDEX ON t (k)`,
		} {
			e := newEnv(t, s, s)
			e.runs.chunkRows = 1000
			e.atSource(t, create+`; INSERT INTO t SELECT g, g, 'v' FROM generate_series(1, 10) g`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
			e.create(t)
			e.run(t)
			e.atSource(t, `INSERT INTO t SELECT g, g / 3, 'v' FROM generate_series(30, 15000) g; INSERT INTO t VALUES (20000, NULL, 'null'); ANALYZE t`)
			// The destination refuses a row of the fourth chunk or so.
			e.atDestination(t, `ALTER TABLE shop.t ADD CONSTRAINT small CHECK (k < 3500)`)
			run, err := e.tryRun(t.Context())
			got := report(run, "public.t")
			if err == nil || got.Status != catalog.Failed || got.RowsLoaded < 2000 || got.RowsLoaded > 11000 || got.Bookmark == "" {
				t.Errorf("%s: %v, %+v", name, err, got)
			}
			e.wantRows(t, `SELECT bookmark = (SELECT max(k)::text FROM shop.t) AND bookmark::int BETWEEN 1000 AND 3499 FROM _stitch.bookmark`, "t")
			e.wantRows(t, `SELECT rows_loaded = `+fmt.Sprint(got.RowsLoaded)+` FROM _stitch.report WHERE status = 'failed'`, "t")
			e.atDestination(t, `ALTER TABLE shop.t DROP CONSTRAINT small`)
			if rest := report(e.run(t), "public.t"); rest.RowsLoaded+got.RowsLoaded != 14972 || rest.Bookmark != "5000" {
				t.Errorf("%s: %d rows, and %d after", name, got.RowsLoaded, rest.RowsLoaded)
			}
			e.wantSame(t, "t")
		}
	})
}

// A run follows another primary key, and one of another type.
func TestKeyChanges(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for _, selection := range []definition.Selection{{Method: definition.FullTable}, {Method: definition.Incremental, ReplicationKey: "k"}} {
			e := newEnv(t, s, s)
			e.atSource(t, `CREATE TABLE t (id int, b int NOT NULL, k int, PRIMARY KEY (id)); INSERT INTO t SELECT g, 0, g FROM generate_series(1, 9) g`)
			e.definition.Tables["public.t"] = selection
			e.create(t)
			e.run(t)
			e.atDestination(t, `CREATE VIEW shop.mine AS SELECT id, k FROM shop.t; CREATE INDEX mine_too ON shop.t (k); GRANT SELECT ON shop.t TO PUBLIC`)
			for _, tt := range []struct{ change, says string }{
				{`ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, b); INSERT INTO t VALUES (1, 1, 10)`, "now identified by (id, b), and were identified by (id)"},
				{`ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER b DROP NOT NULL; INSERT INTO t VALUES (1, NULL, 11), (1, NULL, 11)`, "now identified by no key, and were identified by (id, b)"},
				{`DELETE FROM t WHERE b IS NULL OR b = 1; ALTER TABLE t ADD PRIMARY KEY (id)`, "now identified by (id), and were identified by no key"},
				{``, ``},
			} {
				e.atSource(t, tt.change)
				for range 2 {
					changes := strings.Join(report(e.run(t), "public.t").Changes, "; ")
					if !strings.Contains(changes, tt.says) || tt.says == "" && changes != "" {
						t.Errorf("changes %q, want %q", changes, tt.says)
					}
					tt.says = ""
					e.wantSame(t, "t")
				}
			}
			e.atSource(t, `ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t VALUES (5000000000, 0, 12)`)
			e.run(t)
			e.atSource(t, `INSERT INTO t VALUES (5000000001, 0, 13)`)
			if got := report(e.run(t), "public.t"); got.RowsLoaded != 1 || len(got.Changes) > 0 {
				t.Errorf("after the key became bigint: %+v", got)
			}
			e.wantRows(t, `SELECT id__bigint, k FROM shop.t WHERE id__bigint > 8 ORDER BY 1`, "9|9", "5000000000|12", "5000000001|13")
			e.wantRows(t, `SELECT count(*) FROM shop.mine`, "11")
		}
	})
}

// Types whose binary form means nothing on another server cross as text, and arrive in their
// own type.
func TestText(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	oldest, newest := sandbox.Shared(t, majors[0]), sandbox.Shared(t, majors[len(majors)-1])
	for _, pair := range [][2]*sandbox.Server{{oldest, newest}, {newest, oldest}} {
		e := newEnv(t, pair[0], pair[1])
		e.atSource(t, `CREATE EXTENSION hstore; CREATE EXTENSION citext;
			CREATE TABLE t (id int PRIMARY KEY, h hstore[], c citext[], f float8, n numeric, i interval, j jsonb, b bytea, m money, at timestamptz, s text);
			INSERT INTO t VALUES
				(1, ARRAY['a=>NULL, "b"=>""'::hstore, NULL], '{A,b,NULL}', 0.1, 'NaN', '-1 mon 3 days 00:00:00.000001', '{"a": "\\"}', '\x00ff5c', 12.34, '0044-03-15 12:00+00 BC', E'tab\tnewline\n\\N'),
				(2, '{}', NULL, 'Infinity', 1e400, '178000000 years', '[]', '', -0.01, 'infinity', ''),
				(3, NULL, '{{a,b},{c,d}}', '1.7976931348623157e308', NULL, NULL, NULL, NULL, NULL, NULL, '\.')`)
		e.atDestination(t, `CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; GRANT USAGE ON SCHEMA ext TO `+e.writer)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		for range 2 {
			notes := strings.Join(report(e.run(t), "public.t").Notes, "; ")
			if newest.Major < 17 && strings.Contains(notes, "interval") || !strings.Contains(notes, "transferred as text") || !strings.Contains(notes, "hstore[]") {
				t.Errorf("notes %q", notes)
			}
			e.wantSame(t, "t", "id", "h", "c", "n", "i", "j", "b", "m", "at", "s")
			e.wantRows(t, `SELECT id, float8send(f) FROM shop.t ORDER BY id`, e.source.Query(t, e.sourceDatabase, `SELECT id, float8send(f) FROM t ORDER BY id`)...)
		}
		e.wantRows(t, `SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'shop.t'::regclass AND attname IN ('h', 'c') ORDER BY 1`, "ext.citext[]", "ext.hstore[]")
	}
}

// PostgreSQL 17 has infinite intervals. In binary form an older server would read them as
// long ones; it refuses their text.
func TestInfiniteInterval(t *testing.T) {
	t.Parallel()
	e := newEnv(t, sandbox.SharedFrom(t, 17), sandbox.SharedBefore(t, 17))
	e.atSource(t, `CREATE TABLE t (i interval); INSERT INTO t VALUES ('1 day')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.wantSame(t, "t")
	e.atSource(t, `INSERT INTO t VALUES ('infinity')`)
	if _, err := e.tryRun(t.Context()); err == nil || !strings.Contains(err.Error(), "infinity") {
		t.Errorf("got %v", err)
	}
}

// A comparison after loading finds what differs.
func TestVerify(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	source, destination := sandbox.Shared(t, majors[0]), sandbox.Shared(t, majors[len(majors)-1])
	for _, verify := range []string{tablesync.VerifyCount, tablesync.VerifyChecksum} {
		e := newEnv(t, source, destination)
		e.runs.Verify = verify
		e.atSource(t, createExtremes([]string{"double precision", "real", "jsonb", "integer[]", "mood", "timestamp(3) with time zone", "bytea"})+`
			CREATE TABLE grows (id int PRIMARY KEY); INSERT INTO grows SELECT generate_series(1, 10)`)
		e.definition.Tables["public.extremes"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.grows"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		for range 2 {
			run := e.run(t)
			for _, r := range run.Tables {
				if !strings.HasPrefix(r.Verification, "the same by "+verify) {
					t.Errorf("%s: %q", r.SourceTable, r.Verification)
				}
			}
		}
		// A trigger of the destination's owner drops a row, or changes it.
		e.atSource(t, `INSERT INTO extremes (id) VALUES (1000); DELETE FROM grows WHERE id = 1`)
		e.atDestination(t, `CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER swallow BEFORE INSERT ON shop.extremes FOR EACH ROW EXECUTE PROCEDURE swallow()`)
		run, err := e.tryRun(t.Context())
		if err == nil || !strings.Contains(report(run, "public.extremes").Error, "Nothing was committed") {
			t.Errorf("%s: %v", verify, err)
		}
		if got := report(run, "public.grows"); got.Status != catalog.Succeeded || !strings.HasPrefix(got.Verification, "different by "+verify) {
			t.Errorf("%s: %+v", verify, got)
		}
	}
}
