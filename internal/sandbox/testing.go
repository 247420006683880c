package sandbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The shared servers live as long as the test process.
var shared perKey[int, *Server]

// Each runs f as a sub-test ("postgres15", ...) for the oldest and the newest of the majors that
// [EachMajor] takes, and for all of them with STITCH_MAJORS=all.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	majors := tested(t)
	if os.Getenv("STITCH_MAJORS") != "all" {
		majors = slices.Delete(majors, 1, len(majors)-1)
	}
	each(t, majors, f)
}

// EachMajor is for what the server's version has a say in. It runs f as a sub-test for each
// installed major, on the server that [Shared] returns, and skips the sub-tests of those
// [TestedMajors] that are not installed.
func EachMajor(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	each(t, tested(t), f)
}

// tested returns the majors that are installed or should be, at least two.
func tested(t *testing.T) []int {
	t.Helper()
	majors := append(NeedMajors(t), TestedMajors()...)
	slices.Sort(majors)
	return slices.Compact(majors)
}

func each(t *testing.T, majors []int, f func(t *testing.T, s *Server)) {
	t.Helper()
	for _, major := range majors {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) { f(t, Shared(t, major)) })
	}
}

// Shared returns the one server of a major, 0 being the newest, that the tests of this process
// share. They must not stop it, nor change it as a whole. Where the major is not installed, the
// test is skipped; in CI, it fails.
func Shared(t testing.TB, major int) *Server {
	t.Helper()
	major, _, err := binaries(major)
	need(t, err)
	s, err := shared.get(t.Context(), major, func() (*Server, error) {
		return Start(t.Context(), Config{Major: major})
	})
	need(t, err)
	return s
}

// SharedFrom is [Shared] for the newest installed major, if it is this one or newer.
func SharedFrom(t testing.TB, major int) *Server {
	t.Helper()
	majors := NeedMajors(t)
	newest := majors[len(majors)-1]
	if newest < major {
		need(t, &lackError{fmt.Sprintf("PostgreSQL %d or newer: %s", major, fetchMajors), nil})
	}
	return Shared(t, newest)
}

// SharedBefore is [Shared] for the oldest installed major, if it is before this one.
func SharedBefore(t testing.TB, major int) *Server {
	t.Helper()
	oldest := NeedMajors(t)[0]
	if oldest >= major {
		need(t, &lackError{fmt.Sprintf("PostgreSQL before %d: %s", major, fetchMajors), nil})
	}
	return Shared(t, oldest)
}

// OwnServer starts a server for this test alone, and stops it when the test ends. Where its major
// is not installed, the test is skipped; in CI, it fails.
func OwnServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	need(t, err)
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// CopyData copies the server's data, while nothing writes to it, into a directory that goes when
// the server is stopped.
func (s *Server) CopyData(t testing.TB) string {
	t.Helper()
	s.Exec(t, superuser, "CHECKPOINT")
	name := s.path(uniqueName("copy_"))
	script := `cp -Rp "$1" "$2" && rm "$2/postmaster.pid"`
	if out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "copy", s.path("data"), name).CombinedOutput(); err != nil {
		t.Fatalf("copy the data of the server: %v: %s", err, out)
	}
	return name
}

// Follow returns once a standby has everything that its primary has written so far.
func (s *Server) Follow(t testing.TB, primary *Server) {
	t.Helper()
	now := primary.Query(t, superuser, "SELECT pg_catalog.pg_current_wal_lsn()")[0]
	s.awaitTrue(t, "SELECT pg_catalog.pg_last_wal_replay_lsn() >= $1::text::pg_lsn", now)
}

// Promote turns a standby (of 12 or newer) into a server of its own.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.Query(t, superuser, "SELECT pg_catalog.pg_promote()")
	s.AwaitPromotion(t)
}

// AwaitPromotion returns once a former standby is a server of its own.
func (s *Server) AwaitPromotion(t testing.TB) {
	t.Helper()
	s.awaitTrue(t, "SELECT NOT pg_catalog.pg_is_in_recovery()")
}

// awaitTrue returns once a query returns true.
func (s *Server) awaitTrue(t testing.TB, query string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !slices.Equal(s.Query(t, superuser, query, args...), []string{"t"}); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this does not become true: %s", query)
		}
	}
}

// OwnPgBouncer is [StartPgBouncer] for a test: it stops the pool when the test ends. Where
// PgBouncer is not installed, the test is skipped; in CI, it fails.
func OwnPgBouncer(t testing.TB, s *Server, mode string, users ...string) *PgBouncer {
	t.Helper()
	p, err := StartPgBouncer(t.Context(), s, mode, users...)
	need(t, err)
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Database creates an empty database and returns its name. The database is dropped with all its
// sessions when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := s.DatabaseName(t)
	s.Exec(t, superuser, "CREATE DATABASE "+name+" TEMPLATE template0") // no session of another test ever uses template0
	return name
}

// DatabaseName returns a name for a database that the test creates. That database is dropped like
// one of [Server.Database].
func (s *Server) DatabaseName(t testing.TB) string {
	name := uniqueName("db_")
	t.Cleanup(func() { s.dropDatabase(t, name) })
	return name
}

func (s *Server) dropDatabase(t testing.TB, name string) {
	t.Helper()
	s.Query(t, superuser, `
		UPDATE pg_catalog.pg_database
		SET datallowconn = false
		WHERE datname = $1`, name) // or a pool would connect again
	s.terminate(t, "datname", name)
	s.Exec(t, superuser, "DROP DATABASE IF EXISTS "+name)
}

// Role creates a role that can log in, with the password of the superuser (see [Server.URLAs]), and
// returns its name. When the test ends, the role is dropped with everything that it owns and all
// its privileges.
func (s *Server) Role(t testing.TB) string {
	t.Helper()
	name := s.RoleName(t)
	s.Exec(t, superuser, "CREATE ROLE "+name+" LOGIN PASSWORD '"+s.Password+"'")
	return name
}

// RoleName returns a name for a role that the test creates. That role is dropped like one of
// [Server.Role].
func (s *Server) RoleName(t testing.TB) string {
	name := uniqueName("role_")
	t.Cleanup(func() { s.dropRole(t, name) })
	return name
}

func (s *Server) dropRole(t testing.TB, name string) {
	t.Helper()
	if s.Query(t, superuser, `SELECT FROM pg_catalog.pg_roles WHERE rolname = $1`, name) == nil {
		return
	}
	s.Exec(t, superuser, "ALTER ROLE "+name+" NOLOGIN")
	s.terminate(t, "usename", name) // their locks would delay what follows
	for _, database := range s.Query(t, superuser, `
		SELECT DISTINCT d.datname
		FROM pg_catalog.pg_shdepend AS s
		JOIN pg_catalog.pg_database AS d ON d.oid = s.dbid
		JOIN pg_catalog.pg_roles AS r ON r.oid = s.refobjid
		WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass
		  AND r.rolname = $1
		  AND d.datallowconn`, name) {
		s.Exec(t, database, "DROP OWNED BY "+name+" CASCADE")
	}
	// What is left belongs to the whole server: databases that the role owns, privileges on others.
	s.Exec(t, superuser, fmt.Sprintf("REASSIGN OWNED BY %[1]s TO %[2]s; DROP OWNED BY %[1]s; DROP ROLE %[1]s", name, superuser))
}

// terminate ends the sessions whose column of pg_stat_activity is name, and returns once they are
// gone.
func (s *Server) terminate(t testing.TB, column, name string) {
	t.Helper()
	sessions := `
		SELECT pg_catalog.pg_terminate_backend(pid)
		FROM pg_catalog.pg_stat_activity
		WHERE ` + column + ` = $1`
	for deadline := time.Now().Add(time.Minute); s.Query(t, superuser, sessions, name) != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("sessions of %s do not end", name)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// uniqueName returns a name that needs no quotes in SQL.
func uniqueName(prefix string) string {
	return prefix + strings.ToLower(rand.Text()[:12])
}

// Exec runs SQL as superuser in a database. Several statements form one transaction.
func (s *Server) Exec(t testing.TB, database, sql string) {
	t.Helper()
	err := s.connect(t, database, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.PgConn().Exec(ctx, sql).ReadAll()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", database, err, sql)
	}
}

// Query runs one statement as superuser in a database and returns each row as
// PostgreSQL's text, columns joined by "|", NULL as "∅".
func (s *Server) Query(t testing.TB, database, sql string, args ...any) []string {
	t.Helper()
	var result []string
	err := s.connect(t, database, func(ctx context.Context, c *pgx.Conn) error {
		rows, _ := c.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
		defer rows.Close()
		for rows.Next() {
			result = append(result, text(rows.RawValues()))
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", database, err, sql)
	}
	return result
}

func text(row [][]byte) string {
	columns := make([]string, len(row))
	for i, value := range row {
		columns[i] = string(value)
		if value == nil {
			columns[i] = "∅"
		}
	}
	return strings.Join(columns, "|")
}

// connect calls f with a new session, so that no call affects the next. It works in a Cleanup,
// after the test's context has ended.
func (s *Server) connect(t testing.TB, database string, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	return f(ctx, c)
}
