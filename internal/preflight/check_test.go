package preflight

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func check(t *testing.T, server *pgclient.Server, c ConnectionCheck) Connection {
	t.Helper()
	found, err := CheckConnection(t.Context(), server, c)
	if err != nil {
		t.Fatal(pgclient.Explain(err))
	}
	return found
}

// privileges renders what was found: "+" for privileges that the login has.
func privileges(found Connection) []string {
	var lines []string
	for _, p := range found.Privileges {
		sign := "-"
		if p.Held {
			sign = "+"
		}
		lines = append(lines, sign+p.Privilege+" ON "+p.Object)
		if p.Reason == "" {
			lines = append(lines, "no reason")
		}
	}
	return lines
}

func summaries(found Connection) []string {
	var all []string
	for _, a := range found.Advice {
		all = append(all, a.Summary)
	}
	return all
}

// Each privilege that Stitch's documents require of a source is checked, and a missing one is
// reported with the SQL that grants it.
func TestCheckSource(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		shop := pgtest.NewShop(t, s)
		server := shop.As(t, shop.User)
		want := ConnectionCheck{
			Database: shop.Name, Use: UseAsSource, Schemas: []string{"billing", "none"},
			Tables: map[relation.TableName]string{{Schema: "public", Name: "orders"}: "id", {Schema: "public", Name: "gone"}: "", {Schema: "public", Name: "open_orders"}: "id"},
		}
		shop.Run(t, "GRANT CONNECT ON DATABASE "+shop.Name+" TO "+shop.User)
		found := check(t, server, want)
		pgtest.Equal(t, "privileges", privileges(found), []string{
			"+CONNECT ON DATABASE " + shop.Name,
			"-USAGE ON SCHEMA billing", "-SELECT ON ALL TABLES IN SCHEMA billing",
			"-USAGE ON SCHEMA none", "-SELECT ON ALL TABLES IN SCHEMA none",
			"-USAGE ON SCHEMA public",
			"-SELECT ON TABLE public.gone", "-SELECT ON TABLE public.open_orders", "-SELECT ON TABLE public.orders",
			"-SELECT ON FUTURE TABLES IN SCHEMA billing OF " + shop.Application,
		})
		if found.Ready() || found.Pooling != pgclient.NoPooling || found.Facts.Username != shop.User || found.Facts.Superuser || found.Facts.Standby ||
			found.Major != s.Major || !found.Tested() || found.Facts.ClientAddress != "127.0.0.1" || found.Facts.ServerPort != s.Port {
			t.Errorf("found %+v", found)
		}
		pgtest.Equal(t, "advice", summaries(found), []string{
			fmt.Sprintf("The login %q lacks rights on database %q", shop.User, shop.Name),
			fmt.Sprintf("The login %q lacks rights on database %q that runs do not need yet", shop.User, shop.Name),
			"Replication keys without an index",
		})
		// The SQL that the check proposes is all that is needed, except for objects that do not
		// exist.
		statement := regexp.MustCompile(`(?m)^  ((?:GRANT|ALTER|CREATE) .*;)$`)
		for _, a := range found.Advice {
			for _, match := range statement.FindAllStringSubmatch(a.Detail, -1) {
				if !strings.Contains(match[1], `"none"`) && !strings.Contains(match[1], `"gone"`) {
					shop.Run(t, match[1])
				}
			}
		}
		want.Schemas = []string{"billing"}
		delete(want.Tables, relation.TableName{Schema: "public", Name: "gone"})
		found = check(t, server, want)
		if !found.Ready() || len(found.Advice) > 0 || len(found.NotIndexed) > 0 {
			t.Errorf("after doing what it says: %v, %q", found.Advice, privileges(found))
		}
		// A table that the login cannot read is named.
		shop.Run(t, "REVOKE SELECT ON billing.payments_1 FROM "+shop.User)
		if found = check(t, server, want); found.Ready() || !strings.Contains(found.Advice[0].Detail, "(not on payments_1)") {
			t.Errorf("advice %v", found.Advice)
		}
	})
}

// Names are data, also in the proposed SQL.
func TestCheckNames(t *testing.T) {
	shop := pgtest.NewShop(t, sandbox.Shared(t, 0))
	server := shop.As(t, shop.User)
	shop.Run(t, "GRANT CONNECT ON DATABASE "+shop.Name+" TO "+shop.User)
	for _, name := range []string{
		`a.b`, `"; DROP TABLE public.orders; --`, `'; DROP TABLE public.orders; --`, `back\slash`, "new\nline", "日本語", strings.Repeat("ü", 31) + "x", "{},NULL", "$1", " ",
	} {
		table := relation.TableName{Schema: name, Name: name}
		shop.Run(t, "CREATE SCHEMA "+pgclient.Ident(name)+"; CREATE TABLE "+table.SQL()+" ("+pgclient.Ident(name)+" int PRIMARY KEY)")
		want := ConnectionCheck{Database: shop.Name, Use: UseAsSource, Schemas: []string{name}, Tables: map[relation.TableName]string{table: name}}
		found := check(t, server, want)
		if found.Ready() || len(found.NotIndexed) > 0 {
			t.Errorf("%q: %q, without an index %v", name, privileges(found), found.NotIndexed)
		}
		for _, p := range found.Privileges {
			if !p.Held {
				shop.Run(t, p.remedy)
			}
		}
		if found = check(t, server, want); len(found.Advice) > 0 {
			t.Errorf("%q: %v", name, found.Advice)
		}
	}
	if found := check(t, shop.Admin, ConnectionCheck{Database: shop.Name, Use: UseAsSource, Tables: map[relation.TableName]string{{Schema: "public", Name: "orders"}: ""}}); !found.Ready() {
		t.Errorf("public.orders: %v", found.Advice)
	}
}

// Settings of the login do not affect the check.
func TestCheckLoginSettings(t *testing.T) {
	t.Parallel()
	shop := pgtest.NewShop(t, sandbox.Shared(t, 0))
	shop.Run(t, `
		GRANT CONNECT ON DATABASE `+shop.Name+` TO `+shop.User+`;
		ALTER ROLE `+shop.User+` SET standard_conforming_strings = off;
		ALTER ROLE `+shop.User+` SET search_path = ''`)
	if found := check(t, shop.As(t, shop.User), ConnectionCheck{Database: shop.Name}); found.Facts.Superuser || found.Pooling != pgclient.NoPooling {
		t.Errorf("found %+v", found)
	}
}

// A superuser lacks nothing, and the check reports that it is one.
func TestCheckSuperuser(t *testing.T) {
	shop := pgtest.NewShop(t, sandbox.Shared(t, 0))
	for use, name := range map[Use]string{UseAsSource: "stitch_source_grants", UseAsDestination: "stitch_destination_grants"} {
		found := check(t, shop.Admin, ConnectionCheck{Database: shop.Name, Use: use, Schemas: []string{"billing"}})
		if !found.Ready() || len(found.Advice) != 1 || !strings.Contains(found.Advice[0].Detail, name) || !found.Facts.Superuser {
			t.Errorf("%s: %v", use, found.Advice)
		}
	}
	if found := check(t, shop.Admin, ConnectionCheck{}); len(found.Advice) > 0 || len(found.Privileges) > 0 {
		t.Errorf("without a use: %v", found.Advice)
	}
}

func TestCheckDestination(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		shop := pgtest.NewShop(t, s)
		server := shop.As(t, shop.User)
		want := ConnectionCheck{Database: shop.Name, Use: UseAsDestination, Schemas: []string{"billing", "yet to be"}}
		shop.Run(t, "GRANT CONNECT ON DATABASE "+shop.Name+" TO "+shop.User+`;
			REVOKE SELECT ON information_schema.tables, pg_catalog.pg_index FROM PUBLIC`)
		found := check(t, server, want)
		pgtest.Equal(t, "privileges", privileges(found), []string{
			"+CONNECT ON DATABASE " + shop.Name, "-CREATE ON DATABASE " + shop.Name, "-TEMPORARY ON DATABASE " + shop.Name,
			"-SELECT ON SYSTEM CATALOGS IN SCHEMA information_schema", "-SELECT ON SYSTEM CATALOGS IN SCHEMA pg_catalog",
			"-OWNERSHIP ON SCHEMA billing",
		})
		if found.Ready() || !strings.Contains(found.Advice[0].Detail, "(not on pg_index)") || !strings.Contains(found.Advice[0].Detail, fmt.Sprintf("(it belongs to %q)", shop.Application)) {
			t.Errorf("advice %v", found.Advice)
		}
		shop.Run(t, fmt.Sprintf(`
			GRANT CREATE, TEMPORARY ON DATABASE %[1]s TO %[2]s;
			GRANT SELECT ON information_schema.tables, pg_catalog.pg_index TO %[2]s;
			GRANT %[3]s TO %[2]s`, shop.Name, shop.User, shop.Application))
		if found = check(t, server, want); !found.Ready() || len(found.Advice) > 0 {
			t.Errorf("advice %v, %q", found.Advice, privileges(found))
		}
		// A loaded table that another role owns cannot be altered; other tables do not matter.
		shop.Run(t, "CREATE TABLE billing.loaded (_sdc_table_version bigint); CREATE TABLE billing.other ()")
		if found = check(t, server, want); found.Ready() || !strings.Contains(found.Advice[0].Detail, "(other roles own tables in it: loaded)") {
			t.Errorf("advice %v", found.Advice)
		}
		shop.Run(t, fmt.Sprintf("DROP TABLE billing.loaded; ALTER ROLE %s IN DATABASE %s SET default_transaction_read_only = on", shop.User, shop.Name))
		if found = check(t, shop.As(t, shop.User), want); found.Ready() || len(found.Advice) != 1 {
			t.Errorf("advice %v", found.Advice)
		}
	})
}

// An index counts if it returns rows in the order of the key.
func TestCheckIndexes(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		database, user := s.Database(t), s.Role(t)
		s.Exec(t, database, `
			CREATE TABLE "in.dex""ed" ("k ey" timestamptz, id int);
			CREATE INDEX ON "in.dex""ed" ("k ey", id);
			CREATE TABLE second (id int, k int); CREATE INDEX ON second (id, k);
			CREATE TABLE partial (k int); CREATE INDEX ON partial (k) WHERE k > 0;
			CREATE TABLE hashed (k int); CREATE INDEX ON hashed USING hash (k);
			CREATE TABLE expression (k text); CREATE INDEX ON expression (lower(k));
			CREATE TABLE pattern (k text); CREATE INDEX ON pattern (k text_pattern_ops);
			CREATE TABLE keyless (id int);
			CREATE TABLE parts (k int, d int) PARTITION BY LIST (d);
			CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
			CREATE INDEX ON parts_1 (k);
			CREATE TABLE uneven (k int, d int) PARTITION BY LIST (d);
			CREATE TABLE uneven_1 PARTITION OF uneven FOR VALUES IN (1);
			CREATE TABLE uneven_2 PARTITION OF uneven FOR VALUES IN (2);
			CREATE INDEX ON uneven_1 (k);
			CREATE VIEW looks AS SELECT * FROM second;
			CREATE MATERIALIZED VIEW kept AS SELECT * FROM second;
			GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+user)
		c := ConnectionCheck{Database: database, Use: UseAsSource, Tables: map[relation.TableName]string{{Schema: "public", Name: `in.dex"ed`}: "k ey", {Schema: "public", Name: "keyless"}: "k"}}
		for _, name := range []string{"second", "partial", "hashed", "expression", "pattern", "parts", "uneven", "looks", "kept"} {
			c.Tables[relation.TableName{Schema: "public", Name: name}] = "k"
		}
		server := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: user, Password: s.Password})
		found := check(t, server, c)
		var got []string
		for table := range found.NotIndexed {
			got = append(got, table.Name)
		}
		slices.Sort(got)
		pgtest.Equal(t, "without an index", got, []string{"expression", "hashed", "kept", "partial", "pattern", "second", "uneven"})
		pgtest.Equal(t, "advice", summaries(found), []string{`Table public.keyless has no column "k"`, "Replication keys without an index"})
	})
}

// Row-level security that hides nothing from the login is not reported.
func TestCheckRowSecurity(t *testing.T) {
	s := sandbox.Shared(t, 0)
	database, user := s.Database(t), s.Role(t)
	s.Exec(t, database, `
		CREATE TABLE a (id int); ALTER TABLE a ENABLE ROW LEVEL SECURITY;
		CREATE TABLE b (id int); ALTER TABLE b ENABLE ROW LEVEL SECURITY; ALTER TABLE b OWNER TO `+user+`;
		CREATE TABLE c (id int); ALTER TABLE c ENABLE ROW LEVEL SECURITY; ALTER TABLE c FORCE ROW LEVEL SECURITY; ALTER TABLE c OWNER TO `+user+`;
		GRANT SELECT ON a TO `+user)
	server := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: user, Password: s.Password})
	c := ConnectionCheck{Database: database, Use: UseAsSource, Schemas: []string{"public"}, Tables: map[relation.TableName]string{{Schema: "public", Name: "a"}: ""}}
	found := check(t, server, c)
	if want := []relation.TableName{{Schema: "public", Name: "a"}, {Schema: "public", Name: "c"}}; !slices.Equal(found.RowSecurity, want) || found.Ready() {
		t.Errorf("hidden from: %v, %v", found.RowSecurity, found.Advice)
	}
	s.Exec(t, database, "ALTER ROLE "+user+" BYPASSRLS")
	if found = check(t, server, c); found.RowSecurity != nil || !found.Ready() {
		t.Errorf("hidden from who sees all: %v, %v", found.RowSecurity, found.Advice)
	}
}

// A check changes nothing, waits for no lock, and takes one connection and few statements.
func TestCheckCost(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{LogStatements: true, Settings: map[string]string{"log_connections": "on", "default_transaction_read_only": "off"}})
	s.Exec(t, "postgres", "CREATE ROLE stitch LOGIN PASSWORD '"+s.Password+"'; CREATE TABLE orders (id int PRIMARY KEY)")
	conn, err := pgtest.Server(t, pgtest.Superuser(s)).Acquire(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	all, before := pgtest.Logged(t, s)
	for n, c := range []ConnectionCheck{
		{},
		{Use: UseAsSource, Schemas: []string{"public"}, Tables: map[relation.TableName]string{{Schema: "public", Name: "orders"}: "id"}},
		{Use: UseAsDestination, Schemas: []string{"public"}},
	} {
		server := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: "stitch", Password: s.Password, MaxConnections: 1})
		check(t, server, c)
		statements, connections := pgtest.Logged(t, s)
		statements = statements[len(all):]
		if most := []int{4, 11, 10}[n]; len(statements) > most || connections != before+n+1 {
			t.Errorf("%v: %d connections, statements %q", c, connections-before, statements)
		}
		for _, sql := range statements {
			if !regexp.MustCompile(`^(SELECT|WITH|BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SELECT pg_catalog\.set_config|commit)\b`).MatchString(sql) {
				t.Errorf("it ran %s", sql)
			}
		}
		all = append(all, statements...)
	}
}

// The standby's own settings count, and a standby cannot be a destination.
func TestCheckStandby(t *testing.T) {
	primary := sandbox.OwnServer(t, sandbox.Config{})
	primary.Exec(t, "postgres", "CREATE ROLE stitch LOGIN PASSWORD '"+primary.Password+"'")
	for delay, want := range map[string][]string{"30s": {"The standby may cancel long reads"}, "8h": nil, "-1": nil} {
		standby := sandbox.OwnServer(t, sandbox.Config{StandbyOf: primary, Settings: map[string]string{
			"max_standby_archive_delay": "12h", "max_standby_streaming_delay": delay,
		}})
		server := pgtest.Server(t, pgclient.Config{Host: standby.Host, Port: standby.Port, Username: "stitch", Password: primary.Password})
		pgtest.WaitFor(t, func() bool {
			_, err := CheckConnection(t.Context(), server, ConnectionCheck{})
			return err == nil // the role has been replicated
		})
		found := check(t, server, ConnectionCheck{Use: UseAsSource})
		if f := found.Facts; !f.Standby || f.HotStandby != "on" || f.MaxStandbyArchiveDelay != "12h" || f.MaxStandbyStreamingDelay != delay || f.MaxReplicationSlots == 0 || f.WALLevel == "" {
			t.Errorf("found %+v", f)
		}
		got := slices.DeleteFunc(summaries(found), func(text string) bool { return strings.Contains(text, "can read no table") })
		pgtest.Equal(t, "advice with "+delay, got, want)
		if found = check(t, server, ConnectionCheck{Use: UseAsDestination}); found.Ready() || found.Advice[0].Summary != "The destination is a standby" {
			t.Errorf("as a destination: %v", found.Advice)
		}
	}
	if found := check(t, pgtest.Server(t, pgtest.Superuser(primary)), ConnectionCheck{}); found.Facts.WALSenders == 0 {
		t.Error("the standbys' WAL senders are not counted")
	}
}

// What a pool is for is reported, not refused; privileges are checked where that works.
func TestCheckPooled(t *testing.T) {
	s := sandbox.Shared(t, 0)
	database, user := s.Database(t), s.Role(t)
	for mode, ready := range map[string]bool{"session": true, "transaction": false} {
		config := pgtest.Pooled(t, s, mode, user)
		for range 3 { // statements that one check had prepared would make the next one fail
			found := check(t, pgtest.Server(t, config), ConnectionCheck{Database: database, Use: UseAsSource, Schemas: []string{"public"}})
			if string(found.Pooling) != mode || found.Ready() != ready || (len(found.Privileges) > 0) != ready || found.Facts.Username != user {
				t.Errorf("%s: %s, %v, %q", mode, found.Pooling, found.Advice, privileges(found))
			}
		}
	}
}

func TestCheckTLS(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{TLS: true})
	const elsewhere = "0.0.0.0" // this machine, which does not count as local
	for name, tt := range map[string]struct {
		host, mode, ca string
		tls            bool
		advice         []string
	}{
		"verified":              {"localhost", "verify-full", s.CA, true, nil},
		"here":                  {"localhost", "disable", "", false, nil},
		"not encrypted":         {elsewhere, "disable", "", false, []string{"The connection to server server is not encrypted"}},
		"not verified":          {elsewhere, "require", "", true, []string{"The certificate of server server is not verified"}},
		"chain verified":        {elsewhere, "verify-ca", s.CA, true, nil},
		"required, verified":    {elsewhere, "require", s.CA, true, nil},
		"preferred, not chosen": {elsewhere, "prefer", "", true, []string{"The certificate of server server is not verified"}},
	} {
		config := pgtest.Superuser(s)
		config.Host, config.SSLMode, config.SSLRootCert = tt.host, tt.mode, tt.ca
		found := check(t, pgtest.Server(t, config), ConnectionCheck{})
		if found.TLS != tt.tls || found.Facts.SessionTLS != tt.tls || (found.TLSVersion == "TLS 1.3") != tt.tls || (found.TLSCipher != "") != tt.tls {
			t.Errorf("%s: %t, %q, %q", name, found.TLS, found.TLSVersion, found.TLSCipher)
		}
		pgtest.Equal(t, name, summaries(found), tt.advice)
	}
}

func TestAdviseVersion(t *testing.T) {
	for major, want := range map[int]string{9: "PostgreSQL 9.6.24 is too old", 10: "", 14: "", 18: "", 19: "PostgreSQL 19 was not tested"} {
		got := ""
		for _, a := range adviseVersion(major, "9.6.24") {
			got = a.Summary
			if a.Blocks != (major < 10) || !strings.Contains(a.Detail, "10, 13, 15, 16, 18") {
				t.Errorf("%d: %+v", major, a)
			}
		}
		if got != want {
			t.Errorf("%d: %q, want %q", major, got, want)
		}
	}
}

// The majors that are reported as tested are those that CI tests with.
func TestTestedMajors(t *testing.T) {
	script, err := os.ReadFile("../../scripts/postgres.sh")
	if err != nil {
		t.Fatal(err)
	}
	versions := regexp.MustCompile(`versions='(.*)'`).FindStringSubmatch(string(script))
	var majors []string
	for version := range strings.FieldsSeq(versions[1]) {
		major, _, _ := strings.Cut(version, ".")
		majors = append(majors, major)
	}
	if got := strings.Trim(fmt.Sprint(TestedMajors()), "[]"); got != strings.Join(majors, " ") {
		t.Errorf("said to be tested: %s; tested: %s", got, strings.Join(majors, " "))
	}
	if !slices.Equal(TestedMajors(), sandbox.TestedMajors()) {
		t.Errorf("said to be tested: %v; tests want %v", TestedMajors(), sandbox.TestedMajors())
	}
}

// An unreachable server gives an error that says what to do.
func TestCheckUnreachable(t *testing.T) {
	server := pgtest.Server(t, pgclient.Config{Host: "127.0.0.1", Port: 1, Username: "u"})
	_, err := CheckConnection(t.Context(), server, ConnectionCheck{})
	if !pgclient.IsUnreachable(err) || !strings.Contains(pgclient.Explain(err), "Check the host and port of servers.server") {
		t.Errorf("got %s", pgclient.Explain(err))
	}
}
