package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// wantToLose compares the tables that keep a database from being dropped with want.
func wantToLose(t *testing.T, s *sandbox.Server, database string, want ...string) {
	t.Helper()
	var contents *ContentsError
	var got []string
	server := pgtest.Server(t, pgtest.Superuser(s))
	if err := TablesOf(t.Context(), server, database); errors.As(err, &contents) {
		got = contents.Objects
	} else if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("tables to lose\n got %q\nwant %q", got, want)
	}
	losses, err := Losses(t.Context(), server, database, "")
	if err != nil || len(losses) != len(want) {
		t.Errorf("losses %q, %v", losses, err)
	}
}

// The extension does not create again a table that a user has added to it: the table keeps its
// database from being dropped.
func TestTablesAddedToExtensions(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database := s.Database(t)
		wantToLose(t, s, database)
		s.Exec(t, database, `CREATE TABLE public.orders (id int)`)
		s.Exec(t, database, `ALTER EXTENSION plpgsql ADD TABLE public.orders`)
		s.Exec(t, database, `BEGIN; CREATE TABLE public.at_once (id int); ALTER EXTENSION plpgsql ADD TABLE public.at_once; COMMIT`)
		wantToLose(t, s, database, "table public.at_once", "table public.orders")
	})
}

// The extension creates the tables of its script again, so these do not keep a database from
// being dropped, unless they are registered as the users' and have rows.
func TestTablesOfExtensions(t *testing.T) {
	t.Parallel()
	s := sandbox.SharedFrom(t, 18) // it reads extensions from a directory that the test can set
	directory := t.TempDir()
	for dir := directory; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755)
	}
	for name, text := range map[string]string{
		"made.control": "default_version = '1'\nrelocatable = false\nschema = made\n",
		"made--1.sql": `
			CREATE FUNCTION made.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
			CREATE TABLE made.facts AS SELECT 1 AS id;
			CREATE TABLE made.jobs (id int);
			SELECT pg_catalog.pg_extension_config_dump('made.jobs', '');
			CREATE TABLE made.systems AS SELECT 1 AS id;
			SELECT pg_catalog.pg_extension_config_dump('made.systems', 'WHERE id > 1');`,
		"made--1--2.sql": `CREATE TABLE made.more AS SELECT 1 AS id; CREATE FUNCTION made.g() RETURNS int LANGUAGE sql AS 'SELECT 1';`,
	} {
		path := filepath.Join(directory, "extension", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // for the server to read
			t.Fatal(err)
		}
	}
	database := s.Database(t)
	found := "SET extension_control_path = '" + strings.ReplaceAll(directory, "'", "''") + ":$system'; "
	s.Exec(t, database, found+"CREATE SCHEMA made; CREATE EXTENSION made")
	s.Exec(t, database, found+"ALTER EXTENSION made UPDATE TO '2'")
	for _, sql := range []string{"VACUUM FULL pg_depend", "VACUUM FREEZE pg_depend", "VACUUM FREEZE pg_extension"} {
		s.Exec(t, database, sql)
	}
	s.Exec(t, database, "GRANT SELECT ON made.facts TO PUBLIC")
	wantToLose(t, s, database)
	s.Exec(t, database, "INSERT INTO made.jobs VALUES (1); INSERT INTO made.systems VALUES (2)")
	wantToLose(t, s, database, "table made.jobs")
}
