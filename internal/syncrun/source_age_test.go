package syncrun

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// moveTo makes another server the source, as one that takes its place.
func (e *env) moveTo(t *testing.T, s *sandbox.Server) {
	e.source, e.sourcePort = s, s.Port
	e.servers = e.newServers(t, 1)
}

// noise keeps a server from writing anything by itself.
var noise = map[string]string{"autovacuum": "off"}

// ageTables creates tables whose rows tell which transaction wrote them and tables whose rows
// do not, with and without a key of their own.
func (e *env) ageTables(t *testing.T) {
	t.Helper()
	key := ", PRIMARY KEY (id)"
	if e.source.Major < 11 {
		key = "" // of a partitioned table
	}
	e.atSource(t, `
		CREATE TABLE keyed (id serial PRIMARY KEY, n serial, v text); CREATE INDEX ON keyed (n);
		CREATE TABLE keyless (n serial, v text);
		CREATE TABLE parted (id serial, n serial, v text`+key+`) PARTITION BY RANGE (id);
		CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (50); CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (50) TO (100000);
		CREATE VIEW viewed AS SELECT * FROM keyed;
		CREATE TABLE idle (id serial PRIMARY KEY); INSERT INTO idle SELECT FROM generate_series(1, 100)`)
	e.write(t, "before", 100)
	for _, table := range []string{"keyed", "keyless", "parted"} {
		e.definition.Tables["public."+table] = definition.Selection{Method: definition.Incremental, ReplicationKey: "n"}
	}
	e.definition.Tables["public.viewed"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "n", ViewKeyProperties: []string{"id"}}
	e.definition.Tables["public.idle"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
}

// write inserts rows, each by a transaction of its own, and changes one.
func (e *env) write(t *testing.T, v string, rows int) {
	t.Helper()
	conn := e.session(t)
	for range 4 {
		pgtest.Do(t, conn, `INSERT INTO keyed (v) SELECT '`+v+`' FROM generate_series(1, `+strconv.Itoa(rows/4)+`)`)
		pgtest.Do(t, conn, `INSERT INTO keyless (v) SELECT '`+v+`' FROM generate_series(1, `+strconv.Itoa(rows/4)+`)`)
		pgtest.Do(t, conn, `INSERT INTO parted (v) SELECT '`+v+`' FROM generate_series(1, `+strconv.Itoa(rows/4)+`)`)
	}
	pgtest.Do(t, conn, `UPDATE keyed SET v = '`+v+` too', n = nextval('keyed_n_seq') WHERE id = (SELECT min(id) FROM keyed WHERE v = 'before')`)
	if e.source.Major >= 11 { // else it has no key, and INCREMENTAL keeps the row as it was
		pgtest.Do(t, conn, `UPDATE parted SET v = '`+v+` too', n = nextval('parted_n_seq') WHERE id = (SELECT min(id) FROM parted WHERE v = 'before')`)
	}
}

// wantCurrent fails unless all tables whose rows tell their transaction match the source,
// except for rows of an earlier version, which the source no longer has.
func (e *env) wantCurrent(t *testing.T) {
	t.Helper()
	for _, table := range []string{"keyed", "keyless", "parted", "viewed", "idle"} {
		e.wantSame(t, table)
	}
}

// A run reads a source whole that has gone back in time, or may have, and the report says
// why. It does not if the source has gone on.
func TestOlderSource(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		shared := sandbox.Shared(t, major)
		for _, tt := range []struct {
			name    string
			since   int // major version
			after   int // rows that are written and read after the copy was made
			again   int // rows that are written after the copy was put back
			promote bool
			grant   bool
			why     string // "" if only new rows are read
			views   string // why, for rows that do not tell their transaction
		}{
			{"started again", 10, 0, 100, false, false, "", "the source was restarted"},
			{"a cold copy", 10, 400, 0, false, false, "gone back in time", "gone back in time"},
			{"a cold copy that was written to", 10, 40, 40, false, false, "", ""},
			{"a cold copy that was overtaken", 10, 40, 4000, false, false, "copy", "copy"},
			{"restored, the history cannot be read", 12, 40, 4000, true, false, "The login cannot read where", "The login cannot read where"},
			{"restored", 12, 40, 4000, true, true, "has lost what was written", "has lost what was written"},
			{"failed over, the history cannot be read", 12, 0, 40, true, false, "The login cannot read where", "The login cannot read where"},
			{"failed over", 12, 0, 40, true, true, "", ""},
		} {
			if shared.Major < tt.since {
				continue
			}
			t.Run(fmt.Sprintf("postgres%d/%s", major, tt.name), func(t *testing.T) {
				t.Parallel()
				first := sandbox.OwnServer(t, sandbox.Config{Major: shared.Major, Settings: noise})
				e := newEnv(t, first, shared)
				e.ageTables(t)
				if tt.grant {
					e.atSource(t, `GRANT EXECUTE ON FUNCTION pg_read_file(text) TO `+e.reader)
				}
				e.create(t)
				e.run(t)
				if tt.after == 0 {
					e.write(t, "after", 40)
					e.run(t)
				}
				copied := first.CopyData(t)
				if tt.after > 0 {
					e.write(t, "undone", tt.after)
					e.run(t)
				}
				second := sandbox.OwnServer(t, sandbox.Config{Major: shared.Major, Settings: noise, Data: copied, Recovers: tt.promote})
				if tt.promote {
					second.Promote(t)
				}
				e.moveTo(t, second)
				if tt.again > 0 {
					e.write(t, "new", tt.again)
				}
				run := e.run(t)
				for table, why := range map[string]string{"keyed": tt.why, "keyless": tt.why, "parted": tt.why, "viewed": tt.views} {
					got := report(run, "public."+table)
					notes := strings.Join(got.Notes, "; ")
					if !strings.Contains(notes, why) || why == "" && tt.name != "a cold copy that was written to" && strings.Contains(notes, "replicated whole") {
						t.Errorf("%s: notes %q, want %q", table, notes, why)
					}
				}
				e.wantCurrent(t)
				for _, again := range e.run(t).Tables {
					if strings.Contains(strings.Join(again.Notes, "; "), "replicated whole") {
						t.Errorf("the run after: %s: %q", again.SourceTable, again.Notes)
					}
				}
			})
		}
	}
}

// A standby that is promoted goes on, and its rows are not read again, although the numbers
// of transactions and timelines differ.
func TestPromotedStandby(t *testing.T) {
	t.Parallel()
	s := sandbox.SharedFrom(t, 12)
	primary := sandbox.OwnServer(t, sandbox.Config{Major: s.Major, Settings: noise})
	standby := sandbox.OwnServer(t, sandbox.Config{Major: s.Major, Settings: noise, StandbyOf: primary})
	e := newEnv(t, primary, s)
	e.ageTables(t)
	e.create(t)
	standby.Follow(t, e.source)
	e.readFrom(t, standby.Host, standby.Port)
	e.run(t)
	e.write(t, "after", 40)
	standby.Follow(t, e.source)
	e.run(t)
	standby.Promote(t)
	e.moveTo(t, standby)
	e.write(t, "promoted", 40)
	for range 2 {
		for _, r := range e.run(t).Tables {
			if strings.Contains(strings.Join(r.Notes, "; "), "replicated whole") {
				t.Errorf("%s: %q", r.SourceTable, r.Notes)
			}
		}
		e.wantCurrent(t)
	}
}

// A login that may read nothing about the server still replicates.
func TestSourceTellsNothing(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
			REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_current_wal_flush_lsn() FROM PUBLIC`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		e.atSource(t, `INSERT INTO t VALUES (2)`)
		if got := report(e.run(t), "public.t"); len(got.Notes) > 0 {
			t.Errorf("notes %q", got.Notes)
		}
		e.wantSame(t, "t")
		e.atDestination(t, `UPDATE _stitch.loaded_table SET source_position = jsonb_set(source_position, '{started}', '"yesterday"')`)
		if notes := strings.Join(report(e.run(t), "public.t").Notes, "; "); !strings.Contains(notes, "the login cannot call the functions") {
			t.Errorf("after a start: notes %q", notes)
		}
		e.wantSame(t, "t")
	})
}

// A table of the source that was emptied and filled again, or rewritten, is read whole, even
// if the run looks for nothing before the bookmark.
func TestRestoredTable(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for _, change := range []string{
		`TRUNCATE t; INSERT INTO t SELECT g, 'restored' FROM generate_series(1, 12) g`,
		`ALTER TABLE t ALTER v TYPE text USING v || ' changed'`,
	} {
		e := newEnv(t, s, s)
		e.ignoreLateCommits()
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 10) g`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		e.atSource(t, change)
		if notes := strings.Join(report(e.run(t), "public.t").Notes, "; "); !strings.Contains(notes, "replicated whole: the table was emptied by TRUNCATE, restored or rewritten at the source") {
			t.Errorf("%s: notes %q", change, notes)
		}
		e.wantSame(t, "t")
		if notes := report(e.run(t), "public.t").Notes; len(notes) > 0 {
			t.Errorf("%s: notes of the run after %q", change, notes)
		}
	}
}

// Rows that a restore has undone are deleted; rows that had been deleted at the source
// before, and that INCREMENTAL keeps, stay.
func TestUndoneRowsGo(t *testing.T) {
	t.Parallel()
	shared := sandbox.Shared(t, 0)
	first := sandbox.OwnServer(t, sandbox.Config{Settings: noise})
	e := newEnv(t, first, shared)
	e.ageTables(t)
	e.create(t)
	e.run(t)
	e.atSource(t, `DELETE FROM keyed WHERE id BETWEEN 10 AND 19`)
	copied := first.CopyData(t)
	e.write(t, "undone", 400)
	e.run(t)
	e.moveTo(t, sandbox.OwnServer(t, sandbox.Config{Settings: noise, Data: copied}))
	notes := strings.Join(report(e.run(t), "public.keyed").Notes, "; ")
	if !strings.Contains(notes, "400 rows were deleted: they were read after the point to which the source has gone back") {
		t.Errorf("notes %q", notes)
	}
	e.wantRows(t, `SELECT count(*), count(*) FILTER (WHERE id BETWEEN 10 AND 19), count(*) FILTER (WHERE v LIKE 'undone%') FROM shop.keyed`, "100|10|0")
	e.wantRecorded(t, "keyed")
}
