package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestDatabaseRefusals(t *testing.T) {
	template := Database{Name: "template1", Owner: "postgres", Encoding: "UTF8", LCCollate: "C", LCCtype: "C.UTF-8", LocaleProvider: "libc", ConnectionLimit: -1}
	said := Database{Name: "d", Owner: "stitch", ConnectionLimit: 5, Comment: "c"}
	unsaid := Database{Name: "d", ConnectionLimit: 5}
	icu := Database{Name: "d", ConnectionLimit: 5, LocaleProvider: "icu", ICULocale: "de"}
	same := foundDatabase{login: "admin", template: template, Database: template}
	same.Name, same.Owner, same.ConnectionLimit = "d", "stitch", 5
	but := func(change func(*foundDatabase)) foundDatabase { f := same; change(&f); return f }
	ofLogin := func(f *foundDatabase) { f.Owner = "admin" }

	for name, tt := range map[string]struct {
		want     Database
		found    foundDatabase
		refusals []string
	}{
		"the same":                {want: said, found: same},
		"not given away yet":      {want: said, found: but(ofLogin)},
		"of the login":            {want: unsaid, found: but(ofLogin)},
		"of somebody else":        {want: said, found: but(func(f *foundDatabase) { f.Owner = "eve" }), refusals: []string{`owner is "eve", not "stitch"`}},
		"of nobody in particular": {want: unsaid, found: same, refusals: []string{`owner is "stitch", not "admin"`}},
		"of the server":           {want: said, found: but(func(f *foundDatabase) { f.isInitial = true }), refusals: []string{"it came with the server"}},
		"another encoding":        {want: said, found: but(func(f *foundDatabase) { f.Encoding = "LATIN1" }), refusals: []string{`encoding is "LATIN1", not "UTF8"`}},
		"another locale":          {want: said, found: but(func(f *foundDatabase) { f.LCCollate, f.LCCtype = "x", "y" }), refusals: []string{`lc_collate is "x", not "C"`, `lc_ctype is "y", not "C.UTF-8"`}},
		"another provider":        {want: icu, found: but(ofLogin), refusals: []string{`locale_provider is "libc", not "icu"`, `icu_locale is "", not "de"`}},
		"the same of ICU":         {want: icu, found: but(func(f *foundDatabase) { f.Owner, f.LocaleProvider, f.ICULocale = "admin", "icu", "de" })},
		"as its template of ICU": {want: said, found: but(func(f *foundDatabase) {
			f.template.LocaleProvider, f.template.ICULocale, f.LocaleProvider, f.ICULocale = "icu", "de", "icu", "de"
		})},
		"not as its template": {want: Database{Name: "d", Owner: "stitch", ConnectionLimit: 5, LocaleProvider: "libc"}, found: but(func(f *foundDatabase) { f.template.LocaleProvider, f.template.ICULocale = "icu", "de" })},
		"another limit":       {want: said, found: but(func(f *foundDatabase) { f.ConnectionLimit = -1 }), refusals: []string{"connection_limit is -1, not 5"}},
		"half dropped":        {want: said, found: but(func(f *foundDatabase) { f.ConnectionLimit = -2 }), refusals: []string{"an interrupted DROP DATABASE made it invalid: it accepts no connections"}},
		"another comment":     {want: said, found: but(func(f *foundDatabase) { f.Comment = "mine" })},
		"with properties":     {want: said, found: but(func(f *foundDatabase) { f.properties = []string{"it is a template"} }), refusals: []string{"it is a template"}},
		"with rights":         {want: said, found: but(func(f *foundDatabase) { f.rights = []string{"CONNECT for x was granted"} }), refusals: []string{"its privileges differ from those of a new database: CONNECT for x was granted"}},
		"with settings":       {want: said, found: but(func(f *foundDatabase) { f.settings = []string{"a for role b"} }), refusals: []string{"it sets the parameter a for role b"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.want.refusals(tt.found); !slices.Equal(got, tt.refusals) {
				t.Errorf("got %q, want %q", got, tt.refusals)
			}
		})
	}
	many := slices.Repeat([]string{"x"}, 13)
	if got := contentRefusals(many); len(got) != 11 || got[10] != "it holds 3 more objects" {
		t.Errorf("of many: %q", got)
	}
}

// A database is adopted in the state in which CreateDatabase left it, whichever statement its
// process died at, and no longer once it has been used.
func TestAdoptDatabase(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for as, server := range administrators(t, s) {
			t.Run(as, func(t *testing.T) {
				t.Parallel()
				testAdoptDatabase(t, s, server)
			})
		}
	})
}

func testAdoptDatabase(t *testing.T, s *sandbox.Server, server *pgclient.Server) {
	ctx, name, other := t.Context(), s.DatabaseName(t), s.Role(t)
	owner := s.RoleName(t)
	if _, err := CreateUser(ctx, server, User{Name: owner, Login: true, ConnectionLimit: -1}, scram("secret")); err != nil {
		t.Fatal(err)
	}
	want := plainDatabase(name, owner)
	want.Comment, want.ConnectionLimit = "loaded", 9
	asked := Database{Name: name, Owner: owner, Comment: "loaded", ConnectionLimit: 9}
	if _, _, err := AdoptDatabase(ctx, server, asked, "template0"); !errors.Is(err, pgclient.ErrNotFound) {
		t.Fatalf("before it was created: %v", err)
	}
	if err := startDatabase(ctx, server, asked, "template0"); err != nil { // the process died here
		t.Fatal(err)
	}
	adopt := func(what string, refusal string) {
		t.Helper()
		adopted, refusals, err := AdoptDatabase(ctx, server, asked, "template0")
		found := slices.ContainsFunc(refusals, func(line string) bool { return strings.Contains(line, refusal) })
		switch {
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case refusal == "" && (len(refusals) > 0 || adopted != want):
			t.Errorf("%s: %+v, refused because of %q", what, adopted, refusals)
		case refusal != "" && !found:
			t.Errorf("%s: refused because of %q, want %q", what, refusals, refusal)
		case slices.ContainsFunc(refusals, func(line string) bool { return strings.Contains(line, "evil") || strings.Contains(line, "1MB") }):
			t.Errorf("%s: %q show a value", what, refusals)
		}
	}
	adopt("half created", "")
	adopt("whole", "")
	sql := strings.NewReplacer("$database", name, "$owner", owner, "$other", other, "$login", server.Username())
	for _, tt := range []struct {
		since                 int
		change, undo, refusal string
	}{
		{0, "COMMENT ON DATABASE $database IS 'mine'", "", ""},
		{0, "ALTER DATABASE $database OWNER TO $other", "ALTER DATABASE $database OWNER TO $owner", `owner is "$other"`},
		{0, "ALTER DATABASE $database CONNECTION LIMIT 8", "ALTER DATABASE $database CONNECTION LIMIT 9", "connection_limit is 8, not 9"},
		{0, "ALTER DATABASE $database IS_TEMPLATE true", "ALTER DATABASE $database IS_TEMPLATE false", "it is a template"},
		{0, "ALTER DATABASE $database SET search_path = evil", "ALTER DATABASE $database RESET ALL", "it sets the parameter search_path"},
		{0, "ALTER DATABASE $database SET app.jwt_secret = 'evil=evil'", "ALTER DATABASE $database RESET ALL", "it sets the parameter app.jwt_secret"},
		{0, "ALTER ROLE $other IN DATABASE $database SET work_mem = '1MB'", "ALTER ROLE $other IN DATABASE $database RESET ALL", "it sets the parameter work_mem for role $other"},
		{0, "GRANT CREATE ON DATABASE $database TO $other", "REVOKE CREATE ON DATABASE $database FROM $other", "CREATE for $other was granted"},
		{0, "REVOKE CONNECT ON DATABASE $database FROM PUBLIC", "GRANT CONNECT ON DATABASE $database TO PUBLIC", "CONNECT for PUBLIC was revoked"},
		{0, "CREATE SCHEMA s", "DROP SCHEMA s", "schema s"},
		{0, "CREATE TABLE t (id serial PRIMARY KEY, note text)", "DROP TABLE t", "it holds table public.t"},
		{0, "CREATE VIEW v AS SELECT 1", "DROP VIEW v", "view public.v"},
		{0, "CREATE SEQUENCE q", "DROP SEQUENCE q", "sequence public.q"},
		{0, "CREATE TYPE mood AS ENUM ('a')", "DROP TYPE mood", "type public.mood"},
		{0, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION f()", "function public.f()"},
		{0, "CREATE EXTENSION citext", "DROP EXTENSION citext", "it holds extension citext"},
		{0, "CREATE EXTENSION hstore SCHEMA pg_catalog", "DROP EXTENSION hstore", "it holds extension hstore"},
		{0, "SELECT lo_create(4711)", "SELECT lo_unlink(4711)", "large object 4711"},
		{0, "CREATE PUBLICATION p", "DROP PUBLICATION p", "publication p"},
		{0, "CREATE SUBSCRIPTION $database CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)", "ALTER SUBSCRIPTION $database SET (slot_name = NONE); DROP SUBSCRIPTION $database", "subscription $database"},
		{0, "CREATE CAST (money AS text) WITH INOUT", "DROP CAST (money AS text)", "cast from money to text"},
		{0, "CREATE COLLATION c (locale = 'C')", "DROP COLLATION c", "collation public.c"},
		{0, "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)", "DROP TEXT SEARCH CONFIGURATION c", "text search configuration public.c"},
		{0, "CREATE FOREIGN DATA WRAPPER w", "DROP FOREIGN DATA WRAPPER w", "foreign-data wrapper w"},
		{0, "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE PROCEDURE f()", "DROP EVENT TRIGGER e; DROP FUNCTION f()", "event trigger e"},
		{17, "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''entered''; END'; CREATE EVENT TRIGGER e ON login EXECUTE PROCEDURE f()", "", "it has an event trigger for logins"},
		{0, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC", "default privileges"},
		{0, "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC", "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM PUBLIC", "default privileges"},
		{0, "GRANT USAGE ON SCHEMA public TO $other", "REVOKE USAGE ON SCHEMA public FROM $other", "something granted to role $other"},
		{0, "GRANT SELECT ON pg_catalog.pg_authid TO $other", "REVOKE SELECT ON pg_catalog.pg_authid FROM $other", "something granted to role $other"},
		{0, "REVOKE USAGE ON SCHEMA public FROM PUBLIC", "GRANT USAGE ON SCHEMA public TO PUBLIC", "privileges on schema public that differ"},
		{0, "ALTER SCHEMA public OWNER TO $other", "", "something that belongs to role $other"},
	} {
		if tt.since > s.Major {
			continue
		}
		tt.change, tt.undo, tt.refusal = sql.Replace(tt.change), sql.Replace(tt.undo), sql.Replace(tt.refusal)
		s.Exec(t, name, tt.change)
		adopt(tt.change, tt.refusal)
		if tt.since == 17 { // entering it ends in an error: the test shows that it was not entered
			s.Exec(t, "postgres", "SET allow_system_table_mods = on; UPDATE pg_database SET dathasloginevt = false WHERE datname = '"+name+"'")
			tt.undo = "DROP EVENT TRIGGER e; DROP FUNCTION f()"
		}
		s.Exec(t, name, tt.undo)
	}
}

// What a database has from its template does not count as what users created in it.
func TestAdoptDatabaseFromTemplate(t *testing.T) {
	for _, major := range oldestAndNewest(t) {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			t.Parallel()
			s := sandbox.OwnServer(t, sandbox.Config{Major: major})
			ctx, server := t.Context(), administrators(t, s)["administrator"]
			s.Exec(t, "postgres", "CREATE ROLE tenant")
			s.Exec(t, "template1", `
				CREATE EXTENSION citext; CREATE SCHEMA common AUTHORIZATION tenant; CREATE TABLE common.t (id serial);
				REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO tenant; ALTER SCHEMA public OWNER TO tenant`)
			asked := Database{Name: "analytics", ConnectionLimit: -1}
			if _, err := CreateDatabase(ctx, server, asked, ""); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if adopted, refusals, err := AdoptDatabase(ctx, server, asked, ""); err != nil || len(refusals) > 0 || adopted.Name == "" {
					t.Errorf("%+v, refused because of %q, %v", adopted, refusals, err)
				}
			}
			// No connection to the template remains.
			if _, err := CreateDatabase(ctx, server, Database{Name: "next", ConnectionLimit: -1}, ""); err != nil {
				t.Error(err)
			}
			s.Exec(t, "analytics", "GRANT CREATE ON SCHEMA public TO PUBLIC")
			if _, refusals, err := AdoptDatabase(ctx, server, asked, ""); err != nil || len(refusals) != 1 || !strings.Contains(refusals[0], "privileges on schema public that differ") {
				t.Errorf("refused because of %q, %v", refusals, err)
			}
			s.Exec(t, "analytics", "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE TABLE mine (id int)")
			if _, refusals, err := AdoptDatabase(ctx, server, asked, ""); err != nil || !slices.Equal(refusals, []string{"it holds table public.mine"}) {
				t.Errorf("refused because of %q, %v", refusals, err)
			}

			full := Database{Name: "full", ConnectionLimit: 0}
			if _, err := CreateDatabase(ctx, server, full, "template0"); err != nil {
				t.Fatal(err)
			}
			if _, refusals, err := AdoptDatabase(ctx, server, full, "template0"); err != nil || len(refusals) != 1 || !strings.Contains(refusals[0], "its contents could not be read") {
				t.Errorf("refused because of %q, %v", refusals, err)
			}

			// Databases that were created with the server are never taken over.
			super := pgtest.Server(t, pgtest.Superuser(s))
			for _, name := range []string{"postgres", "template1"} {
				if _, refusals, err := AdoptDatabase(ctx, super, Database{Name: name, ConnectionLimit: -1}, ""); err != nil || !slices.Contains(refusals, "it came with the server") {
					t.Errorf("%s: refused because of %q, %v", name, refusals, err)
				}
			}
			if _, refusals, err := AdoptUser(ctx, super, User{Name: "postgres", Login: true, ConnectionLimit: -1}, scram(s.Password)); err != nil || !slices.Contains(refusals, "it came with the server") {
				t.Errorf("the superuser: refused because of %q, %v", refusals, err)
			}
		})
	}
}

// A session that outlives its client may still be creating the database: the next creation finds
// it, at whatever stage.
func TestCreateDatabaseMeanwhile(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		ctx, server := t.Context(), pgtest.Server(t, pgtest.Superuser(s))
		for range 3 {
			name := s.DatabaseName(t)
			conn, err := pgx.Connect(ctx, s.URL("postgres"))
			if err != nil {
				t.Fatal(err)
			}
			conn.PgConn().Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0") // no client waits for its end
			_, err = CreateDatabase(ctx, server, Database{Name: name, ConnectionLimit: -1}, "template0")
			if err != nil && !pgclient.IsExisting(err) {
				t.Errorf("created meanwhile: %v", err)
			}
			if _, refusals, err := AdoptDatabase(ctx, server, Database{Name: name, ConnectionLimit: -1}, "template0"); err != nil || refusals != nil {
				t.Errorf("refused because of %q, %v", refusals, err)
			}
			_ = conn.PgConn().Conn().Close()
		}
	})
}
