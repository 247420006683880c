package syncrun

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// otherSettings are values, which no session of the engine has, of all settings that affect
// what is written or read.
var otherSettings = []pgclient.Setting{
	{Name: "DateStyle", Value: "'SQL, DMY'"}, {Name: "IntervalStyle", Value: "iso_8601"}, {Name: "TimeZone", Value: "'Asia/Tokyo'"},
	{Name: "timezone_abbreviations", Value: "'India'"}, {Name: "extra_float_digits", Value: "-15"}, {Name: "bytea_output", Value: "escape"},
	{Name: "xmloption", Value: "document"}, {Name: "xmlbinary", Value: "hex"}, {Name: "array_nulls", Value: "off"},
	{Name: "standard_conforming_strings", Value: "off"}, {Name: "backslash_quote", Value: "off"}, {Name: "escape_string_warning", Value: "off"},
	{Name: "transform_null_equals", Value: "on"}, {Name: "client_encoding", Value: "LATIN1"}, {Name: "quote_all_identifiers", Value: "on"},
	{Name: "default_text_search_config", Value: "'pg_catalog.german'"}, {Name: "search_path", Value: "evil"}, {Name: "row_security", Value: "on"},
	{Name: "gin_fuzzy_search_limit", Value: "1"}, {Name: "default_with_oids", Value: "on", Before: 12}, {Name: "enable_seqscan", Value: "off"},
	{Name: "statement_timeout", Value: "'5min'"}, {Name: "lc_monetary", Value: "'C.utf8'"}, {Name: "lc_numeric", Value: "'C.utf8'"}, {Name: "lc_time", Value: "'C.utf8'"},
}

// settingsSQL sets otherSettings for a role, or for a database.
func settingsSQL(of string, major int) string {
	var sql strings.Builder
	for _, s := range pgclient.In(major, otherSettings) {
		fmt.Fprintf(&sql, "ALTER %s SET %s = %s;", of, s.Name, s.Value)
	}
	return sql.String()
}

// No setting of a login or a database changes what is read and loaded.
func TestSettingsOfLoginsAndDatabases(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		for _, of := range []string{"role", "database"} {
			e := newEnv(t, s, s)
			e.atSource(t, createExtremes([]string{"numeric", "double precision", "money", "text", "bytea", "date", "time with time zone", "timestamp(3) with time zone",
				"interval", "xml", "mood", "pair", "pair[]", "text[]", "tsvector", "regclass", "citext"})+`
				CREATE TABLE "größe" ("maß" int PRIMARY KEY, v text); INSERT INTO "größe" VALUES (1, E'o''\\ß');
				CREATE TABLE texts (id int PRIMARY KEY, d text, t text, b bytea, a text, x text, w text, f float8);
				INSERT INTO texts VALUES (1, '01/02/03', '2026-01-05 10:00 IST', '\x00ff5c', '{NULL}', '<a/> b', 'running cats', 0.1);
				CREATE VIEW v AS SELECT id, d::date AS d, t::timestamptz AS t, b::text AS b, a::text[] AS a, x::xml AS x, to_tsvector(w) AS w, (f * 3)::text AS f,
					('1 day 02:00'::interval + id * interval '1 min')::text AS i, to_char(d::date, 'TMDay') AS day, to_char(f, 'L9G999D9') AS n, xmlelement(name a, b)::text AS e,
					'texts'::regclass::text AS r, ''::text = NULL AS null_equals FROM texts;
				GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+e.reader)
			for _, name := range []string{"extremes", "größe", "texts", "v"} {
				e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
			}
			e.create(t)
			e.run(t)
			e.atDestination(t, "CREATE TABLE public.before AS SELECT * FROM shop.v")
			for database, role := range map[string]string{e.sourceDatabase: e.reader, e.destinationDatabase: e.writer} {
				if of == "role" {
					s.Exec(t, "postgres", settingsSQL("ROLE "+role, s.Major))
				} else {
					s.Exec(t, "postgres", settingsSQL("DATABASE "+database, s.Major))
				}
			}
			e.servers = e.newServers(t, 1)
			e.atSource(t, `CREATE TABLE public.added (id int PRIMARY KEY, v text); INSERT INTO public.added VALUES (1, 'a'); GRANT SELECT ON public.added TO `+e.reader)
			e.definition.Tables["public.added"] = definition.Selection{Method: definition.FullTable}
			if problems, _, err := replication.CheckSource(t.Context(), e.sourceEndpoint(t), e.definition); err != nil || len(problems) > 0 {
				t.Errorf("postgres%d, %s: %v %v", s.Major, of, problems, err)
			}
			if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
				t.Fatal(pgclient.Explain(err))
			}
			for _, r := range e.run(t).Tables {
				if r.RowsLoaded > 0 && r.SourceTable != "public.added" {
					t.Errorf("postgres%d, %s: %d rows of %s were changed", s.Major, of, r.RowsLoaded, r.SourceTable)
				}
			}
			if s.Major < 12 {
				e.wantRows(t, `SELECT relhasoids FROM pg_class WHERE oid = 'shop.added'::regclass`, "f")
			}
		}
	}
}

// Money is the same amount wherever it arrives, whatever locale each side writes it in. Where
// locales have other fractions of a unit, it arrives as a number. Where the fraction is
// unknown, the run refuses it.
func TestMoney(t *testing.T) {
	t.Parallel()
	locales, majors := localesOf(t, "en_IE", "de_DE", "ja_JP", "ar_BH"), sandbox.NeedMajors(t)
	for _, major := range []int{majors[0], majors[len(majors)-1]} {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major, Locales: locales})
		for _, tt := range []struct{ source, destination string }{
			{"en_IE", "de_DE"},
			{"ja_JP", "en_IE"},
			{"en_IE", "ja_JP"},
			{"ar_BH", "de_DE"},
			{"ja_JP", "ja_JP"},
		} {
			e := newEnv(t, s, s)
			s.Exec(t, "postgres", fmt.Sprintf("ALTER DATABASE %s SET lc_monetary = '%s.utf8'; ALTER DATABASE %s SET lc_monetary = '%s.utf8'; ALTER ROLE %s SET lc_monetary = 'C'",
				e.sourceDatabase, tt.source, e.destinationDatabase, tt.destination, e.reader))
			e.atSource(t, `CREATE DOMAIN price AS money;
				CREATE TABLE t (id int PRIMARY KEY, m money NOT NULL, d price); INSERT INTO t VALUES (1, 12::money, 5::money), (2, 1234567.89::numeric::money, NULL), (3, (-77.07)::numeric::money, NULL);
				CREATE TABLE texts (id int PRIMARY KEY, m money, x xml); INSERT INTO texts SELECT id, m, '<a/>' FROM t;
				CREATE TABLE big (id int PRIMARY KEY, m money, filler text); INSERT INTO big SELECT i, i * m, repeat('x', 500) FROM t, generate_series(4, 400) AS i WHERE id = 1;
				CREATE TABLE arrays (id int PRIMARY KEY, m money[]); INSERT INTO arrays SELECT id, ARRAY[m] FROM t`)
			for _, name := range []string{"t", "texts", "big", "arrays"} {
				e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
			}
			e.runs.Verify, e.runs.rangeBytes = tablesync.VerifyChecksum, 100<<10
			e.servers = e.newServers(t, 2)
			e.create(t)
			for range 2 {
				run, err := e.tryRun(t.Context())
				if err != nil && (tt.source == tt.destination || !strings.Contains(err.Error(), `column "m" is an array of money`)) {
					t.Fatalf("%s to %s: %s", tt.source, tt.destination, pgclient.Explain(err))
				}
				for _, r := range run.Tables {
					if r.Status != "succeeded" && (r.SourceTable != "public.arrays" || tt.source == "en_IE" && tt.destination == "de_DE") {
						t.Errorf("%s to %s: %+v", tt.source, tt.destination, r)
					}
				}
				for _, name := range []string{"t", "texts", "big"} {
					amounts := `SELECT id, m::numeric::float8 FROM %s.%s ORDER BY id`
					e.wantRows(t, fmt.Sprintf(amounts, "shop", name), s.Query(t, e.sourceDatabase, fmt.Sprintf(amounts, "public", name))...)
				}
			}
		}
	}
}

// Money within other types arrives as text, in which it is the same amount, or the run
// refuses it and names its column.
func TestMoneyWithin(t *testing.T) {
	t.Parallel()
	type column struct {
		sql, value string
		want       string // what arrives; of money, as numbers
		isMoney    bool   // what arrives
	}
	locales, majors := localesOf(t, "en_IE", "de_DE", "ja_JP"), sandbox.NeedMajors(t)
	for _, major := range []int{majors[0], majors[len(majors)-1]} {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major, Locales: locales})
		types := `CREATE TYPE pair AS (amount money, note text); CREATE TYPE outer_pair AS (p pair, a money[], m money);
			CREATE TYPE prices AS RANGE (subtype = money); CREATE DOMAIN some_prices AS prices; CREATE DOMAIN amounts AS money[];
			CREATE DOMAIN price AS money; CREATE TYPE priced AS (p price)`
		columns := map[string]column{
			"composite":   {"pair", "ROW(12.34::money, 'a')", "($12.34,a)", false},
			"composites":  {"pair[]", "ARRAY[ROW(12.34::money, 'a'), ROW(NULL, 'b')]::pair[]", `{"($12.34,a)","(,b)"}`, false},
			"nested":      {"outer_pair", "ROW(ROW(12.34::money, 'a')::pair, ARRAY[5::money], 3::money)", `("($12.34,a)",{$5.00},$3.00)`, false},
			"with_domain": {"priced", "ROW(2::money)", "($2.00)", false},
			"range":       {"prices", "prices(1.5::money, 20::money)", "[$1.50,$20.00)", false},
			"ranges":      {"prices[]", "ARRAY[prices(1.5::money, 20::money)]", `{"[$1.50,$20.00)"}`, false},
			"of_range":    {"some_prices", "prices(1.5::money, 20::money)", "[$1.50,$20.00)", false},
			"of_array":    {"amounts", "ARRAY[1.5::money, NULL]", "{1.50,NULL}", true},
		}
		if major >= 11 {
			types += `; CREATE DOMAIN some_pair AS pair`
			columns["of_composite"] = column{"some_pair", "ROW(12.34::money, 'a')::pair", "($12.34,a)", false}
			columns["domains"] = column{"price[]", "ARRAY[1.5::money, NULL]", "{1.50,NULL}", true}
		}
		if major >= 14 {
			columns["multirange"] = column{"pricesmultirange", "pricesmultirange(prices(1.5::money, 20::money))", "{[$1.50,$20.00)}", false}
			types = strings.Replace(types, "(subtype = money)", "(subtype = money, multirange_type_name = pricesmultirange)", 1)
		}
		for _, tt := range []struct{ source, destination string }{{"en_IE", "de_DE"}, {"ja_JP", "de_DE"}, {"de_DE", "ja_JP"}} {
			e := newEnv(t, s, s)
			s.Exec(t, "postgres", fmt.Sprintf("ALTER DATABASE %s SET lc_monetary = '%s.utf8'; ALTER DATABASE %s SET lc_monetary = '%s.utf8'",
				e.sourceDatabase, tt.source, e.destinationDatabase, tt.destination))
			e.atSource(t, types)
			for name, c := range columns {
				e.atSource(t, fmt.Sprintf(`CREATE TABLE %s (id int PRIMARY KEY, v %s); INSERT INTO %[1]s VALUES (1, %[3]s)`, name, c.sql, c.value))
				e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
			}
			e.create(t)
			run, _ := e.tryRun(t.Context())
			for _, r := range run.Tables {
				what := fmt.Sprintf("postgres%d, %s to %s, %s", major, tt.source, tt.destination, r.SourceTable)
				name := strings.TrimPrefix(r.SourceTable, "public.")
				c := columns[name]
				refused := tt.source == "ja_JP" || c.isMoney && tt.destination == "ja_JP"
				switch {
				case refused && (r.Status != "failed" || !strings.Contains(r.Error, `column "v"`)):
					t.Errorf("%s: not refused: %s, %q", what, r.Status, r.Error)
				case !refused && r.Status != "succeeded":
					t.Errorf("%s: %s, %q", what, r.Status, r.Error)
				case !refused && c.isMoney:
					e.wantRows(t, "SELECT v::numeric[] FROM shop."+name, c.want)
				case !refused:
					e.wantRows(t, "SELECT v FROM shop."+name, c.want)
				}
			}
		}
	}
}

// localesOf makes locales for servers that this process starts.
func localesOf(t *testing.T, names ...string) string {
	t.Helper()
	sandbox.NeedProgram(t, "localedef", "locales")
	directory := t.TempDir()
	for _, name := range names {
		if out, err := exec.Command("localedef", "-i", name, "-f", "UTF-8", directory+"/"+name+".utf8").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for dir := directory; dir != os.TempDir() && dir != "/"; dir = dir[:strings.LastIndex(dir, "/")] {
		_ = os.Chmod(dir, 0o755)
	}
	return directory
}
