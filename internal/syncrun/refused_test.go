package syncrun

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// Values of types that take no input, and of arrays within arrays, arrive as they are
// written.
func TestTypesWithoutInput(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `
			CREATE TABLE c (id int PRIMARY KEY CHECK (id > 0), n int DEFAULT 5); INSERT INTO c VALUES (1, 1), (2, 2);
			CREATE STATISTICS s (ndistinct, dependencies) ON id, n FROM c; ANALYZE c;
			CREATE TABLE trees AS SELECT 1 AS id, d.adbin AS tree FROM pg_attrdef AS d WHERE d.adrelid = 'c'::regclass;
			CREATE TABLE rights AS SELECT 1 AS id, '{=r/`+s.Username+`}'::aclitem[] AS a, '=r/`+s.Username+`'::aclitem AS i, ARRAY['pg_class'::regclass, NULL] AS r, 'int4'::regtype AS t;
			GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+e.reader)
		tables := []string{"trees", "rights"}
		e.definition.Tables["pg_catalog.pg_stats"] = definition.Selection{Method: definition.FullTable, Columns: []string{"tablename", "histogram_bounds"}}
		if s.Major >= 12 {
			e.atSource(t, `CREATE TABLE statistics AS SELECT 1 AS id, d.stxdndistinct AS n, d.stxddependencies AS d, d.stxdmcv AS m FROM pg_statistic_ext_data AS d`)
			tables = append(tables, "statistics")
		}
		if s.Major >= 11 {
			e.atSource(t, `CREATE DOMAIN pairs AS int[]; CREATE DOMAIN inner_pairs AS pairs; CREATE TABLE nested (id int PRIMARY KEY, v pairs[], w inner_pairs[], x xml[]);
				INSERT INTO nested VALUES (1, '{"{1,2}",NULL,"{{3},{4}}"}', '{"{5}"}', NULL)`)
			tables = append(tables, "nested")
		}
		for _, table := range tables {
			e.definition.Tables["public."+table] = definition.Selection{Method: definition.FullTable}
		}
		e.runs.Verify = tablesync.VerifyChecksum
		e.create(t)
		for range 2 {
			e.run(t)
			for _, table := range tables {
				e.wantSame(t, table)
			}
		}
	})
}

// What can be known of tables that cannot be loaded is reported before they are loaded.
func TestTablesThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	many := make([]string, 1600)
	for i := range many {
		many[i] = fmt.Sprintf("c%d int", i)
	}
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `
			CREATE TABLE fits (`+strings.Join(many[:1596], ", ")+`); INSERT INTO fits (c0) VALUES (1);
			CREATE TABLE wide (`+strings.Join(many[:1597], ", ")+`);
			CREATE TABLE widest (`+strings.Join(many, ", ")+`);
			CREATE TABLE excluding (`+strings.Join(many, ", ")+`);
			CREATE TABLE nothing (); CREATE VIEW nothing_seen AS SELECT FROM nothing;
			CREATE VIEW system AS SELECT 1 AS id, 2 AS xmin, 3 AS tableoid;
			CREATE VIEW system_key AS SELECT 1 AS ctid;
			CREATE VIEW system_excluded AS SELECT 1 AS id, 2 AS xmax;
			CREATE MATERIALIZED VIEW empty AS SELECT 1 AS id WITH NO DATA`)
		for _, name := range []string{"fits", "wide", "widest", "nothing", "nothing_seen", "system", "empty"} {
			e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
		}
		e.definition.Tables["public.system_key"] = definition.Selection{Method: definition.FullTable, ViewKeyProperties: []string{"ctid"}}
		e.definition.Tables["public.system_excluded"] = definition.Selection{Method: definition.FullTable, ExcludeColumns: []string{"xmax"}}
		e.definition.Tables["public.excluding"] = definition.Selection{Method: definition.FullTable, ExcludeColumns: []string{"c0", "c1", "c2", "c3"}}
		want := map[string]string{
			"wide":         "1597 columns are selected and 4 system columns are added to them, but a table can have at most 1600 columns: exclude 1 of them",
			"widest":       "exclude 4",
			"nothing":      "public.nothing has no columns",
			"nothing_seen": "public.nothing_seen has no columns",
			"system":       `column "xmin" has a name that PostgreSQL reserves`,
			"system_key":   `column "ctid" has a name that PostgreSQL reserves`,
			"empty":        "REFRESH MATERIALIZED VIEW",
		}
		problems, _, err := replication.CheckSource(t.Context(), e.sourceEndpoint(t), e.definition)
		if err != nil {
			t.Fatal(err)
		}
		e.runs.Verify = tablesync.VerifyChecksum
		e.create(t)
		_, _ = e.tryRun(t.Context())
		e.atSource(t, `INSERT INTO fits (c0) VALUES (2)`)
		run, _ := e.tryRun(t.Context())
		for key := range e.definition.Tables {
			name := strings.TrimPrefix(key, "public.")
			var planned string
			for _, p := range problems {
				if p.Table == key {
					planned += p.Message
				}
			}
			failed := report(run, key).Error
			if want[name] == "" && (planned != "" || failed != "") || !strings.Contains(planned, want[name]) || !strings.Contains(failed, want[name]) {
				t.Errorf("%s: planned %q, failed %q, want %q", name, planned, failed, want[name])
			}
		}
	})
}

// An error that only values can cause names the column, and says what to do.
func TestValuesThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.sourceDatabase, e.destinationDatabase = ownEncoding(t, s, "SQL_ASCII"), ownEncoding(t, s, "LATIN1")
		e.definition.Source.Database, e.definition.Destination.Database = e.sourceDatabase, e.destinationDatabase
		s.Exec(t, e.destinationDatabase, `GRANT CREATE, CONNECT, TEMPORARY ON DATABASE `+e.destinationDatabase+` TO `+e.writer)
		e.atSource(t, `
			SET client_encoding = 'SQL_ASCII';
			CREATE TABLE bytes (id int PRIMARY KEY, good text, "it's" varchar(9), a text[]); INSERT INTO bytes VALUES (1, 'a', 'b', NULL), (2, 'a', E'M\xfcller', NULL);
			CREATE VIEW converted AS SELECT id, good, convert_from(convert(convert_to("it's", 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'UTF8') AS name FROM bytes;
			CREATE TABLE foreign_letters (id int PRIMARY KEY, good text, v text); INSERT INTO foreign_letters VALUES (1, 'a', E'\xe6\x97\xa5');
			CREATE VIEW nulls AS SELECT NULL::int AS k, 1 AS v;
			GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+e.reader)
		for _, name := range []string{"bytes", "converted", "foreign_letters"} {
			e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
		}
		e.definition.Tables["public.nulls"] = definition.Selection{Method: definition.FullTable, ViewKeyProperties: []string{"k"}}
		e.create(t)
		for _, method := range []string{definition.FullTable, definition.Incremental} {
			run, err := e.tryRun(t.Context())
			if err == nil {
				t.Fatal("the run succeeded")
			}
			for name, want := range map[string][]string{
				"bytes":           {`Column "it's"`, "SQL_ASCII", "convert_from", "exclude"},
				"foreign_letters": {`column v`, "LATIN1", "exclude"},
				"nulls":           {`"k"`, "view_key_properties"},
				"converted":       {""},
			} {
				got := report(run, "public."+name).Error
				for _, part := range want {
					if !strings.Contains(got, part) || part == "" && got != "" {
						t.Errorf("%s, %s: %q lacks %q", method, name, got, part)
					}
				}
			}
			e.wantRows(t, `SELECT encode(convert_to(name, 'UTF8'), 'escape') FROM shop.converted ORDER BY id`, "b", `M\303\274ller`)
		}
	})
}

// A name that is not UTF-8 is a problem of the table that has it.
func TestNamesThatAreNotUTF8(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.sourceDatabase = ownEncoding(t, s, "SQL_ASCII")
		e.definition.Source.Database = e.sourceDatabase
		e.atSource(t, `SET client_encoding = 'SQL_ASCII'; SET escape_string_warning = off;
			CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good VALUES (1);
			DO $$ BEGIN EXECUTE 'CREATE TABLE bad (id int PRIMARY KEY, "stra' || chr(223) || 'e" int)'; EXECUTE 'CREATE TABLE "m' || chr(252) || '" ()'; END $$;
			GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+e.reader)
		for _, name := range []string{"good", "bad", "gone"} {
			e.definition.Tables["public."+name] = definition.Selection{Method: definition.FullTable}
		}
		problems, _, err := replication.CheckSource(t.Context(), e.sourceEndpoint(t), e.definition)
		if err != nil || len(problems) != 2 || problems[0].Table != "public.bad" || !strings.Contains(problems[0].Message, `stra\xdfe`) || problems[1].Table != "public.gone" {
			t.Errorf("%v %v", problems, err)
		}
		e.create(t)
		run, _ := e.tryRun(t.Context())
		if got := report(run, "public.bad").Error; !strings.Contains(got, `stra\xdfe`) {
			t.Errorf("%s", got)
		}
		if got := report(run, "public.good"); got.Status != Succeeded {
			t.Errorf("%+v", got)
		}
	})
}

// ownEncoding creates a database with an encoding.
func ownEncoding(t *testing.T, s *sandbox.Server, encoding string) string {
	t.Helper()
	name := s.DatabaseName(t)
	s.Exec(t, "postgres", "CREATE DATABASE "+pgclient.Ident(name)+" TEMPLATE template0 ENCODING '"+encoding+"' LC_COLLATE 'C' LC_CTYPE 'C'")
	return name
}
