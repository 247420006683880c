package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestUserChanges(t *testing.T) {
	want := User{
		Name: `a"b`, Login: true, ConnectionLimit: 5, ValidUntil: "2030-01-01T01:00:00+01:00",
		Parameters: map[string]string{"work_mem": "1MB"},
	}
	stored := want
	stored.ValidUntil = "2030-01-01T00:00:00Z"
	but := func(change func(*User)) User { u := stored; change(&u); return u }

	for name, tt := range map[string]struct {
		have     User
		verifier string
		sql      []string
	}{
		"nothing to do":      {have: stored},
		"no login":           {have: but(func(u *User) { u.Login = false }), sql: []string{`ALTER ROLE "a""b" LOGIN`}},
		"another limit":      {have: but(func(u *User) { u.ConnectionLimit = -1 }), sql: []string{`ALTER ROLE "a""b" CONNECTION LIMIT 5`}},
		"another instant":    {have: but(func(u *User) { u.ValidUntil = "" }), sql: []string{`ALTER ROLE "a""b" VALID UNTIL '2030-01-01T00:00:00Z'`}},
		"another password":   {have: stored, verifier: "x", sql: []string{`ALTER ROLE "a""b" PASSWORD 'x'`}},
		"replication":        {have: but(func(u *User) { u.Replication, u.replicating.attribute = true, true }), sql: []string{`ALTER ROLE "a""b" NOREPLICATION`}},
		"another parameter":  {have: but(func(u *User) { u.Parameters = map[string]string{"work_mem": "2MB"} }), sql: []string{`ALTER ROLE "a""b" SET "work_mem" TO '1MB'`}},
		"all of the options": {have: User{ConnectionLimit: -1, Parameters: want.Parameters}, verifier: "x", sql: []string{`ALTER ROLE "a""b" LOGIN CONNECTION LIMIT 5 VALID UNTIL '2030-01-01T00:00:00Z' PASSWORD 'x'`}},
	} {
		t.Run(name, func(t *testing.T) {
			var sql []string
			for _, change := range want.changes(tt.have, tt.verifier) {
				sql = append(sql, change.sql)
				if strings.Contains(change.shown, "'x'") {
					t.Errorf("a verifier is shown: %s", change.shown)
				}
			}
			if !slices.Equal(sql, tt.sql) {
				t.Errorf("got %q, want %q", sql, tt.sql)
			}
		})
	}
}

const rolePasswordSQL = `SELECT coalesce(rolpassword, '') FROM pg_catalog.pg_authid WHERE rolname = $1`

func TestUser(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		ctx, server, name := t.Context(), pgtest.Server(t, pgtest.Superuser(s)), s.RoleName(t)
		if _, err := ReadUser(ctx, server, name); !errors.Is(err, pgclient.ErrNotFound) {
			t.Fatalf("before it is created: %v", err)
		}
		if _, err := UpdateUser(ctx, server, User{Name: name}, nil); !errors.Is(err, pgclient.ErrNotFound) {
			t.Fatalf("updated before it is created: %v", err)
		}

		want := User{Name: name, Login: true, ConnectionLimit: -1}
		if _, err := CreateUser(ctx, server, want, scram(`it's a "secret"\`)); err != nil {
			t.Fatal(err)
		}
		wantUser(t, server, want)
		verifier := s.Query(t, "postgres", rolePasswordSQL, name)[0]
		if !strings.HasPrefix(verifier, "SCRAM-SHA-256$4096:") {
			t.Errorf("the server keeps %q", verifier)
		}
		mayLogIn(t, s, name, `it's a "secret"\`)

		_, err := CreateUser(ctx, server, want, nil)
		if !pgclient.IsExisting(err) {
			t.Errorf("created twice: %v", err)
		}

		for range 2 { // the second changes nothing
			want = User{Name: name, Login: false, ConnectionLimit: 7}
			if _, err := UpdateUser(ctx, server, want, nil); err != nil {
				t.Fatal(err)
			}
			wantUser(t, server, want)
		}
		if got := s.Query(t, "postgres", rolePasswordSQL, name)[0]; got != verifier {
			t.Errorf("a password that was not given changed to %q", got)
		}

		want.Login = true
		if _, err := UpdateUser(ctx, server, want, scram("another")); err != nil {
			t.Fatal(err)
		}
		wantUser(t, server, want)
		mayLogIn(t, s, name, "another")

		for range 2 { // a dropped user is no error
			if err := DropUser(ctx, server, name, DropOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ReadUser(ctx, server, name); !errors.Is(err, pgclient.ErrNotFound) {
			t.Errorf("after it was dropped: %v", err)
		}
	})
}

func wantUser(t *testing.T, server *pgclient.Server, want User) {
	t.Helper()
	got, err := ReadUser(t.Context(), server, want.Name)
	if err != nil {
		t.Fatal(err)
	}
	if want.Parameters == nil {
		want.Parameters = got.Parameters // not managed
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(User{})); diff != "" {
		t.Error(diff)
	}
}

func scram(text string) *Password { return &Password{Text: text, Encryption: SCRAM} }

func mayLogIn(t *testing.T, s *sandbox.Server, username, password string) {
	t.Helper()
	conn, err := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: username, Password: password}).Acquire(t.Context(), "")
	if err != nil {
		t.Error(err)
		return
	}
	conn.Discard()
}

// Even a server that logs every statement receives no password.
func TestServerLogsNoPassword(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{LogStatements: true})
	server := pgtest.Server(t, pgtest.Superuser(s))
	const first, second = "first-secret-43", "second-secret-44"
	u := User{Name: "stitch", Login: true, ConnectionLimit: -1}
	if _, err := CreateUser(t.Context(), server, u, scram(first)); err != nil {
		t.Fatal(err)
	}
	if _, err := UpdateUser(t.Context(), server, u, scram(second)); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateUser(t.Context(), server, u, scram(first)); err == nil || strings.Contains(pgclient.Explain(err), first) {
		t.Errorf("created twice: %v", err)
	}
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log, `ALTER ROLE "stitch" PASSWORD`) || strings.Contains(log, first) || strings.Contains(log, second) {
		t.Errorf("the log lacks the statement, or holds a password:\n%s", log)
	}
}

// A failed dial is forgotten once the user of that server has been created.
func TestCreateUserLetsOthersRetry(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	servers := pgtest.Servers(t, map[string]pgclient.Config{
		"admin": pgtest.Superuser(s),
		"user":  {Host: s.Host, Port: s.Port, Username: name, Password: "secret"},
	})
	planning := servers["user"].Planning()
	if _, err := ReadUser(t.Context(), planning, name); !pgclient.IsUnreachable(err) {
		t.Fatalf("logged in before it exists: %v", err)
	}
	if _, err := CreateUser(t.Context(), servers["admin"], User{Name: name, Login: true, ConnectionLimit: -1}, scram("secret")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadUser(t.Context(), planning, name); err != nil {
		t.Errorf("after it was created: %v", err)
	}
}

func TestUserWithoutSuperuser(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		server, name := pgtest.Server(t, pgtest.Administrator(t, s)), s.RoleName(t)

		u := User{
			Name: name, Login: true, ConnectionLimit: -1, ValidUntil: "2040-01-01T00:00:00Z",
			Parameters: map[string]string{"search_path": `"$user", public`, "statement_timeout": "30s"},
		}
		seal, err := CreateUser(t.Context(), server, u, scram("secret"))
		if err != nil {
			t.Fatal(err)
		}
		wantUser(t, server, u)
		s.Exec(t, "postgres", "ALTER ROLE "+name+" PASSWORD 'x'")
		if read, err := ReadUser(t.Context(), server, name); err != nil || read.PasswordChanged(seal) {
			t.Errorf("who may not look at passwords knows that one changed (%v)", err)
		}

		u.ConnectionLimit, u.ValidUntil, u.Parameters = 3, "", map[string]string{"statement_timeout": "40s"}
		if _, err := UpdateUser(t.Context(), server, u, scram("other")); err != nil {
			t.Fatal(err)
		}
		wantUser(t, server, u)
		mayLogIn(t, s, name, "other")
		if err := DropUser(t.Context(), server, name, DropOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// What a login may not do is reported as SQL before anything is changed.
func TestUserRefused(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		superuser, admin := pgtest.Server(t, pgtest.Superuser(s)), pgtest.Server(t, pgtest.Administrator(t, s))
		name := s.RoleName(t)
		u := User{Name: name, Login: true, ConnectionLimit: -1, Parameters: map[string]string{"log_statement": "all", "work_mem": "1MB"}}

		_, err := CreateUser(t.Context(), admin, u, scram("secret"))
		want := "the user was not created. Remove parameters from the configuration and apply, which creates the user. Then ask an administrator to run:\n" +
			"  ALTER ROLE \"" + name + "\" SET \"log_statement\" TO 'all';\nand add parameters to the configuration again."
		if err == nil || !strings.HasSuffix(pgclient.Explain(err), want) {
			t.Errorf("got %v", pgclient.Explain(err))
		}
		if s.Query(t, "postgres", rolePasswordSQL, name) != nil {
			t.Error("a refused user was created")
		}
		if _, err := CreateUser(t.Context(), superuser, u, nil); err != nil {
			t.Fatal(err)
		}
		s.Exec(t, "postgres", "ALTER ROLE "+name+" SUPERUSER") // which no administrator may change
		u.ConnectionLimit, u.Parameters = 7, nil
		_, err = UpdateUser(t.Context(), admin, u, scram("secret"))
		if sql := "run:\n  ALTER ROLE \"" + name + "\" CONNECTION LIMIT 7;\n  \\password \"" + name + "\"\n  ALTER ROLE \"" + name + "\" NOSUPERUSER;"; err == nil || !strings.HasSuffix(pgclient.Explain(err), sql) {
			t.Errorf("got %s", pgclient.Explain(err))
		}
		nobody := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: s.Role(t), Password: s.Password})
		_, err = CreateUser(t.Context(), nobody, User{Name: s.RoleName(t)}, nil)
		if err == nil || !strings.Contains(pgclient.Explain(err), `" CREATEROLE;`) {
			t.Errorf("got %v", err)
		}
	})
}

// Two clients that change one user at the same time both succeed.
func TestUserConcurrently(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	u := User{Name: name, Login: true, ConnectionLimit: -1}
	servers := pgtest.Servers(t, map[string]pgclient.Config{"a": pgtest.Superuser(s), "b": pgtest.Superuser(s)})
	if _, err := CreateUser(t.Context(), servers["a"], u, nil); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, server := range servers {
		group.Go(func() {
			for i := range 20 {
				u := u
				u.ConnectionLimit, u.Parameters = i, map[string]string{"work_mem": fmt.Sprintf("%dMB", i+1)}
				if _, err := UpdateUser(t.Context(), server, u, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
