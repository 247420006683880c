package syncrun

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// extremes are values of built-in types that tools which decode rows lose.
var extremes = map[string][]string{
	"smallint":                    {"-32768", "32767"},
	"integer":                     {"-2147483648", "0"},
	"bigint":                      {"-9223372036854775808", "9223372036854775807"},
	"numeric":                     {"NaN", "0.00", "-1e-300", strings.Repeat("9", 400) + "." + strings.Repeat("1", 300)},
	"numeric(12,4)":               {"1.2", "-99999999.9999"},
	"real":                        {"NaN", "Infinity", "-0", "1.1754944e-38"},
	"double precision":            {"NaN", "-Infinity", "0.1", "1.7976931348623157e308"},
	"money":                       {"-92233720368547758.08", "12.34"},
	"boolean":                     {"true", "false"},
	"text":                        {"", " ", "\\N", "\\.", "tab\tnewline\nquote'\"", "日本語 😀"},
	"character varying(5)":        {"", "abc"},
	"character(5)":                {"", "ab"},
	`"char"`:                      {"x"},
	"name":                        {"some name"},
	"bytea":                       {"", "\\x00ff5c"},
	"date":                        {"infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"},
	"time":                        {"24:00:00", "00:00:00.000001"},
	"time with time zone":         {"24:00:00-1559", "12:00:00+14"},
	"timestamp":                   {"infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"},
	"timestamp(3) with time zone": {"-infinity", "2026-11-21 10:00:00.123+05:30"},
	"interval":                    {"-178000000 years", "1 mon -1 day 00:00:00.000001"},
	"uuid":                        {"ffffffff-ffff-ffff-ffff-ffffffffffff"},
	"json":                        {`{"b": 1,  "a": 1.0, "a": null}`, "null"},
	"jsonb":                       {`{"n": 1e400, "s": "\u0001"}`, "[]"},
	"xml":                         {"<a>&lt;</a>"},
	"inet":                        {"10.0.0.1/8", "::1"},
	"cidr":                        {"10.0.0.0/8"},
	"macaddr":                     {"08:00:2b:01:02:03"},
	"macaddr8":                    {"08:00:2b:01:02:03:04:05"},
	"bit(5)":                      {"10101"},
	"bit varying":                 {"", "1"},
	"point":                       {"(1,-0)"},
	"box":                         {"(2,2),(0,0)"},
	"path":                        {"[(0,0),(1,1)]"},
	"polygon":                     {"((0,0),(1,1),(2,0))"},
	"circle":                      {"<(0,0),5>"},
	"line":                        {"{1,2,3}"},
	"lseg":                        {"[(0,0),(1,1)]"},
	"int4range":                   {"empty", "[1,5)", "(,)"},
	"tstzrange":                   {"[2026-01-01 00:00:00+00,infinity]"},
	"tsvector":                    {"'a':1A 'b':2"},
	"tsquery":                     {"'a' & !'b'"},
	"pg_lsn":                      {"16/B374D848"},
	"oid":                         {"4294967295"},
	"oidvector":                   {"", "1 2"},
	"regclass":                    {"pg_class"},
	"integer[]":                   {"{}", "{NULL,1}", "{{1,2},{3,4}}", "[0:1]={1,2}"},
	"text[]":                      {`{"",NULL,"NULL","a,b"}`},
	"numeric(6,2)[]":              {"{1.10,NaN}"},
	"jsonb[]":                     {`{"{\"a\": 1}"}`},
	"mood":                        {"ok"},
	"mood[]":                      {"{ok,NULL}"},
	"positive":                    {"5"},
	"positive[]":                  {"{5,NULL}"},
	"pair":                        {"(1,)"},
	"pair[]":                      {`{"(1,a)"}`},
	"hstore":                      {`"a"=>NULL, "b"=>""`},
	"citext":                      {"Straße"},
}

// createExtremes returns SQL for a table with a column for each type and a row for each
// value; the other columns are null.
func createExtremes(types []string) string {
	var b strings.Builder
	b.WriteString(`
		CREATE EXTENSION hstore; CREATE EXTENSION citext;
		CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text);
		CREATE TABLE extremes (id int PRIMARY KEY`)
	var inserts []string
	n := 0
	for _, typ := range types {
		values := extremes[typ]
		fmt.Fprintf(&b, `, "%s" %s`, strings.ReplaceAll(typ, `"`, `""`), typ)
		for _, value := range values {
			n++
			inserts = append(inserts, fmt.Sprintf(`INSERT INTO extremes (id, "%s") VALUES (%d, E'%s');`,
				strings.ReplaceAll(typ, `"`, `""`), n, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)))
		}
	}
	b.WriteString(");\n" + strings.Join(inserts, "\n"))
	return b.String()
}

// What the source holds arrives byte for byte, whatever the majors.
func TestTypes(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	oldest, newest := majors[0], majors[len(majors)-1]
	for _, pair := range [][2]int{{oldest, oldest}, {newest, newest}, {oldest, newest}, {newest, oldest}} {
		t.Run(fmt.Sprintf("postgres%d to postgres%d", pair[0], pair[1]), func(t *testing.T) {
			e := newEnv(t, sandbox.Shared(t, pair[0]), sandbox.Shared(t, pair[1]))
			types := slices.DeleteFunc(slices.Sorted(maps.Keys(extremes)), func(typ string) bool {
				return pair[0] < 11 && typ == "positive[]" // PostgreSQL 10 has no arrays of domains
			})
			texts := slices.DeleteFunc(append([]string{"id"}, types...), func(typ string) bool {
				return typ == "real" || typ == "double precision"
			})
			e.atSource(t, createExtremes(types))
			e.atDestination(t, `CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; GRANT USAGE ON SCHEMA ext TO `+e.writer)
			e.definition.Tables["public.extremes"] = definition.Selection{Method: definition.FullTable}
			e.create(t)
			for range 2 { // created, then merged
				e.run(t)
				e.wantSame(t, "extremes", texts...)
			}
			// PostgreSQL 12 writes floats with fewer digits than older ones do.
			floats := ` SELECT id, float4send("real"), float8send("double precision") FROM %s.extremes ORDER BY id`
			e.wantRows(t, fmt.Sprintf(floats, "shop"), e.source.Query(t, e.sourceDatabase, fmt.Sprintf(floats, "public"))...)
			e.wantRows(t, `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
				WHERE attrelid = 'shop.extremes'::regclass AND attname IN ('hstore', 'citext', 'mood[]', 'positive', 'numeric(12,4)', 'timestamp(3) with time zone')
				ORDER BY 1`, "citext|text", "hstore|ext.hstore", "mood[]|text[]", "numeric(12,4)|numeric(12,4)", "positive|integer",
				"timestamp(3) with time zone|timestamp(3) with time zone")
		})
	}
}

// Names of every kind, generated and identity columns, many columns, none but the key.
func TestNames(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		long := strings.Repeat("ü", 31)
		var many []string
		for i := range 1590 {
			many = append(many, fmt.Sprintf("c%d int", i))
		}
		e.atSource(t, `
			CREATE TABLE "Mixed ""Case"".t" (`+`"a ""b'' ? %s" int PRIMARY KEY, "`+long+`" text); INSERT INTO "Mixed ""Case"".t" VALUES (1, 'x');
			CREATE TABLE identity (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int); INSERT INTO identity (v) VALUES (1);
			CREATE TABLE wide (`+strings.Join(many, ", ")+`); INSERT INTO wide (c0, c1589) VALUES (1, 2);
			CREATE TABLE key_only (id int PRIMARY KEY, v int); INSERT INTO key_only VALUES (1, 2);
			CREATE TABLE empty (id int PRIMARY KEY)`)
		e.definition.Tables[`public."Mixed ""Case"".t"`] = definition.Selection{Method: definition.FullTable}
		for _, name := range []string{"identity", "wide", "empty"} {
			e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
		}
		e.definition.Tables["public.key_only"] = definition.Selection{Method: definition.FullTable, Columns: []string{}}
		e.create(t)
		for range 2 {
			e.run(t)
			for _, name := range []string{`"Mixed ""Case"".t"`, "identity", "wide", "empty"} {
				e.wantSame(t, name)
			}
			e.wantSame(t, "key_only", "id")
		}
		e.wantRows(t, `SELECT count(*) FROM pg_attribute WHERE attrelid = 'shop.key_only'::regclass AND attnum > 0`, "5")
	})
}

// The columns that the engine adds are filled, and old rows get the values that they hold in
// a new column at the source.
func TestColumns(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, secret text, n int); INSERT INTO t VALUES (1, 's', 5)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id", ExcludeColumns: []string{"secret"}, TableName: "renamed"}
		e.create(t)
		e.run(t)
		e.wantRows(t, `SELECT id, n, _sdc_received_at <= now(), _sdc_batched_at <= now(), _sdc_sequence > 1e18, _sdc_table_version > 1e12 FROM shop.renamed`,
			"1|5|t|t|t|t")

		e.atDestination(t, `CREATE VIEW shop.dependent AS SELECT n FROM shop.renamed; CREATE INDEX mine ON shop.renamed (n)`)
		e.atSource(t, `ALTER TABLE t ADD COLUMN added timestamptz DEFAULT '2026-01-01', ADD COLUMN list int[] DEFAULT '{1,NULL}';
			ALTER TABLE t ALTER COLUMN n TYPE bigint; INSERT INTO t VALUES (2, 's', 6000000000)`)
		e.run(t)
		e.wantRows(t, `SELECT id, n, n__bigint FROM shop.renamed ORDER BY id`, "1|∅|5", "2|∅|6000000000")
		e.wantRows(t, `SELECT id, added AT TIME ZONE 'UTC', list FROM shop.renamed ORDER BY id`,
			"1|2026-01-01 00:00:00|{1,NULL}", "2|2026-01-01 00:00:00|{1,NULL}")
		e.wantRows(t, `SELECT n FROM shop.dependent ORDER BY 1`, "∅", "∅")
	})
}

// PostgreSQL 15 has scales below zero and above the precision. An older server gets the
// values without these scales.
func TestScales(t *testing.T) {
	t.Parallel()
	e := newEnv(t, sandbox.SharedFrom(t, 15), sandbox.SharedBefore(t, 15))
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v numeric(5,-2), w numeric(3,5)); INSERT INTO t VALUES (1, 12345, 0.00123)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.wantRows(t, `SELECT v, w FROM shop.t`, "12300|0.00123")
}
