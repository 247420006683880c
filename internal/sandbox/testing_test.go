package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func TestEach(t *testing.T) {
	majors := Majors()
	ends := []int{majors[0], majors[len(majors)-1]}
	for _, tt := range []struct {
		name, set string
		each      func(*testing.T, func(*testing.T, *Server))
		want      []int
	}{
		{"oldest and newest", "", Each, ends},
		{"all, for the asking", "all", Each, majors},
		{"all", "", EachMajor, majors},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("STITCH_MAJORS", tt.set)
			var ran []int
			tt.each(t, func(t *testing.T, s *Server) {
				ran = append(ran, s.Major)
				if !strings.HasSuffix(t.Name(), fmt.Sprintf("/postgres%d", s.Major)) {
					t.Errorf("named %q", t.Name())
				}
				if s != Shared(t, s.Major) {
					t.Error("a server of its own")
				}
			})
			if !slices.Equal(ran, tt.want) {
				t.Errorf("ran on %v, want %v", ran, tt.want)
			}
		})
	}
}

// Many tests request the same server at the same time, and get it.
func TestSharedInParallel(t *testing.T) {
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			Each(t, func(t *testing.T, s *Server) { s.Database(t) })
		})
	}
}

func TestQuery(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		db := s.Database(t)
		s.Exec(t, db, `
			CREATE TABLE orders (id int, note text, at timestamptz);
			INSERT INTO orders VALUES (1, NULL, '2026-01-02 03:04:05.678+02'), (2, '', 'infinity')`)

		got := s.Query(t, db, `SELECT id, note, at, ARRAY[id, NULL] FROM orders WHERE id >= $1 ORDER BY id`, 1)
		want := []string{"1|∅|2026-01-02 01:04:05.678+00|{1,NULL}", "2||infinity|{2,NULL}"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got := s.Query(t, db, `SELECT 1 FROM orders WHERE false`); got != nil {
			t.Errorf("no rows are %q", got)
		}
	})
}

// What a test leaves behind, open sessions included, does not stop its clean-up.
func TestCleanup(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		before := s.contents(t)
		t.Run("database first", func(t *testing.T) {
			db := s.Database(t)
			s.clutter(t, s.Role(t), db)
		})
		t.Run("role first", func(t *testing.T) {
			role := s.Role(t)
			s.clutter(t, role, s.Database(t))
		})
		t.Run("names only", func(t *testing.T) {
			s.DatabaseName(t)
			s.RoleName(t)
			s.Exec(t, "postgres", "CREATE ROLE "+s.RoleName(t))
			s.Exec(t, "postgres", "CREATE DATABASE "+s.DatabaseName(t))
		})
		t.Run("gone before", func(t *testing.T) {
			s.Exec(t, "postgres", "DROP ROLE "+s.Role(t))
			s.Exec(t, "postgres", "DROP DATABASE "+s.Database(t))
		})
		if diff := cmp.Diff(before, s.contents(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func (s *Server) contents(t *testing.T) []string {
	return s.Query(t, "postgres", `
		SELECT datname FROM pg_database
		UNION ALL
		SELECT rolname FROM pg_roles
		ORDER BY 1`)
}

// clutter makes role the owner and the grantee of things in many places, and leaves one of its
// sessions in a transaction that locks them.
func (s *Server) clutter(t *testing.T, role, database string) {
	t.Helper()
	s.Exec(t, "postgres", "CREATE DATABASE "+s.DatabaseName(t)+" OWNER "+role)
	s.Exec(t, "postgres", "GRANT CONNECT ON DATABASE postgres TO "+role)
	s.Exec(t, "postgres", "GRANT pg_monitor TO "+role+" WITH ADMIN OPTION")
	s.Exec(t, database, `
		CREATE SCHEMA app AUTHORIZATION `+role+`;
		CREATE TABLE app.orders (id int);
		ALTER TABLE app.orders OWNER TO `+role+`;
		CREATE VIEW app_orders AS SELECT * FROM app.orders;
		GRANT SELECT ON app_orders TO `+role+` WITH GRANT OPTION;
		ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO `+role+`;
		ALTER DEFAULT PRIVILEGES FOR ROLE `+role+` REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC`)

	c, err := pgx.Connect(t.Context(), s.URLAs(role, database))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PgConn().Exec(t.Context(), `BEGIN; LOCK TABLE app.orders`).ReadAll(); err != nil {
		t.Fatal(err)
	}
}
