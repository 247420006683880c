package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestUserRefusals(t *testing.T) {
	want := User{
		Name: "stitch", Login: true, ConnectionLimit: 5, ValidUntil: "2030-01-01T01:00:00+01:00",
		Parameters: map[string]string{"search_path": `a, "B"`},
	}
	same := foundUser{User: want}
	same.ValidUntil = "2030-01-01T00:00:00Z"
	same.Parameters = map[string]string{"search_path": `a,"B"`}
	but := func(change func(*foundUser)) foundUser { f := same; change(&f); return f }

	for name, tt := range map[string]struct {
		found    foundUser
		refusals []string
	}{
		"the same":          {found: same},
		"of the server":     {found: but(func(f *foundUser) { f.isInitial = true }), refusals: []string{"it came with the server"}},
		"more":              {found: but(func(f *foundUser) { f.attributes = []string{"SUPERUSER", "CREATEDB"} }), refusals: []string{"it is SUPERUSER", "it is CREATEDB"}},
		"no login":          {found: but(func(f *foundUser) { f.Login = false }), refusals: []string{"login is false, not true"}},
		"another limit":     {found: but(func(f *foundUser) { f.ConnectionLimit = -1 }), refusals: []string{"connection_limit is -1, not 5"}},
		"another instant":   {found: but(func(f *foundUser) { f.ValidUntil = "" }), refusals: []string{"valid_until is infinity, not 2030-01-01T00:00:00Z"}},
		"replication":       {found: but(func(f *foundUser) { f.Replication = true }), refusals: []string{"replication is true, not false"}},
		"no parameters":     {found: but(func(f *foundUser) { f.Parameters = nil }), refusals: []string{"the parameter search_path is configured, but not set"}},
		"another parameter": {found: but(func(f *foundUser) { f.Parameters = map[string]string{"Search_Path": "a", "role": "x"} }), refusals: []string{"the value of the parameter search_path differs from the configured one", "the parameter role is set, but not configured"}},
		"of one database":   {found: but(func(f *foundUser) { f.settings = []string{"shop"} }), refusals: []string{`it has parameters of its own in database "shop"`}},
		"a member":          {found: but(func(f *foundUser) { f.related = []string{"it is a member of role x"} }), refusals: []string{"it is a member of role x"}},
		"an owner": {found: but(func(f *foundUser) {
			f.dependents = []Dependents{{Database: "shop", Count: 2, Names: []string{"owner of table a"}}}
		}), refusals: []string{`it owns objects or has privileges in database "shop": owner of table a and 1 more`}},
		"an owner of a server": {found: but(func(f *foundUser) { f.dependents = []Dependents{{Count: 1, Names: []string{"owner of tablespace a"}}} }), refusals: []string{"it owns objects or has privileges on the server: owner of tablespace a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := want.refusals(tt.found); !slices.Equal(got, tt.refusals) {
				t.Errorf("got %q, want %q", got, tt.refusals)
			}
		})
	}
	plain := want
	plain.Parameters = nil // not managed later, but CreateUser sets none
	if got := plain.refusals(same); len(got) != 1 {
		t.Errorf("with a parameter that is not configured: %q", got)
	}
}

func TestVerifierRefusals(t *testing.T) {
	verifier := func(p *Password) *string {
		text, err := p.verifier("stitch", 18)
		if err != nil {
			t.Fatal(err)
		}
		return &text
	}
	of := func(text string) *string { return &text }
	md5Password := func(text string) *Password { return &Password{Text: text, Encryption: MD5} }
	ours := *verifier(scram("söcret"))
	costly := strings.Replace(ours, "$4096:", "$2147483647:", 1)
	for name, tt := range map[string]struct {
		verifier *string
		password *Password
		refusal  string
	}{
		"the same":               {verifier: of(ours), password: scram("söcret")},
		"the same of MD5":        {verifier: verifier(md5Password("a")), password: md5Password("a")},
		"none":                   {verifier: of("")},
		"not to be seen":         {password: scram("a")},
		"another":                {verifier: of(ours), password: scram("secret"), refusal: "its password is not the configured one"},
		"another of MD5":         {verifier: verifier(md5Password("b")), password: md5Password("a"), refusal: "its password is not the configured one"},
		"one too many":           {verifier: of(ours), refusal: "it has a password, but none is configured"},
		"one too few":            {verifier: of(""), password: scram("a"), refusal: "it has no password, but one is configured"},
		"another encryption":     {verifier: verifier(md5Password("a")), password: scram("a"), refusal: "its password is stored as md5, not as scram-sha-256"},
		"another encryption too": {verifier: of(ours), password: md5Password("söcret"), refusal: "its password is stored as scram-sha-256, not as md5"},
		"one that takes days":    {verifier: of(costly), password: scram("söcret"), refusal: "its password is not the configured one"},
		"one that is none":       {verifier: of("SCRAM-SHA-256$"), password: scram("söcret"), refusal: "its password is not the configured one"},
		"one without salt":       {verifier: of("SCRAM-SHA-256$4096:?$a:b"), password: scram("söcret"), refusal: "its password is not the configured one"},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			if tt.refusal != "" {
				want = []string{tt.refusal}
			}
			if got := verifierRefusals(tt.verifier, "stitch", tt.password); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// oldestAndNewest are the majors to test on where tests change servers.
func oldestAndNewest(t *testing.T) []int {
	t.Helper()
	majors := sandbox.NeedMajors(t)
	return slices.Compact([]int{majors[0], majors[len(majors)-1]})
}

// administrators are the logins that create users: one that may do everything, and one that may
// not, and cannot see what the server stores for a password. Each has one connection.
func administrators(t *testing.T, s *sandbox.Server) map[string]*pgclient.Server {
	t.Helper()
	admin := s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+admin+" CREATEROLE CREATEDB")
	all := map[string]*pgclient.Server{}
	for name, username := range map[string]string{"superuser": s.Username, "administrator": admin} {
		all[name] = pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: username, Password: s.Password, MaxConnections: 1})
	}
	return all
}

// A user is adopted in the state in which CreateUser left it, and no longer once it has been
// used.
func TestAdoptUser(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for as, server := range administrators(t, s) {
			t.Run(as, func(t *testing.T) {
				t.Parallel()
				testAdoptUser(t, s, server)
			})
		}
	})
}

func testAdoptUser(t *testing.T, s *sandbox.Server, server *pgclient.Server) {
	ctx, name, other, database := t.Context(), s.RoleName(t), s.Role(t), s.Database(t)
	want := User{Name: name, Login: true, ConnectionLimit: 3, ValidUntil: "2040-01-01T00:00:00Z", Parameters: map[string]string{"work_mem": "1MB"}}
	if _, _, err := AdoptUser(ctx, server, want, nil); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Fatalf("before it was created: %v", err)
	}
	if _, err := CreateUser(ctx, server, want, scram("secret")); err != nil {
		t.Fatal(err)
	}
	sql := strings.NewReplacer("$user", name, "$other", other, "$database", database)
	for _, tt := range []struct{ change, undo, refusal string }{
		{"", "", ""},
		{"ALTER ROLE $user CREATEDB", "ALTER ROLE $user NOCREATEDB", "it is CREATEDB"},
		{"ALTER ROLE $user SUPERUSER", "ALTER ROLE $user NOSUPERUSER", "it is SUPERUSER"},
		{"ALTER ROLE $user CREATEROLE", "ALTER ROLE $user NOCREATEROLE", "it is CREATEROLE"},
		{"ALTER ROLE $user BYPASSRLS", "ALTER ROLE $user NOBYPASSRLS", "bypass_rls is true, not false"},
		{"ALTER ROLE $user NOINHERIT", "ALTER ROLE $user INHERIT", "it is NOINHERIT"},
		{"ALTER ROLE $user REPLICATION", "ALTER ROLE $user NOREPLICATION", "replication is true"},
		{"ALTER ROLE $user NOLOGIN", "ALTER ROLE $user LOGIN", "login is false"},
		{"ALTER ROLE $user CONNECTION LIMIT 4", "ALTER ROLE $user CONNECTION LIMIT 3", "connection_limit is 4, not 3"},
		{"ALTER ROLE $user VALID UNTIL 'infinity'", "ALTER ROLE $user VALID UNTIL '2040-01-01Z'", "valid_until is infinity"},
		{"ALTER ROLE $user PASSWORD 'another'", "", "password"},
		{"ALTER ROLE $user PASSWORD NULL", "", "password"},
		{"ALTER ROLE $user SET search_path = evil", "ALTER ROLE $user RESET search_path", "the parameter search_path is set, but not configured"},
		{"ALTER ROLE $user SET app.jwt_secret = 'evil'", "ALTER ROLE $user RESET app.jwt_secret", "the parameter app.jwt_secret is set, but not configured"},
		{"ALTER ROLE $user SET work_mem = '2MB'", "ALTER ROLE $user SET work_mem = '1MB'", "the value of the parameter work_mem differs from the configured one"},
		{"ALTER ROLE $user IN DATABASE $database SET search_path = evil", "ALTER ROLE $user IN DATABASE $database RESET search_path", `parameters of its own in database "$database"`},
		{"GRANT $other TO $user", "REVOKE $other FROM $user", "it is a member of role $other"},
		{"GRANT pg_read_all_settings TO $user", "REVOKE pg_read_all_settings FROM $user", "it is a member of role pg_read_all_settings"},
		{"GRANT $user TO $other", "REVOKE $user FROM $other", "role $other is a member of it"},
		{"GRANT CONNECT ON DATABASE $database TO $user", "REVOKE CONNECT ON DATABASE $database FROM $user", `in database "$database": privileges for database $database`},
		{"CREATE SCHEMA s AUTHORIZATION $user", "DROP SCHEMA s", `in database "$database": owner of schema s`},
		{"CREATE TABLE t (); GRANT SELECT ON t TO $user", "DROP TABLE t", "privileges for table"},
		{"ALTER DEFAULT PRIVILEGES FOR ROLE $user GRANT SELECT ON TABLES TO PUBLIC", "ALTER DEFAULT PRIVILEGES FOR ROLE $user REVOKE SELECT ON TABLES FROM PUBLIC", "default privileges"},
		{"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO $user", "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM $user", "default privileges"},
		{"", "", ""},
	} {
		tt.change, tt.undo, tt.refusal = sql.Replace(tt.change), sql.Replace(tt.undo), sql.Replace(tt.refusal)
		s.Exec(t, database, tt.change)
		seal, refusals, err := AdoptUser(ctx, server, want, scram("secret"))
		if err != nil {
			t.Fatalf("%s: %v", tt.change, err)
		}
		found := slices.ContainsFunc(refusals, func(line string) bool { return strings.Contains(line, tt.refusal) })
		if tt.refusal == "" && len(refusals) > 0 || tt.refusal != "" && !found {
			t.Errorf("%s: refused because of %q, want %q", tt.change, refusals, tt.refusal)
		}
		for _, line := range refusals {
			if strings.Contains(line, "evil") || strings.Contains(line, "MB") {
				t.Errorf("%s: %q shows a value", tt.change, line)
			}
		}
		if len(refusals) > 0 && seal != nil {
			t.Errorf("%s: a seal of what was refused", tt.change)
		}
		if strings.Contains(tt.change, "PASSWORD") {
			if _, err := UpdateUser(ctx, server, want, scram("secret")); err != nil {
				t.Fatal(err)
			}
		}
		s.Exec(t, database, tt.undo)
	}
	mayLogIn(t, s, name, "secret")
}

// If the login may not see what the server stores for a password, the configured one must log
// in, and the server must have asked for it.
func TestAdoptUserByLogin(t *testing.T) {
	for _, major := range oldestAndNewest(t) {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			t.Parallel()
			s := sandbox.OwnServer(t, sandbox.Config{Major: major})
			testAdoptUserByLogin(t, s)
		})
	}
}

func testAdoptUserByLogin(t *testing.T, s *sandbox.Server) {
	s.Exec(t, "postgres", "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC") // as an administrator may have done
	servers := administrators(t, s)
	server := servers["administrator"]
	s.Exec(t, "postgres", "GRANT CONNECT ON DATABASE postgres TO "+server.Username())
	hba := filepath.Join(s.Dir, "data/pg_hba.conf")
	rules, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	// rule puts a line before the others, and waits until it is in effect.
	rule := func(line string) {
		t.Helper()
		if err := os.WriteFile(hba, append([]byte(line+"\n"), rules...), 0o600); err != nil {
			t.Fatal(err)
		}
		before := s.Query(t, "postgres", "SELECT clock_timestamp(), pg_reload_conf()")[0]
		before, _, _ = strings.Cut(before, "|")
		for deadline := time.Now().Add(time.Minute); s.Query(t, "postgres", "SELECT WHERE pg_conf_load_time() > $1::timestamptz", before) == nil; {
			if time.Now().After(deadline) {
				t.Fatal("the server does not read its configuration")
			}
		}
	}
	adopt := func(u User, password *Password, want ...string) {
		t.Helper()
		seal, refusals, err := AdoptUser(t.Context(), server, u, password)
		if err != nil || seal != nil { // no verifier is known that could be sealed
			t.Errorf("sealed as %v, %v", seal, err)
		}
		if !slices.EqualFunc(refusals, want, strings.Contains) {
			t.Errorf("refused because of %q, want %q", refusals, want)
		}
	}
	create := func(by *pgclient.Server, name string, limit int, password *Password) User {
		t.Helper()
		u := User{Name: name, Login: true, ConnectionLimit: limit}
		if _, err := CreateUser(t.Context(), by, u, password); err != nil {
			t.Fatal(err)
		}
		return u
	}

	plain := create(server, "plain", -1, scram("pass\u00a0wört"))
	adopt(plain, scram("pass\u00a0wört"))
	adopt(plain, scram("secret"), "a login with the configured password failed")
	adopt(plain, nil, "no password is configured, but it may have one")
	adopt(plain, &Password{Text: "secret", Encryption: MD5}, `does not try to log in with password_encryption = "md5"`)
	adopt(create(server, "full", 0, scram("secret")), scram("secret"))
	if s.Major >= 16 {
		adopt(create(servers["superuser"], "another's", -1, scram("secret")), scram("secret"), "the login has no ADMIN OPTION on it")
		s.Exec(t, "postgres", "ALTER ROLE "+server.Username()+" SET createrole_self_grant = 'set, inherit'")
		adopt(create(pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: server.Username(), Password: s.Password}), "its own", -1, scram("secret")), scram("secret"))
		s.Exec(t, "postgres", `CREATE ROLE another LOGIN CREATEROLE PASSWORD '`+s.Password+`'; GRANT CONNECT ON DATABASE postgres TO another`)
		another := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: "another", Password: s.Password})
		adopt(create(another, "administered", -1, scram("secret")), scram("secret"), "role another is a member of it", "the login has no ADMIN OPTION on it")
	}
	rule("host all plain all trust")
	adopt(plain, scram("secret"), "does not ask for scram-sha-256")
	adopt(plain, scram("pass\u00a0wört"), "does not ask for scram-sha-256")
	rule("host all plain all reject")
	adopt(plain, scram("pass\u00a0wört"), "a login with the configured password failed")
	rule("host all plain all password") // asks for clear text, which is not sent
	adopt(plain, scram("pass\u00a0wört"), "does not ask for scram-sha-256")
}
