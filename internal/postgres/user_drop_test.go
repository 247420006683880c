package postgres

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// createUser creates a user with the superuser's password.
func createUser(t *testing.T, server *pgclient.Server, s *sandbox.Server) string {
	t.Helper()
	name := s.RoleName(t)
	if _, err := CreateUser(t.Context(), server, User{Name: name, Login: true, ConnectionLimit: -1}, scram(s.Password)); err != nil {
		t.Fatal(err)
	}
	return name
}

const tableOwnerSQL = `SELECT tableowner FROM pg_catalog.pg_tables WHERE tablename = $1`

// All that a user owns, in whatever database, is given to another role. The administrator who
// does that is a member neither of these roles nor of the owners of the objects on which the
// user has privileges, and in no session appears to be one.
func TestDropUserReassigns(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		config := pgtest.Administrator(t, s)
		config.MaxConnections = 1
		server := pgtest.Server(t, config)
		name, heir, owner := createUser(t, server, s), createUser(t, server, s), createUser(t, server, s)
		here, there, owned := s.Database(t), s.Database(t), s.DatabaseName(t)
		s.Exec(t, "postgres", "ALTER DATABASE "+there+" OWNER TO "+owner)
		s.Exec(t, "postgres", "CREATE DATABASE "+owned+" OWNER "+name+" TEMPLATE template0")
		s.Exec(t, here, `
			GRANT CREATE ON DATABASE `+here+` TO `+config.Username+`;
			CREATE SCHEMA shop AUTHORIZATION `+name+`;
			CREATE TABLE shop.orders AS SELECT 1 AS id; ALTER TABLE shop.orders OWNER TO `+name+`;
			ALTER DEFAULT PRIVILEGES FOR ROLE `+name+` GRANT SELECT ON TABLES TO PUBLIC`)
		s.Exec(t, there, `
			CREATE TABLE public.rights (); ALTER TABLE public.rights OWNER TO `+owner+`; GRANT SELECT ON public.rights TO `+name+`;
			ALTER DEFAULT PRIVILEGES FOR ROLE `+owner+` GRANT SELECT ON TABLES TO `+name+`;
			GRANT CREATE, CONNECT ON DATABASE `+there+` TO `+name)
		before := pgtest.Memberships(t, s, config.Username)

		if err := DropUser(t.Context(), server, name, DropOptions{ReassignOwnedTo: heir}); err != nil {
			t.Fatal(pgclient.Explain(err))
		}
		if got := s.Query(t, here, tableOwnerSQL, "orders")[0]; got != heir {
			t.Errorf("the table belongs to %s, not %s", got, heir)
		}
		if got := s.Query(t, here, "SELECT count(*) FROM shop.orders")[0]; got != "1" {
			t.Errorf("the table has %s rows", got)
		}
		if got := s.Query(t, "postgres", "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", owned)[0]; got != heir {
			t.Errorf("the database belongs to %s, not %s", got, heir)
		}
		if s.Query(t, "postgres", rolePasswordSQL, name) != nil {
			t.Error("the user is still there")
		}
		after := pgtest.Memberships(t, s, config.Username)
		if s.Major < 16 && len(after) != len(before) || s.Major >= 16 && len(after) != len(before)-1 { // its creator had ADMIN OPTION
			t.Errorf("memberships were %q, are %q", before, after)
		}
	})
}

// Nothing is changed if not everything can be changed: the error says where, and what.
func TestDropUserReassignRefused(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		config := pgtest.Administrator(t, s)
		server := pgtest.Server(t, config)
		name, heir := createUser(t, server, s), createUser(t, server, s)
		here, there := s.Database(t), s.Database(t)
		for _, database := range []string{here, there} {
			s.Exec(t, database, "CREATE TABLE public.t (); ALTER TABLE public.t OWNER TO "+name)
		}
		want := func(to string, texts ...string) {
			t.Helper()
			err := DropUser(t.Context(), server, name, DropOptions{ReassignOwnedTo: to, TerminateSessions: true})
			if err == nil {
				t.Fatal("the user was dropped")
			}
			for _, text := range texts {
				if !strings.Contains(pgclient.Explain(err), text) {
					t.Errorf("the error lacks %q:\n%s", text, pgclient.Explain(err))
				}
			}
			if got := s.Query(t, "postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", name); got == nil || got[0] != "t" {
				t.Errorf("after a refusal, the user may log in: %q", got)
			}
		}
		sql := `REASSIGN OWNED BY "` + name + `" TO "`
		want(name, "to the user itself")
		want("no such role", `the role "no such role" in reassign_owned_to does not exist`)
		s.Exec(t, "postgres", "REVOKE CONNECT ON DATABASE "+there+" FROM PUBLIC")
		want(heir, `database "`+there+`"`, "Nothing was changed", sql)
		s.Exec(t, "postgres", "GRANT CONNECT ON DATABASE "+there+" TO PUBLIC")
		s.Exec(t, "postgres", "GRANT TEMPORARY ON DATABASE "+there+" TO "+name)
		want(heir, "these remain: privileges for database "+there, "Nothing was changed in that database")
		s.Exec(t, "postgres", "REVOKE TEMPORARY ON DATABASE "+there+" FROM "+name)
		want(s.Username, "reassign its objects in database", sql+s.Username+`"; DROP OWNED BY "`+name+`";`)
		for _, database := range []string{here, there} {
			if got := s.Query(t, database, tableOwnerSQL, "t")[0]; got != name {
				t.Errorf("the table in %s belongs to %s", database, got)
			}
		}
		if err := DropUser(t.Context(), server, name, DropOptions{ReassignOwnedTo: heir}); err != nil {
			t.Fatal(pgclient.Explain(err))
		}
		if err := DropUser(t.Context(), server, config.Username, DropOptions{ReassignOwnedTo: heir}); err == nil {
			t.Error("the login dropped itself")
		}
	})
}

// The options decide whether sessions are ended; they are not ended if the user stays.
func TestDropUserSessions(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		server, database := pgtest.Server(t, pgtest.Administrator(t, s)), s.Database(t)
		connect := func(name string) *pgx.Conn {
			t.Helper()
			conn, err := pgx.Connect(t.Context(), s.URLAs(name, database))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			return conn
		}
		lives := func(conn *pgx.Conn, want bool) {
			t.Helper()
			if err := conn.Ping(t.Context()); (err == nil) != want {
				t.Errorf("the session lives: %t, %v", !want, err)
			}
		}
		name := createUser(t, server, s)
		session := connect(name)
		if err := DropUser(t.Context(), server, name, DropOptions{}); err != nil {
			t.Fatal(err)
		}
		lives(session, true)

		name = createUser(t, server, s)
		session = connect(name)
		s.Exec(t, database, "CREATE SCHEMA blocker AUTHORIZATION "+name)
		began := time.Now()
		err := DropUser(t.Context(), server, name, DropOptions{TerminateSessions: true})
		if err == nil || !strings.Contains(err.Error(), "owner of schema blocker") || time.Since(began) > 2*dropGrace+time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		lives(session, true)
		if got := s.Query(t, "postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", name)[0]; got != "t" {
			t.Error("the user that stays cannot log in any more")
		}
		s.Exec(t, database, "DROP SCHEMA blocker")
		if err := DropUser(t.Context(), server, name, DropOptions{TerminateSessions: true}); err != nil {
			t.Fatal(pgclient.Explain(err))
		}
		lives(session, false)
		for range 2 {
			if err := DropUser(t.Context(), server, name, DropOptions{TerminateSessions: true, ReassignOwnedTo: "x"}); err != nil {
				t.Errorf("gone is not done: %v", err)
			}
		}
	})
}

// A session that does not end is named.
func TestDropUserSessionThatStays(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	server := pgtest.Server(t, pgtest.Superuser(s))
	name := createUser(t, server, s)
	conn, err := pgx.Connect(t.Context(), s.URLAs(name, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	process := int(conn.PgConn().PID())
	if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	err = DropUser(t.Context(), server, name, DropOptions{TerminateSessions: true})
	if err := syscall.Kill(process, syscall.SIGCONT); err != nil {
		t.Error(err)
	}
	if want := fmt.Sprintf("pid %d (user %s, ", process, name); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// What a user creates while the rest is being reassigned is not dropped with its privileges.
func TestReassignKeepsWhatIsNew(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	server, name, heir, database := pgtest.Server(t, pgtest.Superuser(s)), s.Role(t), s.Role(t), s.Database(t)
	s.Exec(t, database, "GRANT CREATE ON SCHEMA public TO "+name+"; CREATE TABLE public.old (); ALTER TABLE public.old OWNER TO "+name)
	ctx := t.Context()
	holder, err := pgx.Connect(ctx, s.URLAs(name, database))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.Background())
	if _, err := holder.Exec(ctx, "BEGIN; LOCK TABLE public.old IN ACCESS SHARE MODE; CREATE TABLE public.new ()"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- reassign(ctx, server, database, name, heir) }() // it waits for old, and has not seen new
	pgtest.WaitFor(t, func() bool {
		return s.Query(t, database, "SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.old'::regclass") != nil
	})
	if _, err := holder.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"old", "new"} {
		if got := s.Query(t, database, tableOwnerSQL, table); got == nil || got[0] != heir {
			t.Errorf("the table %s belongs to %q, not %s", table, got, heir)
		}
	}
}

// Users with privileges on one database can be dropped at the same time.
func TestDropUsersConcurrently(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	admin := pgtest.Administrator(t, s)
	server, database := pgtest.Server(t, admin), s.Database(t)
	s.Exec(t, "postgres", "ALTER DATABASE "+database+" OWNER TO "+admin.Username)
	heir := createUser(t, server, s)
	var names []string
	for range 12 {
		name := createUser(t, server, s)
		names = append(names, name)
		s.Exec(t, database, "GRANT TEMPORARY ON DATABASE "+database+" TO "+name+"; CREATE TABLE public."+name+" (); ALTER TABLE public."+name+" OWNER TO "+name)
	}
	failures := make(chan error, len(names))
	for _, name := range names {
		go func() {
			failures <- DropUser(t.Context(), server, name, DropOptions{ReassignOwnedTo: heir, TerminateSessions: true})
		}()
	}
	for range names {
		if err := <-failures; err != nil {
			t.Error(pgclient.Explain(err))
		}
	}
}
