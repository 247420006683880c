package syncrun

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// In these tests, other roles of the two servers plant code that the engine's sessions must
// not run.

// oldestAndNewest returns servers of the oldest and the newest major version that the product
// supports.
func oldestAndNewest(t *testing.T) []*sandbox.Server {
	majors := sandbox.NeedMajors(t)
	return slices.Compact([]*sandbox.Server{sandbox.Shared(t, majors[0]), sandbox.Shared(t, majors[len(majors)-1])})
}

var called = regexp.MustCompile(`\b([a-z][a-z0-9_]*)\(`)

// names returns everything in the product's code that looks like a call of a function, and so
// all functions that its SQL calls.
func names(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, folder := range []string{".", "../catalog", "../copywire", "../definition", "../destination", "../postgres", "../relation", "../replication", "../session", "../source", "../tablesync"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range called.FindAllStringSubmatch(string(text), -1) {
				names = append(names, m[1])
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// plantSQL creates a function with each of the names in the schema evil, for each list of
// arguments that PostgreSQL's own functions take and for some that match the engine's
// arguments better, and operators for common types. Each reports that it was called.
const plantSQL = `
	CREATE SCHEMA evil;
	GRANT USAGE ON SCHEMA evil TO PUBLIC;
	DO $do$
	DECLARE f record; arguments text; operator text; n int := 0;
	BEGIN
		FOR f IN
			SELECT p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments, p.proargtypes::oid[] AS types, p.prorettype AS result
			FROM pg_proc p
			WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY ('{%[1]s}') AND p.prokind = 'f' AND p.provariadic = 0
				AND NOT EXISTS (SELECT FROM pg_type t WHERE (t.oid = p.prorettype OR t.oid = ANY (p.proargtypes::oid[])) AND t.typtype = 'p')
		LOOP
			arguments := (SELECT coalesce(string_agg(format_type(a, NULL), ', ' ORDER BY o), '') FROM unnest(f.types) WITH ORDINALITY AS u (a, o));
			BEGIN
				EXECUTE format('CREATE FUNCTION evil.%%I(%%s) RETURNS %%s LANGUAGE plpgsql AS $f$BEGIN RAISE EXCEPTION ''planted evil.%%s was called''; END$f$',
					f.name, arguments, format_type(f.result, NULL), f.name);
				n := n + 1;
			EXCEPTION WHEN duplicate_function THEN NULL;
			END;
		END LOOP;
		FOR f IN SELECT DISTINCT p.proname AS name FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY ('{%[1]s}') LOOP
			FOREACH arguments IN ARRAY ARRAY['inet, text, integer', 'text, text, text', 'text, text', 'name, integer', 'name', 'text', 'integer', 'bigint', 'oid', 'text[]', 'name, name',
				'text, bigint', 'text, oid', 'name, text', 'timestamptz', 'record', 'anyelement', 'anyarray', 'public.mood', 'public.feeling', 'public.mood[]', 'public.pair', 'text, inet, integer'] LOOP
				BEGIN
					EXECUTE format('CREATE FUNCTION evil.%%I(%%s) RETURNS text LANGUAGE plpgsql AS $f$BEGIN RAISE EXCEPTION ''planted evil.%%s was called''; END$f$', f.name, arguments, f.name);
					n := n + 1;
				EXCEPTION WHEN OTHERS THEN NULL; -- it is there, or not for plpgsql
				END;
			END LOOP;
		END LOOP;
		FOREACH arguments IN ARRAY ARRAY['text', 'name', 'integer', 'bigint', 'oid', 'boolean', 'smallint', 'timestamptz', 'pg_catalog.tid', 'pg_catalog.xid', 'public.mood', 'public.feeling', 'numeric', 'jsonb', 'public.pair', '"char"'] LOOP
			EXECUTE format('CREATE FUNCTION evil.compared(%%1$s, %%1$s) RETURNS boolean LANGUAGE plpgsql AS $f$BEGIN RAISE EXCEPTION ''a planted operator was called''; END$f$', arguments);
			FOREACH operator IN ARRAY ARRAY['=', '<>', '*<>', '>=', '<=', '>', '<', '||', '~~'] LOOP
				EXECUTE format('CREATE OPERATOR evil.%%1$s (LEFTARG = %%2$s, RIGHTARG = %%2$s, PROCEDURE = evil.compared)', operator, arguments);
			END LOOP;
		END LOOP;
		IF n < 200 THEN RAISE EXCEPTION 'only %% functions were planted', n; END IF;
	END
	$do$;
	-- Tables and types that stand before those of the catalogs.
	CREATE VIEW evil.pg_class AS SELECT 1/0 AS oid; CREATE VIEW evil.pg_namespace AS SELECT 1/0 AS oid; CREATE VIEW evil.pg_locks AS SELECT 1/0 AS pid;
	CREATE VIEW evil.pg_attribute AS SELECT 1/0 AS attrelid; CREATE VIEW evil.pg_roles AS SELECT 1/0 AS oid; CREATE VIEW evil.pg_settings AS SELECT 1/0 AS name;
	CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false); CREATE DOMAIN evil.oid AS pg_catalog.oid CHECK (false);
	CREATE DOMAIN evil.int8 AS pg_catalog.int8 CHECK (false); CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (false); CREATE DOMAIN evil.uuid AS pg_catalog.uuid CHECK (false);`

const strangeTypesSQL = `
	CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy');
	CREATE DOMAIN public.feeling AS public.mood;
	CREATE TYPE public.pair AS (a int, b text);`

// The engine's names are never found in another role's schema, whatever search_path the role
// and the database have.
func TestPlantedNames(t *testing.T) {
	t.Parallel()
	list := strings.Join(names(t), ",")
	for _, s := range oldestAndNewest(t) {
		t.Run(fmt.Sprint(s.Major), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			e.servers = e.newServers(t, 3)
			e.runs.rangeBytes, e.runs.chunkRows = 200<<10, 1000
			plant := fmt.Sprintf(plantSQL, list)
			if s.Major < 11 {
				plant = strings.ReplaceAll(plant, "p.prokind = 'f'", "NOT p.proisagg AND NOT p.proiswindow")
			}
			e.atSource(t, strangeTypesSQL+plant)
			e.atDestination(t, strangeTypesSQL+plant)
			feelings := "feeling[]"
			if s.Major < 11 { // which has no arrays of domains
				feelings = "mood[]"
			}
			for _, setting := range []string{
				fmt.Sprintf(`ALTER DATABASE %s SET search_path = evil, public, pg_catalog`, e.sourceDatabase),
				fmt.Sprintf(`ALTER DATABASE %s SET search_path = evil, public, pg_catalog`, e.destinationDatabase),
				fmt.Sprintf(`ALTER ROLE %s SET search_path = evil, "$user", pg_catalog`, e.writer),
				fmt.Sprintf(`ALTER ROLE %s IN DATABASE %s SET search_path = public`, s.Username, e.sourceDatabase), // the test's own sessions
				fmt.Sprintf(`ALTER ROLE %s IN DATABASE %s SET search_path = public`, s.Username, e.destinationDatabase),
			} {
				s.Exec(t, "postgres", setting)
			}
			e.atSource(t, `
				SET search_path = public;
				CREATE TABLE a (id int PRIMARY KEY, v text, m mood, f feeling, p pair, ms mood[], fs `+feelings+`, n numeric(6,2), at timestamptz DEFAULT '2026-01-01');
				INSERT INTO a SELECT g, repeat('x', 100), 'ok', 'sad', ROW(g, 'b')::public.pair, '{sad,NULL}', '{happy}', g / 7.0 FROM generate_series(1, 9000) g;
				CREATE TABLE b (k bigint NOT NULL, v varchar(20)); CREATE INDEX ON b (k); INSERT INTO b SELECT g, g FROM generate_series(1, 500) g;
				CREATE TABLE c (id name PRIMARY KEY, at timestamptz NOT NULL); INSERT INTO c VALUES ('x', '2026-01-01');
				CREATE VIEW d AS SELECT id, v, at FROM a WHERE id < 100;
				CREATE MATERIALIZED VIEW m AS SELECT id, m FROM a WHERE id < 100;
				CREATE TABLE n (v text, m mood); INSERT INTO n VALUES ('x', 'ok'), ('x', 'ok');`)
			e.definition.Tables = map[string]definition.Selection{
				"public.a": {Method: definition.FullTable}, "public.b": {Method: definition.Incremental, ReplicationKey: "k"}, "public.c": {Method: definition.Incremental, ReplicationKey: "at"},
				"public.d": {Method: definition.Incremental, ReplicationKey: "at", ViewKeyProperties: []string{"id"}}, "public.m": {Method: definition.FullTable}, "public.n": {Method: definition.FullTable},
			}
			e.definition.Readers = []string{s.Role(t)}
			e.create(t)
			for _, change := range []string{``, `
				SET search_path = public;
				INSERT INTO b SELECT g, g FROM generate_series(500, 5000) g; ANALYZE b; UPDATE c SET at = '2026-01-02'; DELETE FROM n WHERE ctid = '(0,1)';
				UPDATE a SET v = 'changed', at = '2026-02-01' WHERE id < 50; DELETE FROM a WHERE id > 8990; ALTER TABLE a ADD more mood DEFAULT 'sad'; ALTER TABLE c ADD more mood DEFAULT 'sad';`,
				`SET search_path = public; ALTER TABLE a DROP CONSTRAINT a_pkey, ADD PRIMARY KEY (id, n); ALTER TABLE b ALTER v TYPE text`,
			} {
				e.atSource(t, change)
				for _, verify := range []string{tablesync.VerifyNone, tablesync.VerifyChecksum} {
					e.runs.Verify = verify
					e.run(t)
				}
				for _, table := range []string{"a", "b", "c", "m", "n"} {
					e.wantSame(t, table)
				}
			}
			if _, _, err := replication.CheckSource(t.Context(), e.sourceEndpoint(t), e.definition); err != nil {
				t.Error(err)
			}
			e.definition.Readers = nil
			if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
				t.Error(pgclient.Explain(err))
			}
			if err := replication.Delete(t.Context(), e.endpoint(), "shop", true); err != nil {
				t.Error(pgclient.Explain(err))
			}
		})
	}
}

// sourceEndpoint returns the source's database.
func (e *env) sourceEndpoint(t *testing.T) pgclient.Endpoint {
	t.Helper()
	server, ok := e.servers.Server("source")
	if !ok {
		t.Fatal("no source")
	}
	return pgclient.Endpoint{Server: server, Database: e.sourceDatabase}
}

// The owner of a type cannot make the engine call the owner's functions for its values, by
// casts that replace the way PostgreSQL writes them.
func TestPlantedCasts(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		e := newEnv(t, s, s)
		feelings, counts := "feeling[]", "count[]"
		if s.Major < 11 { // which has no arrays of domains
			feelings, counts = "mood[]", "int[]"
		}
		e.atSource(t, strangeTypesSQL+`
			CREATE DOMAIN count AS int;
			CREATE TABLE t (id int PRIMARY KEY, m mood, f feeling, p pair, ms mood[], fs `+feelings+`, cs `+counts+`, ps pair[]);
			INSERT INTO t VALUES (1, 'sad', 'ok', ROW(1, 'x,"y"'), '{sad,NULL,happy}', '{{ok},{sad}}', '[2:3]={1,NULL}', ARRAY[ROW(NULL, '')::pair, NULL]), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, 'ok', 'ok', ROW(NULL, NULL), '{}', '{}', '{}', '{}')`)
		want := e.source.Query(t, e.sourceDatabase, `SELECT t::text FROM t ORDER BY id`)
		for i, cast := range []struct{ from, to, as string }{
			{"mood", "text", "IMPLICIT"}, {"mood[]", "text[]", "IMPLICIT"}, {"feeling[]", "text[]", "IMPLICIT"}, {"count[]", "integer[]", "IMPLICIT"},
			{"pair", "text", "IMPLICIT"}, {"pair[]", "text[]", "IMPLICIT"}, {"text", "mood", "ASSIGNMENT"}, {"mood", "varchar", "IMPLICIT"},
		} {
			if s.Major < 11 && (cast.from == "feeling[]" || cast.from == "count[]") {
				continue
			}
			e.atSource(t, fmt.Sprintf(`
				CREATE FUNCTION to_%[4]d(%[1]s) RETURNS %[2]s LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE EXCEPTION ''a planted cast from %[1]s to %[2]s was called''; END';
				CREATE CAST (%[1]s AS %[2]s) WITH FUNCTION to_%[4]d(%[1]s) AS %[3]s`, cast.from, cast.to, cast.as, i))
		}
		for _, selection := range []definition.Selection{{Method: definition.FullTable}, {Method: definition.Incremental, ReplicationKey: "id"}} {
			e.definition.Tables["public.t"] = selection
			e.definition.SchemaName = strings.ToLower(selection.Method)
			e.create(t)
			e.runs.Verify = tablesync.VerifyChecksum
			for _, change := range []string{``, `UPDATE t SET m = 'happy' WHERE id = 3; ALTER TABLE t ADD IF NOT EXISTS later mood DEFAULT 'ok'`} {
				e.atSource(t, change)
				if got := report(e.run(t), "public.t"); !strings.HasPrefix(got.Verification, "the same by") {
					t.Errorf("PostgreSQL %d, %s: %s", s.Major, selection.Method, got.Verification)
				}
			}
			got := e.destination.Query(t, e.destinationDatabase, fmt.Sprintf(`SELECT ROW(id, m, f, p, ms, fs, cs, ps)::text FROM %s.t WHERE id < 3 ORDER BY id`, e.definition.SchemaName))
			if !slices.Equal(got, want[:2]) {
				t.Errorf("PostgreSQL %d, %s: got %q, want %q", s.Major, selection.Method, got, want[:2])
			}
			e.atSource(t, `ALTER TABLE t DROP IF EXISTS later; UPDATE t SET m = 'ok' WHERE id = 3`)
		}
	}
}

// changesSQL creates a function that changes all it can of the session that calls it, and
// reports what it could not change and why.
const changesSQL = `
	CREATE FUNCTION changes(ours text[], role text) RETURNS text LANGUAGE plpgsql AS $f$
	DECLARE name text; value text; failed text := '';
	BEGIN
		FOREACH name IN ARRAY ours || '{search_path,default_transaction_read_only,DateStyle,session_replication_role,transaction_read_only,enable_seqscan}'::text[] LOOP
			value := CASE name
				WHEN 'search_path' THEN 'evil, pg_catalog' WHEN 'datestyle' THEN 'SQL, DMY' WHEN 'DateStyle' THEN 'German, DMY' WHEN 'intervalstyle' THEN 'iso_8601' WHEN 'timezone' THEN 'Asia/Tokyo'
				WHEN 'bytea_output' THEN 'escape' WHEN 'extra_float_digits' THEN '-15' WHEN 'client_encoding' THEN 'LATIN1' WHEN 'xmlbinary' THEN 'hex' WHEN 'xmloption' THEN 'document'
				WHEN 'session_replication_role' THEN 'replica' WHEN 'default_transaction_isolation' THEN 'serializable' WHEN 'transaction_read_only' THEN 'off' WHEN 'lc_monetary' THEN 'POSIX'
				WHEN 'row_security' THEN 'on' WHEN 'standard_conforming_strings' THEN 'off' WHEN 'array_nulls' THEN 'off' WHEN 'jit' THEN 'on'
				WHEN 'transform_null_equals' THEN 'on' WHEN 'quote_all_identifiers' THEN 'on' WHEN 'default_transaction_deferrable' THEN 'on' WHEN 'default_transaction_read_only' THEN 'off'
				WHEN 'lock_timeout' THEN '7ms' WHEN 'enable_seqscan' THEN 'off' ELSE '54321' END;
			BEGIN
				PERFORM pg_catalog.set_config(name, value, false);
			EXCEPTION WHEN OTHERS THEN failed := failed || name || ' ' || SQLSTATE || ';';
			END;
		END LOOP;
		BEGIN
			EXECUTE 'DEALLOCATE ALL';
		EXCEPTION WHEN OTHERS THEN failed := failed || 'deallocate ' || SQLSTATE || ';';
		END;
		BEGIN
			CREATE TABLE public.mine (); failed := failed || 'wrote!';
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		BEGIN
			EXECUTE 'ALTER ROLE ' || quote_ident(session_user) || ' PASSWORD ''stolen'''; failed := failed || 'wrote!';
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		PERFORM pg_catalog.set_config('role', role, false);
		RETURN failed;
	END $f$;`

// What a view's function does to the session, its settings, its role and its statements, is
// gone before the next table is read.
func TestPlantedSettings(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		for _, attributes := range []string{"NOSUPERUSER", "SUPERUSER"} {
			e := newEnv(t, s, s) // with one connection to either side, so that the session is the same
			other := s.Role(t)
			s.Exec(t, "postgres", fmt.Sprintf(`ALTER ROLE %s %s; GRANT %s TO %[1]s`, e.reader, attributes, other))
			settings := make([]string, len(session.Pinned))
			for i, p := range session.Pinned {
				settings[i] = p.Name
			}
			e.atSource(t, changesSQL+fmt.Sprintf(`
				CREATE TABLE z (id int PRIMARY KEY, at timestamptz, f float8, b bytea, i interval, d date, x text);
				INSERT INTO z VALUES (1, '2026-11-28 23:59:59.123456+02', 0.5, '\x00ff27', '1 mon 2 days 03:04:05.6', '2026-03-04', 'Größe');
				CREATE VIEW a AS SELECT 1 AS id, changes('{%s}', '%s') AS failed;
				CREATE VIEW b AS SELECT id, at, f, b, i, d, x, at::text AS at_text, f::text AS f_text, b::text AS b_text, i::text AS i_text, d::text AS d_text,
					current_user::text AS u, current_setting('search_path') AS path, current_setting('session_replication_role') AS r, current_setting('lc_monetary') AS money FROM z;
				GRANT SELECT ON a, b, z TO %s; GRANT CREATE ON SCHEMA public TO %[3]s, PUBLIC`, strings.Join(settings, ","), other, e.reader))
			for _, table := range []string{"a", "b", "z"} { // in this order: views have no size, and z only a page
				e.definition.Tables["public."+table] = definition.Selection{Method: definition.FullTable}
			}
			e.create(t)
			for range 2 {
				e.run(t)
				e.wantSame(t, "z")
				e.wantRows(t, `SELECT failed LIKE '%wrote!%', failed LIKE '%transaction_read_only%' FROM shop.a`, "f|t")
				e.wantRows(t, `SELECT at_text, f_text, b_text, i_text, d_text, x, path, r, money, u = '`+e.reader+`' FROM shop.b`,
					`2026-11-28 21:59:59.123456+00|0.5|\x00ff27|1 mon 2 days 03:04:05.6|2026-03-04|Größe|pg_catalog, pg_temp|origin|C|t`)
			}
			if rows := e.source.Query(t, e.sourceDatabase, `SELECT FROM pg_class WHERE relname = 'mine'`); len(rows) > 0 {
				t.Error("a view's function wrote at the source")
			}
		}
	}
}

// The owner of a database can set that its sessions find only a sample of the rows that a GIN
// index holds.
func TestSettingThatLeavesRowsOut(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		e := newEnv(t, s, s)
		e.atSource(t, `
			CREATE TABLE rows AS SELECT i AS id, ARRAY[1, i] AS a FROM generate_series(1, 20000) AS i;
			CREATE INDEX ON rows USING gin (a);
			CREATE VIEW v AS SELECT id FROM rows WHERE a @> '{1}';
			ANALYZE rows`)
		for _, database := range []string{e.sourceDatabase, e.destinationDatabase} {
			s.Exec(t, "postgres", fmt.Sprintf(`ALTER DATABASE %q SET gin_fuzzy_search_limit = 10; ALTER DATABASE %[1]q SET enable_seqscan = off`, database))
		}
		e.definition.Tables["public.v"] = definition.Selection{Method: definition.FullTable, ViewKeyProperties: []string{"id"}}
		e.create(t)
		e.run(t)
		e.wantRows(t, `SELECT count(*) FROM shop.v`, "20000")
	}
}

// A session at the source keeps no named statement, which other code could replace with its
// own.
func TestUnnamedStatements(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE VIEW a AS SELECT (SELECT count(*) FROM pg_prepared_statements) AS n`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.atSource(t, `CREATE VIEW b AS SELECT (SELECT count(*) FROM pg_prepared_statements) AS n`)
	e.definition.Tables["public.b"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	for range 2 {
		e.run(t)
		e.wantRows(t, `SELECT n FROM shop.a UNION ALL SELECT n FROM shop.b`, "0", "0")
	}
}

// A role that can write to the catalog cannot make the login of the source, or of the
// destination, run its statements.
func TestUnitsHoldNoSQL(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1); CREATE TABLE secret (id int); INSERT INTO secret VALUES (42)`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	leader, table := e.claimTable(t)
	snapshot := exportSnapshot(t, e.session(t))
	for _, tt := range []struct{ planted, want string }{
		{`'public.secret', '` + snapshot + `', 0, 0`, `the definition has no table "public.secret"`},
		{`'public.a" (id); DROP TABLE a; --', '` + snapshot + `', 0, 0`, `the definition has no table "public.a\" (id); DROP TABLE a; --"`},
		{`'public.a', E'` + snapshot + `''; ALTER ROLE x; --', 0, 0`, `the catalog holds "` + snapshot + `'; ALTER ROLE x; --", which is not the name of a snapshot`},
		{`'public.a', '` + snapshot + `', -1, -9`, ""}, // numbers are no text; there are no such pages
		{`'public.a', '` + snapshot + `', 0, 0`, ""},
	} {
		unit := e.plantRange(t, leader, table, tt.planted)
		err := (tablesync.RangeCopier{Job: leader.Job, Sessions: leader.sessions}).CopyInTime(t.Context(), unit)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("%s: got %v\nwant %s", tt.planted, err, tt.want)
		}
	}
	e.wantRows(t, fmt.Sprintf(`SELECT id FROM shop._sdc_loading_%d_1`, table.ID), "1")
}
