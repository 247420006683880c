package syncrun

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A snapshot does not protect from TRUNCATE and rewrites: a run that starts during one waits,
// and sees the rows after it.
func TestTruncatedMeanwhile(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for name, tt := range map[string]struct{ create, change string }{
			"a table":     {`CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 5)`, `TRUNCATE t; INSERT INTO t SELECT generate_series(1, 6)`},
			"a partition": {`CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100); INSERT INTO t VALUES (1)`, `TRUNCATE t1; INSERT INTO t1 VALUES (1), (2)`},
			"a view":      {`CREATE TABLE base (id int); INSERT INTO base VALUES (1); CREATE VIEW t AS SELECT * FROM base`, `TRUNCATE base; INSERT INTO base VALUES (1), (2)`},
		} {
			if name == "a view" && s.Major < 11 {
				continue // views cannot be locked
			}
			e := newEnv(t, s, s)
			e.atSource(t, tt.create)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
			e.create(t)
			e.run(t)

			conn, err := pgx.Connect(t.Context(), s.URL(e.sourceDatabase))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), "BEGIN;"+tt.change); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := e.tryRun(t.Context())
				done <- err
			}()
			pgtest.Await(t, s, e.sourceDatabase, `SELECT FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, 1)
			if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close(t.Context())
			if err := <-done; err != nil {
				t.Error(err)
			}
			e.wantSame(t, "t")
		}
	})
}

// Creating one replication while the last other one is deleted loses nothing, and two that
// are deleted at once leave nothing, whatever isolation level the login has.
func TestCatalogRaces(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` SET default_transaction_isolation = 'repeatable read'`)
	other := e.definition
	other.Name, other.SchemaName = "Second", "second"
	endpoint := e.endpoint()
	another := *e
	another.servers = e.newServers(t, 1)
	endpoint2 := another.endpoint()
	for range 15 {
		if err := replication.Create(t.Context(), endpoint, e.definition, false, pgclient.Identity{}); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		group.Go(func() {
			if err := replication.Create(t.Context(), endpoint2, other, false, pgclient.Identity{}); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if err := replication.Delete(t.Context(), endpoint, "shop", false); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if _, err := replication.Stored(t.Context(), endpoint, "second"); err != nil {
			t.Fatalf("the second replication: %v", err)
		}
		if err := replication.Create(t.Context(), endpoint, e.definition, false, pgclient.Identity{}); err != nil {
			t.Fatal(err)
		}
		for schema, endpoint := range map[string]pgclient.Endpoint{"shop": endpoint, "second": endpoint2} {
			group.Go(func() {
				if err := replication.Delete(t.Context(), endpoint, schema, false); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		e.wantRows(t, `SELECT nspname FROM pg_namespace WHERE nspname = '_stitch'`)
	}
}

// A run whose session is lost continues only if no other run has begun. Taking the advisory
// lock that it held is not enough to stop it.
func TestLostLock(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, stopped := range map[string]bool{"another run": true, "an advisory lock": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			e.atSource(t, `CREATE TABLE a (id int); INSERT INTO a VALUES (1); CREATE TABLE b (id int)`)
			e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
			e.definition.Tables["public.b"] = definition.Selection{Method: definition.FullTable}
			e.create(t)
			holder := e.session(t)
			pgtest.Do(t, holder, `BEGIN; LOCK TABLE a, b IN ACCESS EXCLUSIVE MODE`) // until the session is lost
			done := e.start(t.Context())
			leader := pgtest.Await(t, s, e.destinationDatabase, `SELECT l.pid, l.key FROM _stitch.leader l JOIN _stitch.run r USING (replication) WHERE r.status = 'running'`, 1)[0]
			pid, key, _ := strings.Cut(leader, "|")
			thief := e.sessionAtDestination(t)
			pgtest.Await(t, s, e.sourceDatabase, `SELECT FROM pg_locks WHERE NOT granted AND relation IN ('a'::regclass, 'b'::regclass)`, 1)
			pgtest.Do(t, thief, `SELECT pg_terminate_backend(`+pid+`)`)
			pgtest.Do(t, thief, `SELECT pg_advisory_lock(`+key+`)`) // once that session has ended
			if stopped {
				e.lead(t)
			}
			pgtest.Do(t, holder, `COMMIT`)
			got := <-done
			if stopped != (got.err != nil) || stopped && !strings.Contains(pgclient.Explain(got.err), "the replication is being run by pid ") {
				t.Error(got.err)
			}
			if bookmarks := s.Query(t, e.destinationDatabase, `SELECT table_name FROM _stitch.bookmark`); (len(bookmarks) == 0) != stopped {
				t.Errorf("bookmarks of %q", bookmarks)
			}
		})
	}
}

// A source that dies is recorded as the cause.
func TestDeadSource(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE VIEW a AS SELECT pg_sleep(30) IS NULL AS slept`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	done := make(chan error, 1)
	go func() {
		_, err := e.tryRun(t.Context())
		done <- err
	}()
	pgtest.Await(t, s, e.sourceDatabase, `SELECT FROM pg_stat_activity WHERE usename = '`+e.reader+`' AND wait_event = 'PgSleep'`, 1)
	s.Exec(t, e.sourceDatabase, `ALTER ROLE `+e.reader+` NOLOGIN`)
	s.Query(t, e.sourceDatabase, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, e.reader)
	if err := <-done; err == nil {
		t.Error("no error")
	}
	e.wantRows(t, `SELECT r.status, t.status FROM _stitch.run r JOIN _stitch.report t ON run = r.id`, "failed|failed")
}

// A bookmark applies to one database and one order of keys.
func TestBookmarkApplies(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.ignoreLateCommits()
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, k int); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
	e.create(t)
	e.run(t)
	e.atSource(t, `ALTER TABLE t ALTER k TYPE text; INSERT INTO t VALUES (10, '10')`)
	if got := report(e.run(t), "public.t"); got.RowsExtracted != 10 || got.Bookmark != "9" {
		t.Errorf("after the key became text: %+v", got)
	}
	e.wantRows(t, `SELECT count(k__text) FROM shop.t`, "10")

	copied := s.DatabaseName(t)
	s.Exec(t, "postgres", `CREATE DATABASE `+copied+` TEMPLATE `+e.sourceDatabase)
	s.Exec(t, copied, `DELETE FROM t WHERE id > 3`)
	e.definition.Source.Database = copied
	if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	e.run(t) // rows that this source never had stay, and their version tells them apart
	e.wantRows(t, `SELECT count(*) FILTER (WHERE _sdc_table_version = (SELECT max(_sdc_table_version) FROM shop.t)), count(*) FROM shop.t`, "3|10")
}

// A run repairs changes that users made to the destination, or leaves them alone.
func TestChangedDestination(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text, w varchar(20)); INSERT INTO t SELECT g, 'v', 'w' FROM generate_series(1, 5) g`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		for _, change := range []string{
			`ALTER TABLE shop.t DROP v`,
			`ALTER TABLE shop.t RENAME v TO mine`,
			`ALTER TABLE shop.t ALTER w TYPE text`,
			`ALTER TABLE shop.t DROP _sdc_sequence`,
			`TRUNCATE _stitch.bookmark`,
			`DROP TABLE shop.t`,
			`DROP SCHEMA shop CASCADE`,
		} {
			e.atDestination(t, change)
			if run, err := e.tryRun(t.Context()); err != nil || run.Status != Succeeded {
				t.Errorf("%s: %v", change, err)
			}
			e.wantSame(t, "t")
		}
		if s.Major < 12 {
			return
		}
		// A column that an object other than a view depends on keeps its type.
		e.atDestination(t, `ALTER TABLE shop.t ADD shout text GENERATED ALWAYS AS (upper(w)) STORED`)
		e.atSource(t, `ALTER TABLE t ALTER w TYPE varchar(30)`)
		e.run(t)
		e.atDestination(t, `ALTER TABLE shop.t DROP shout`)
		e.run(t)
	})
}

// Keys of an extension's type work wherever the extension is installed, and installing one
// later changes nothing.
func TestExtensionKeys(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE EXTENSION hstore; CREATE EXTENSION citext;
		CREATE TABLE h (k hstore PRIMARY KEY); INSERT INTO h VALUES ('a=>1'), ('b=>2');
		CREATE TABLE c (k citext PRIMARY KEY); INSERT INTO c VALUES ('A'), ('b')`)
	e.atDestination(t, `CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; GRANT USAGE ON SCHEMA ext TO `+e.writer)
	e.definition.Tables["public.h"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.c"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atDestination(t, `CREATE EXTENSION citext`)
	e.atSource(t, `DELETE FROM h WHERE k = 'a=>1'; INSERT INTO c VALUES ('z')`)
	e.run(t)
	e.wantSame(t, "h")
	e.wantSame(t, "c")
}

// Rows without a key are neither lost nor doubled, even if they are alike.
func TestKeylessRows(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (at int, v int); INSERT INTO t VALUES (1, 1), (2, 2), (2, 2)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
		if s.Major >= 12 && s.Query(t, e.sourceDatabase, `SELECT FROM pg_collation WHERE collprovider = 'i' LIMIT 1`) != nil {
			e.atSource(t, `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
				CREATE TABLE c (k text COLLATE nocase, v int); INSERT INTO c VALUES ('a', 1), ('A', 2)`)
			e.definition.Tables["public.c"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "k"}
		}
		e.create(t)
		for range 3 {
			e.run(t)
		}
		if _, ok := e.definition.Tables["public.c"]; ok {
			e.wantSame(t, "c")
		}
		e.wantSame(t, "t")
		e.atSource(t, `ALTER TABLE t ALTER v TYPE bigint`)
		e.run(t)
		e.run(t)
		e.wantRows(t, `SELECT at, v__bigint FROM shop.t ORDER BY 1`, "1|1", "2|2", "2|2")
	})
}

// The settings of a login neither cut a run short nor change what it loads.
func TestLoginSettings(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, createExtremes([]string{"uuid", "xml", "bytea", "interval", "timestamp(3) with time zone", "integer[]", "mood"})+`
			INSERT INTO extremes (id, xml) VALUES (1000, 'content only');
			CREATE VIEW slow AS SELECT pg_sleep(1.5) IS NULL AS slept`)
		e.definition.Tables["public.extremes"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.slow"] = definition.Selection{Method: definition.FullTable}
		set := func(settings map[string]string) {
			t.Helper()
			for _, role := range []string{e.reader, e.writer} {
				for name, value := range settings {
					if s.Query(t, "postgres", `SELECT FROM pg_settings WHERE lower(name) = $1`, name) != nil {
						s.Exec(t, "postgres", "ALTER ROLE "+role+" SET "+name+" = "+value)
					}
				}
			}
		}
		set(map[string]string{
			"quote_all_identifiers": "on", "xmloption": "document", "array_nulls": "off", "standard_conforming_strings": "off",
			"datestyle": "'German'", "timezone": "'Asia/Kathmandu'", "intervalstyle": "'iso_8601'", "bytea_output": "'escape'",
			"default_transaction_isolation": "'serializable'", "default_transaction_deferrable": "on",
		})
		e.create(t)
		// Limits of time hold for what is not a run, which may take a second on a busy machine.
		set(map[string]string{"statement_timeout": "'1s'", "idle_in_transaction_session_timeout": "'1s'", "transaction_timeout": "'1s'", "idle_session_timeout": "'1s'"})
		e.run(t)
		e.atSource(t, `ALTER TABLE extremes ADD added int[] DEFAULT '{1,NULL}', ADD at timestamptz DEFAULT '2026-01-02 03:04:05+00'`)
		e.run(t)
		e.wantSame(t, "extremes")
		if changes := strings.Join(report(e.run(t), "public.extremes").Changes, "; "); changes != "" {
			t.Errorf("a run without changes reports %s", changes)
		}
	})
}

// SELECT on what is replicated is enough: on a partitioned table without its partitions, and
// on a view whose owner may read less than all.
func TestRightsOnTheWholeOnly(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		owner := s.Role(t)
		e.atSource(t, `CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); INSERT INTO p VALUES (1);
			REVOKE ALL ON p1 FROM `+e.reader+`;
			CREATE TABLE base (id int, secret text); INSERT INTO base VALUES (1, 's'); REVOKE ALL ON base FROM `+e.reader+`;
			GRANT SELECT (id) ON base TO `+owner+`; CREATE VIEW v AS SELECT id FROM base; ALTER VIEW v OWNER TO `+owner+`; GRANT SELECT ON v TO `+e.reader)
		e.definition.Tables["public.p"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.v"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		e.wantSame(t, "p")
		e.wantSame(t, "v")
	})
}

// A schema _stitch that a user created earlier is used.
func TestEmptyCatalog(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atDestination(t, `CREATE SCHEMA _stitch AUTHORIZATION `+e.writer)
	if _, err := replication.Stored(t.Context(), e.endpoint(), "shop"); !replication.IsNotFound(err) {
		t.Errorf("before: %v", err)
	}
	e.create(t)
}

// A run reports what has changed at the source, once.
func TestChangesAreNamed(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int, a text, b varchar(3), c int) PARTITION BY RANGE (id);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10); INSERT INTO t VALUES (1, 'a', 'b', 3)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		for _, tt := range []struct{ sql, changes, notes string }{
			{``, ``, ``},
			{`ALTER TABLE t ADD d int`, `column "d" of type integer was added`, ``},
			{`ALTER TABLE t DROP c`, `column "c" is no longer replicated`, ``},
			{`ALTER TABLE t RENAME a TO z`, `column "a" was renamed to "z" at the source`, `replicated whole: column "z" was not loaded before`},
			{`ALTER TABLE t ALTER b TYPE varchar(9)`, `column "b" is now character varying(9) instead of character varying(3)`, ``},
			{`ALTER TABLE t ALTER d TYPE bigint`, `column "d" is now bigint at the source, and was integer`, `the type of column "d" has changed`},
			{`CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)`, `partition public.t_2 was added`, ``},
			{`DROP TABLE t_1`, `partitions are gone: 1`, ``},
			{`DROP TABLE t; CREATE TABLE t (id int)`, ``, `replicated whole: the table was replaced by another table of the same name`},
		} {
			e.atSource(t, tt.sql)
			got := report(e.run(t), "public.t")
			got.Notes = slices.DeleteFunc(got.Notes, func(note string) bool { return note == definition.KeepsVersionsWarning })
			if changes := strings.Join(got.Changes, "; "); !strings.Contains(changes, tt.changes) || tt.changes == "" && tt.notes == "" && changes != "" {
				t.Errorf("%s: changes %q", tt.sql, got.Changes)
			}
			if notes := strings.Join(got.Notes, "; "); !strings.Contains(notes, tt.notes) || tt.notes == "" && notes != "" {
				t.Errorf("%s: notes %q", tt.sql, got.Notes)
			}
			if again := report(e.run(t), "public.t"); len(again.Changes) > 0 || !slices.Equal(again.Notes, []string{definition.KeepsVersionsWarning}) {
				t.Errorf("%s, again: %q, %q", tt.sql, again.Changes, again.Notes)
			}
		}
	})
}

// Rows that were purged at the source stay in the destination with INCREMENTAL, even when the
// rest must be read again.
func TestPurgedRowsStay(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 5) g`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.atSource(t, `DELETE FROM t WHERE id < 3; ALTER TABLE t RENAME v TO w`)
	if got := report(e.run(t), "public.t"); got.RowsExtracted != 3 {
		t.Errorf("extracted %d rows", got.RowsExtracted)
	}
	e.wantRows(t, `SELECT id, v, w FROM shop.t ORDER BY id`, "1|v|∅", "2|v|∅", "3|∅|v", "4|∅|v", "5|∅|v")
}
