package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestUserChanges(t *testing.T) {
	want := User{Name: `a"b`, Login: true, ConnectionLimit: 5}

	for name, tt := range map[string]struct {
		have     User
		password string
		sql      string
	}{
		"nothing to do":    {have: want},
		"no login":         {have: User{ConnectionLimit: 5}, sql: `ALTER ROLE "a""b" LOGIN`},
		"another limit":    {have: User{Login: true, ConnectionLimit: -1}, sql: `ALTER ROLE "a""b" CONNECTION LIMIT 5`},
		"another password": {have: want, password: "PASSWORD 'x'", sql: `ALTER ROLE "a""b" PASSWORD 'x'`},
		"all at once": {
			have: User{ConnectionLimit: -1}, password: "PASSWORD NULL",
			sql: `ALTER ROLE "a""b" LOGIN CONNECTION LIMIT 5 PASSWORD NULL`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := want.changes(tt.have, tt.password); got != tt.sql {
				t.Errorf("changes(%+v, %q)\n got %s\nwant %s", tt.have, tt.password, got, tt.sql)
			}
		})
	}
}

func TestRequireSCRAM(t *testing.T) {
	if err := requireSCRAM(10); err != nil {
		t.Error(err)
	}
	if err := requireSCRAM(9); err == nil || !strings.Contains(err.Error(), "PostgreSQL 9") {
		t.Errorf("got %v", err)
	}
}

const rolePasswordSQL = `SELECT coalesce(rolpassword, '') FROM pg_catalog.pg_authid WHERE rolname = $1`

func TestUser(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		ctx, server, name := t.Context(), serverOf(t, superuserOf(s)), s.RoleName(t)
		if _, err := server.User(ctx, name); !errors.Is(err, ErrNotFound) {
			t.Fatalf("before it is created: %v", err)
		}
		if err := server.UpdateUser(ctx, User{Name: name}, nil); !errors.Is(err, ErrNotFound) {
			t.Fatalf("updated before it is created: %v", err)
		}

		want := User{Name: name, Login: true, ConnectionLimit: -1}
		if err := server.CreateUser(ctx, want, `it's a "secret"\`); err != nil {
			t.Fatal(err)
		}
		wantUser(t, server, want)
		verifier := s.Query(t, "postgres", rolePasswordSQL, name)[0]
		if !strings.HasPrefix(verifier, "SCRAM-SHA-256$4096:") {
			t.Errorf("the server keeps %q", verifier)
		}
		mayLogIn(t, s, name, `it's a "secret"\`)

		err := server.CreateUser(ctx, want, "")
		if !IsExisting(err) {
			t.Errorf("created twice: %v", err)
		}

		for range 2 { // the second changes nothing
			want = User{Name: name, Login: false, ConnectionLimit: 7}
			if err := server.UpdateUser(ctx, want, nil); err != nil {
				t.Fatal(err)
			}
			wantUser(t, server, want)
		}
		if got := s.Query(t, "postgres", rolePasswordSQL, name)[0]; got != verifier {
			t.Errorf("a password that was not given changed to %q", got)
		}

		want.Login = true
		password := "another"
		if err := server.UpdateUser(ctx, want, &password); err != nil {
			t.Fatal(err)
		}
		wantUser(t, server, want)
		mayLogIn(t, s, name, password)

		password = ""
		if err := server.UpdateUser(ctx, want, &password); err != nil {
			t.Fatal(err)
		}
		if got := s.Query(t, "postgres", rolePasswordSQL, name)[0]; got != "" {
			t.Errorf("a password that was taken away is %q", got)
		}

		for range 2 { // gone is done
			if err := server.DropUser(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := server.User(ctx, name); !errors.Is(err, ErrNotFound) {
			t.Errorf("after it was dropped: %v", err)
		}
	})
}

func wantUser(t *testing.T, server *Server, want User) {
	t.Helper()
	got, err := server.User(t.Context(), want.Name)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func mayLogIn(t *testing.T, s *sandbox.Server, username, password string) {
	t.Helper()
	conn, err := serverOf(t, Config{Host: s.Host, Port: s.Port, Username: username, Password: password}).Acquire(t.Context(), "")
	if err != nil {
		t.Error(err)
		return
	}
	conn.Discard()
}

// Not even a server that logs every statement gets to see a password.
func TestServerLogsNoPassword(t *testing.T) {
	t.Parallel()
	s, err := sandbox.Start(t.Context(), sandbox.Config{LogStatements: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	server := serverOf(t, superuserOf(s))
	const first, second = "first-secret-43", "second-secret-44"
	password := second
	u := User{Name: "stitch", Login: true, ConnectionLimit: -1}
	for _, err := range []error{
		server.CreateUser(t.Context(), u, first),
		server.UpdateUser(t.Context(), u, &password),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := server.CreateUser(t.Context(), u, first); err == nil || strings.Contains(Explain(err), first) {
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

// A dial that failed is not held against a server whose user has come to be.
func TestCreateUserLetsOthersRetry(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	servers := serversOf(t, map[string]Config{
		"admin": superuserOf(s),
		"user":  {Host: s.Host, Port: s.Port, Username: name, Password: "secret"},
	})
	planning := servers["user"].Planning()
	if _, err := planning.User(t.Context(), name); !IsUnreachable(err) {
		t.Fatalf("logged in before it exists: %v", err)
	}
	if err := servers["admin"].CreateUser(t.Context(), User{Name: name, Login: true, ConnectionLimit: -1}, "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := planning.User(t.Context(), name); err != nil {
		t.Errorf("after it was created: %v", err)
	}
}

// What managed services give: a login that creates roles and databases, and is
// no superuser.
func TestUserWithoutSuperuser(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		admin, name := s.Role(t), s.RoleName(t)
		s.Exec(t, "postgres", "ALTER ROLE "+admin+" CREATEROLE CREATEDB")
		server := serverOf(t, Config{Host: s.Host, Port: s.Port, Username: admin, Password: s.Password})

		u := User{Name: name, Login: true, ConnectionLimit: -1}
		if err := server.CreateUser(t.Context(), u, "secret"); err != nil {
			t.Fatal(err)
		}
		u.ConnectionLimit = 3
		password := "other"
		if err := server.UpdateUser(t.Context(), u, &password); err != nil {
			t.Fatal(err)
		}
		mayLogIn(t, s, name, password)
		if err := server.DropUser(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	})
}
