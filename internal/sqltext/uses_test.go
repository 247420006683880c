package sqltext

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// unsafeIn writes what is unsafe in SQL: "function left, type text".
func unsafeIn(sql string) string {
	var found []string
	for _, u := range Uses(sql) {
		if u.Unsafe() {
			found = append(found, fmt.Sprintf("%s %s", u.Kind, u.Name))
		}
	}
	return strings.Join(found, ", ")
}

func TestUnsafe(t *testing.T) {
	for sql, want := range map[string]string{
		// Functions.
		`SELECT concat($1::inet, 'x')`:                            "function concat, type inet",
		`SELECT left(c.relname, 3) FROM pg_catalog.pg_class AS c`: "function left",
		`SELECT now()`: "function now",
		`SELECT count(*), pg_catalog.max(a) FROM s.t`:                          "function count",
		`SELECT coalesce(length(a), 0) FROM s.t`:                               "function length",
		`SELECT LOWER (a) FROM s.t`:                                            "function lower",
		`SELECT "left"(a, 1) FROM s.t`:                                         "function left",
		`SELECT a FROM s.t WHERE upper(a) = 'A' AND NOT starts_with(a, 'B')`:   "function upper, function starts_with",
		`SELECT a FROM unnest($1) AS a`:                                        "function unnest",
		`SELECT a FROM s.t, unnest(t.b) AS x (a)`:                              "function unnest",
		`SELECT a FROM s.t CROSS JOIN LATERAL unnest(t.b) AS x (a)`:            "function unnest",
		`SELECT * FROM json_each($1) AS (a int, b bigint)`:                     "function json_each",
		`SELECT row_number() OVER (PARTITION BY lower(a) ORDER BY f(b))`:       "function row_number, function lower, function f",
		`SELECT array_agg(a) FILTER (WHERE is_it(a)) FROM s.t`:                 "function array_agg, function is_it",
		`SELECT a AT TIME ZONE zone_of(b) FROM s.t`:                            "function zone_of",
		`SELECT substring(a, 2), overlay(a, b, 3) FROM s.t`:                    "function substring, function overlay",
		`SELECT CASE WHEN f(1) THEN g(2) ELSE h(3) END`:                        "function f, function g, function h",
		`SELECT (ARRAY[f(1)])[g(2)]`:                                           "function f, function g",
		`SELECT 1 LIMIT f(1) OFFSET g(1)`:                                      "function f, function g",
		`SELECT a LIKE f(b) ESCAPE g(c) FROM s.t`:                              "function f, function g",
		`SELECT extract(epoch FROM now())`:                                     "function now",
		`WITH a AS (SELECT f(1)) SELECT * FROM a`:                              "function f",
		`WITH a (b) AS (VALUES (f(1))), c (d) AS (SELECT g(1)) SELECT FROM c`:  "function f, function g",
		`INSERT INTO s.t (a) VALUES (now()) RETURNING f(a)`:                    "function now, function f",
		`INSERT INTO s.t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = f()`: "function f",
		`UPDATE s.t SET a = f(b), (c, d) = ROW(g(1), 2)`:                       "function f, function g",
		`CREATE TABLE s.t (a int DEFAULT f(), CHECK (g(a) > 0))`:               "function f, function g",
		`CREATE INDEX ON s.t (lower(a))`:                                       "function lower",
		`CREATE TRIGGER t AFTER INSERT ON s.t EXECUTE FUNCTION f()`:            "function f",
		`GRANT EXECUTE ON FUNCTION f(int) TO PUBLIC`:                           "function f",
		`DROP FUNCTION f(int)`:                                                 "function f",
		`DO $body$ BEGIN PERFORM f(1); END $body$`:                             "function f",
		`CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS $$ SELECT g(1) $$`:  "function g",
		`SELECT now() -- f(1)`:                                                 "function now",
		"SELECT 1; SELECT f(1)":                                                "function f",
		`SELECT json_object($1)`:                                               "function json_object",
		`%s WHERE f(%s)`:                                                       "function f",
		`lower(%s)`:                                                            "function lower",

		// Relations.
		`SELECT FROM pg_class`: "relation pg_class",
		`SELECT FROM a.b AS c JOIN pg_namespace AS n ON n.oid = c.x`:         "relation pg_namespace",
		`SELECT FROM a.b AS c, ONLY "T" AS d`:                                "relation T",
		`SELECT FROM a.b, c`:                                                 "relation c",
		`INSERT INTO stage (a) SELECT 1`:                                     "relation stage",
		`UPDATE stage SET a = 1`:                                             "relation stage",
		`DELETE FROM stage`:                                                  "relation stage",
		`CREATE TABLE t (a int REFERENCES u (b))`:                            "relation t, relation u",
		`CREATE TABLE IF NOT EXISTS t (a int)`:                               "relation t",
		`DROP TABLE IF EXISTS t`:                                             "relation t",
		`CREATE TEMP TABLE a (b int)`:                                        "",
		`CREATE TEMP TABLE a AS SELECT FROM b`:                               "relation b",
		`CREATE INDEX ON t (a)`:                                              "relation t",
		`COPY t (a) FROM STDIN`:                                              "relation t",
		`ANALYZE t (a)`:                                                      "relation t",
		`LOCK TABLE stage`:                                                   "relation stage",
		`WITH a AS (SELECT 1) SELECT FROM a, b`:                              "relation b",
		`SELECT substring(a FROM 2), extract(day FROM b) FROM c`:             "relation c",
		`SELECT 1 WHERE a IS NOT DISTINCT FROM b AND EXISTS (SELECT FROM c)`: "relation c",

		`SELECT 'pg_class'::pg_catalog.regclass, 'pg_catalog.pg_class'::pg_catalog.regclass`: "relation pg_class",
		`SELECT pg_catalog.nextval('ids')`:                                                   "relation ids",

		// Types.
		`SELECT $1::text`:                           "type text",
		`SELECT $1::text[], a::"char" FROM s.t`:     "type text, type char",
		`SELECT 'pg_catalog.pg_class'::regclass`:    "type regclass",
		`SELECT CAST(a AS oid) FROM s.t`:            "type oid",
		`SELECT CAST(ROW(a, b) AS record) FROM s.t`: "type record",
		`SELECT timestamptz '2020-01-01'`:           "type timestamptz",
		`SELECT a::geometry(point, 4326) FROM s.t`:  "type geometry",

		// Operators of columns that the program names.
		`SELECT FROM %s AS a JOIN %s AS b ON a.%s = b.%s`:    "operator =",
		`SELECT FROM %s WHERE %s >= $1`:                      "operator >=",
		`SELECT FROM %s WHERE $1 < a.%s`:                     "operator <",
		`SELECT FROM %s WHERE $1 < %s`:                       "operator <",
		`SELECT FROM %s WHERE %[2]s IN (SELECT 1)`:           "operator =",
		`SELECT FROM %s WHERE %s NOT IN (1, 2)`:              "operator =",
		`SELECT FROM %s WHERE %s BETWEEN 1 AND 2`:            "operator >=, operator <=",
		`SELECT FROM %s WHERE %s NOT LIKE 'a'`:               "operator ~~",
		`SELECT FROM %s WHERE %s IS DISTINCT FROM 1`:         "operator =",
		`SELECT FROM %s WHERE 1 IS NOT DISTINCT FROM a.%s`:   "operator =",
		`SELECT FROM %s WHERE %s = ANY ($1)`:                 "operator =",
		`SELECT NULLIF(a.%s, 1), CASE %s WHEN 1 THEN 2 END`:  "operator =, operator =",
		`SELECT FROM %s JOIN %s USING (%s)`:                  "operator =",
		"SELECT FROM \uFFFC WHERE \uFFFC || '' = ''":         "operator ||",
		`UPDATE %s AS d SET a = 1 FROM %s WHERE d.%s = s.%s`: "operator =",
	} {
		if got := unsafeIn(sql); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", sql, got, want)
		}
	}
}

func TestSafe(t *testing.T) {
	for _, sql := range []string{
		`SELECT pg_catalog.now(), "pg_catalog"."left"(a, 1), pg_catalog . count(*) FROM s.t`,
		`SELECT coalesce(a, b), greatest(1, 2), nullif(a, b), ROW(a), ARRAY(SELECT 1), EXISTS (SELECT) FROM s.t`,
		`SELECT extract(epoch FROM a), substring(a FROM 2 FOR 3), trim(both 'x' from a), position('a' IN b), overlay(a PLACING b FROM 1) FROM s.t`,
		`SELECT 'now()', E'it\'s left(1)', $$now()$$, $a$ left($$ $a$, "now()" FROM s.t -- now()`,
		"SELECT 1 /* now() /* left(1) */ upper(1) */",
		`SELECT a::int, b::bigint[], c::numeric(10, 2), d::timestamp(3), CAST(e AS double precision), interval '1 second' FROM s.t`,
		`SELECT a::pg_catalog.text, CAST(b AS pg_catalog.oid), pg_catalog.date '2020-01-01', pg_catalog.int4(c) FROM s.t`,
		`SELECT current_user, session_user, current_timestamp(3), current_date`,
		`SELECT a FROM pg_catalog.unnest($1, $2) AS w (a, b)`,
		`SELECT a FROM (VALUES (1), (2)) AS w (a) CROSS JOIN LATERAL (SELECT 1) w(b)`,
		`SELECT pg_catalog.sum(a) FILTER (WHERE b) OVER (PARTITION BY c), pg_catalog.percentile_disc(0.5) WITHIN GROUP (ORDER BY d) FROM s.t`,
		`SELECT a FROM s.t GROUP BY ROLLUP (a), GROUPING SETS ((a), (b)) HAVING (a) LIMIT (1)`,
		`WITH RECURSIVE a (b) AS (SELECT 1 UNION ALL SELECT b FROM a), c AS MATERIALIZED (SELECT 1) SELECT FROM a JOIN c ON true`,
		`INSERT INTO s.t AS d (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET (a, b) = (excluded.a, 3)`,
		`SELECT a FROM s.t WHERE a IN ('x') AND b = ANY ($1) AND c IS DISTINCT FROM 'd' FOR UPDATE SKIP LOCKED`,
		`CREATE TABLE s.t (a varchar(3) NOT NULL, b numeric(10,2), PRIMARY KEY (a), UNIQUE (b), CHECK (b > 0), c int REFERENCES s.u (d))`,
		`CREATE TABLE s.t (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 5)) PARTITION BY RANGE (id)`,
		`CREATE TABLE s.t PARTITION OF s.u FOR VALUES FROM ('a') TO ('b')`,
		`CREATE TEMP TABLE stage ON COMMIT DROP AS SELECT %s FROM %s WITH NO DATA`,
		`CREATE TABLE IF NOT EXISTS s.t (a varchar(3))`,
		`CREATE INDEX CONCURRENTLY a ON ONLY s.t USING gin (b) INCLUDE (c) WITH (fillfactor = 70) WHERE d`,
		`COPY s.t (a, b) FROM STDIN WITH (FORMAT binary)`,
		`COPY (SELECT a FROM s.t) TO STDOUT (FORMAT binary)`,
		`GRANT SELECT (a), UPDATE (b) ON TABLE s.t TO x; REVOKE ALL ON s.t FROM y`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA b REVOKE SELECT ON TABLES FROM c`,
		`DROP DATABASE a WITH (FORCE)`,
		`EXPLAIN (ANALYZE, VERBOSE) SELECT 1`,
		`ALTER ROLE a SET b = %s`,
		`SET LOCAL lock_timeout = %d`,
		`SELECT FROM %s AS a JOIN %s AS b ON a.%s OPERATOR(pg_catalog.=) b.%s AND a.%s OPERATOR(%s) b.%s`,
		`SELECT FROM s.t WHERE relname = %s AND n > %d AND a %% 2 = 1`,
		`UPDATE %s AS d SET %s = s.%s, %s = NULL FROM %s AS s WHERE true`,
		`SELECT %s(a), pg_catalog.%s(b), c::%s, d::%s[] FROM %s.%s, %s`,
		`%s WITH NO DATA`,
		`INSERT INTO %s AS d (%s, %s) SELECT %s FROM %s AS s`,
		`ANALYZE s.t (%s)`,
	} {
		if got := unsafeIn(sql); got != "" {
			t.Errorf("%s\ngot %s", sql, got)
		}
	}
}

func TestUses(t *testing.T) {
	var got []string
	for _, u := range Uses(`SELECT pg_catalog.max(a), b || 'x', c OPERATOR(public.<>) 1 FROM pg_catalog.pg_class WHERE d LIKE 'x' AND e::pg_catalog.oid IN (1) AND f NOT BETWEEN 1 AND 2`) {
		got = append(got, fmt.Sprintf("%s %s.%s", u.Kind, u.Schema, u.Name))
	}
	want := []string{
		"function pg_catalog.max", "operator .||", "operator public.<>", "relation pg_catalog.pg_class",
		"operator .~~", "type pg_catalog.oid", "operator .=", "operator .>=", "operator .<=",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestOffset(t *testing.T) {
	sql := "DO $$\nBEGIN\n\tPERFORM f(1);\nEND $$"
	if u := Uses(sql); len(u) != 1 || !strings.HasPrefix(sql[u[0].Offset:], "f(1)") {
		t.Errorf("got %v", u)
	}
}
