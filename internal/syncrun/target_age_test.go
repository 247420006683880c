package syncrun

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Whatever is done to a loaded table as a whole, the next run makes it match the source, and
// says why. It does not read a table again that is only stored elsewhere.
func TestOlderTarget(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		s := sandbox.Shared(t, major)
		for i, tt := range []struct {
			name, before, sql, why string // why is "" if rows are not read again
		}{
			{"nothing", ``, ``, ``},
			{"truncated", ``, `TRUNCATE shop.t`, "emptied"},
			{"truncated and filled by hand", ``, `TRUNCATE shop.t; INSERT INTO shop.t SELECT * FROM aside`, "restored"},
			{"dropped and created again", ``, `DROP TABLE shop.t; CREATE TABLE shop.t AS TABLE aside; ALTER TABLE shop.t ADD PRIMARY KEY (id); ALTER TABLE shop.t OWNER TO {writer}`, "created again"},
			{"created again, as full as before", ``, `DELETE FROM aside; INSERT INTO aside SELECT id, 'old', _sdc_received_at, _sdc_batched_at, _sdc_sequence - 1, _sdc_table_version FROM shop.t;
				DROP TABLE shop.t; CREATE TABLE shop.t AS TABLE aside; ALTER TABLE shop.t ADD PRIMARY KEY (id); ALTER TABLE shop.t OWNER TO {writer}`, "created again"},
			{"another in its place", `CREATE SCHEMA attic; CREATE TABLE attic.t AS TABLE aside; ALTER TABLE attic.t ADD CONSTRAINT attic_pkey PRIMARY KEY (id); ALTER TABLE attic.t OWNER TO {writer}`,
				`ALTER TABLE shop.t RENAME TO u; ALTER TABLE shop.u SET SCHEMA attic; ALTER TABLE attic.t SET SCHEMA shop`, "created again"},
			{"emptied by DELETE", ``, `DELETE FROM shop.t`, "emptied"},
			{"emptied by DELETE and VACUUM", ``, `DELETE FROM shop.t; {vacuum} shop.t`, "emptied"},
			{"without system columns", ``, `TRUNCATE shop.t; ALTER TABLE shop.t DROP _sdc_sequence`, "emptied"},
			{"vacuumed", ``, `{vacuum} FULL shop.t`, ""},
			{"clustered", ``, `CLUSTER shop.t USING t_pkey`, ""},
			{"unlogged and logged", ``, `ALTER TABLE shop.t SET UNLOGGED; ALTER TABLE shop.t SET LOGGED`, ""},
			{"restored as it was", ``, `DELETE FROM aside; INSERT INTO aside TABLE shop.t; TRUNCATE shop.t; INSERT INTO shop.t TABLE aside`, ""},
			{"given a column of the user's", ``, `ALTER TABLE shop.t ADD mine float DEFAULT random()`, ""},
			{"moved away and back", ``, `CREATE SCHEMA attic; ALTER TABLE shop.t SET SCHEMA attic; ALTER TABLE attic.t SET SCHEMA shop`, ""},
		} {
			t.Run(fmt.Sprintf("postgres%d/%s", major, tt.name), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, s, s)
				e.ignoreLateCommits()
				e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 900) g`)
				e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
				e.create(t)
				e.run(t)
				e.atDestination(t, `CREATE TABLE aside AS TABLE shop.t`)
				e.atSource(t, `INSERT INTO t SELECT g, 'v' FROM generate_series(901, 1000) g; UPDATE t SET v = 'changed' WHERE id = 900`)
				e.run(t)
				replace := strings.NewReplacer("{writer}", e.writer, "{vacuum}", "VACUUM")
				e.eachAtDestination(t, replace.Replace(tt.before))
				e.eachAtDestination(t, replace.Replace(tt.sql))
				if i%2 == 0 {
					e.atSource(t, `INSERT INTO t SELECT g, 'new' FROM generate_series(1001, 1010) g`)
				}
				got := report(e.run(t), "public.t")
				notes := strings.Join(got.Notes, "; ")
				if tt.why == "" && (got.RowsExtracted > 20 || strings.Contains(notes, "whole")) {
					t.Errorf("%d rows were read again: %s", got.RowsExtracted, notes)
				}
				if !strings.Contains(notes, tt.why) {
					t.Errorf("notes %q, want %q", notes, tt.why)
				}
				e.wantSame(t, "t")
				if again := report(e.run(t), "public.t"); again.RowsExtracted > 1 || len(again.Notes) > 0 {
					t.Errorf("the run after reads %d rows: %q", again.RowsExtracted, again.Notes)
				}
				e.wantRecorded(t, "t")
			})
		}
	}
}

// Changes of structure that runs make, chunks, ranges, rows without a key and another key:
// after each, the catalog describes the table as it is.
func TestKeptByRuns(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.ignoreLateCommits()
		e.runs.chunkRows, e.runs.rangeBytes = 1000, 100<<10
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text, w varchar(3)); CREATE TABLE u (id int, v text); CREATE INDEX ON u (id);
			INSERT INTO t SELECT g, repeat('v', 100), 'w' FROM generate_series(1, 5000) g; INSERT INTO u SELECT g % 4000, 'v' FROM generate_series(1, 5000) g`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.definition.Tables["public.u"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		for _, tt := range []struct {
			change string
			whole  bool
		}{
			{``, true},
			{`INSERT INTO t SELECT g, 'v' FROM generate_series(5001, 9000) g; INSERT INTO u SELECT 10000 + g, 'v' FROM generate_series(1, 5000) g`, false},
			{`UPDATE t SET v = 'changed' WHERE id = 9000; INSERT INTO u VALUES (15000, 'v'), (15000, 'w')`, false},
			{`ALTER TABLE t ADD x int DEFAULT 7; ALTER TABLE u ADD x int DEFAULT 7`, false}, // PostgreSQL 10 rewrites the table
			{`ALTER TABLE t ALTER w TYPE varchar(9)`, false},
			{`ALTER TABLE u ADD y serial; ALTER TABLE u ADD PRIMARY KEY (y)`, true},
		} {
			e.atSource(t, tt.change)
			run := e.run(t)
			for _, table := range []string{"t", "u"} {
				notes := strings.Join(report(run, "public."+table).Notes, "; ")
				if strings.Contains(notes, "whole") && !tt.whole && s.Major > 10 || strings.Contains(notes, "destination") {
					t.Errorf("%s: notes on %s: %s", tt.change, table, notes)
				}
				e.wantSame(t, table)
				e.wantRecorded(t, table)
			}
		}
		e.wantRows(t, `SELECT DISTINCT status FROM _stitch.loaded_table`, "ready")
	})
}

// eachAtDestination runs statements one by one, each in a transaction of its own.
func (e *env) eachAtDestination(t *testing.T, sql string) {
	t.Helper()
	for statement := range strings.SplitSeq(sql, ";") {
		if strings.TrimSpace(statement) != "" {
			e.atDestination(t, statement)
		}
	}
}

// wantRecorded fails unless what the catalog holds of a loaded table is true.
func (e *env) wantRecorded(t *testing.T, table string) {
	t.Helper()
	e.wantRows(t, `
		SELECT l.oid = c.oid, l.relfilenode = c.relfilenode, l.row_count = n.rows, l.last_sequence IS NOT DISTINCT FROM n.sequence
		FROM _stitch.loaded_table l, pg_class c, (SELECT count(*) AS rows, max(_sdc_sequence) AS sequence FROM shop.`+table+`) n
		WHERE l.table_name = '`+table+`' AND c.oid = 'shop.`+table+`'::regclass`, "t|t|t|t")
}
