package catalog

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Only the owner and roles that were granted permission to act for it use a catalog.
func TestMembership(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, group, peer, login := s.Database(t), s.Role(t), s.Role(t), s.Role(t), s.Role(t)
		s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+owner)
		install(t, connect(t, s, database, owner))
		for _, tt := range []struct {
			name, sql, undo string
			want            bool
			since           int // major version; before it, if negative
		}{
			{"a stranger", "", "", false, 0},
			{"a member", "GRANT {o} TO {l}", "REVOKE {o} FROM {l}", true, 0},
			{"a member of a member", "GRANT {o} TO {g}; GRANT {g} TO {l}", "REVOKE {o} FROM {g}; REVOKE {g} FROM {l}", true, 0},
			{"one who inherits nothing", "ALTER ROLE {l} NOINHERIT; GRANT {o} TO {l}", "REVOKE {o} FROM {l}; ALTER ROLE {l} INHERIT", true, 0},
			{"one of whom the owner is a member", "GRANT {l} TO {o}", "REVOKE {l} FROM {o}", false, 0},
			{"a member that must not become it", "GRANT {o} TO {l} WITH SET FALSE, INHERIT TRUE", "REVOKE {o} FROM {l}", false, 16},
			{"a member of a member that must not", "GRANT {o} TO {g} WITH SET FALSE; GRANT {g} TO {l}", "REVOKE {o} FROM {g}; REVOKE {g} FROM {l}", false, 16},
			{"one whom the owner made a member", "SET SESSION AUTHORIZATION {o}; GRANT {o} TO {l}", "REVOKE {o} FROM {l}", false, -15},
			{"one whom an owner's administrator made a member", "GRANT {o} TO {g} WITH ADMIN OPTION; SET SESSION AUTHORIZATION {g}; GRANT {o} TO {l}",
				"REVOKE {o} FROM {g} CASCADE; REVOKE {o} FROM {l}", false, 0},
			{"a member of one whom the owner made a member", "GRANT {g} TO {l}; GRANT {o} TO {p} WITH ADMIN OPTION; SET SESSION AUTHORIZATION {p}; GRANT {o} TO {g}",
				"REVOKE {o} FROM {p} CASCADE; REVOKE {o} FROM {g}; REVOKE {g} FROM {l}", false, 0},
			{"one whom a role with ADMIN OPTION on both made a member", "GRANT {o}, {l} TO {g} WITH ADMIN OPTION; SET SESSION AUTHORIZATION {g}; GRANT {o} TO {l}",
				"REVOKE {o} FROM {g} CASCADE; REVOKE {o} FROM {l}; REVOKE {l} FROM {g}", true, 0},
			{"one whom a role with CREATEROLE made a member", "ALTER ROLE {g} CREATEROLE; SET SESSION AUTHORIZATION {g}; GRANT {o} TO {l}",
				"ALTER ROLE {g} NOCREATEROLE; REVOKE {o} FROM {l}", true, -16},
			{"a superuser", "ALTER ROLE {l} SUPERUSER", "ALTER ROLE {l} NOSUPERUSER", false, 0},
			{"a superuser that is a member", "GRANT {o} TO {l}; ALTER ROLE {l} SUPERUSER", "ALTER ROLE {l} NOSUPERUSER; REVOKE {o} FROM {l}", false, 0},
			{"a superuser that acts as the owner", "ALTER ROLE {l} SUPERUSER; ALTER ROLE {l} SET role = {o}", "ALTER ROLE {l} RESET role; ALTER ROLE {l} NOSUPERUSER", false, 0},
		} {
			if s.Major < tt.since || tt.since < 0 && s.Major >= -tt.since {
				continue
			}
			fill := strings.NewReplacer("{o}", owner, "{g}", group, "{p}", peer, "{l}", login)
			s.Exec(t, database, fill.Replace(tt.sql))
			conn := connect(t, s, database, login)
			for name, open := range map[string]func() error{
				"Open": func() error {
					return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return Open(t.Context(), tx) })
				},
				"Install": func() error {
					return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return Install(t.Context(), tx) })
				},
				"session": func() error { return OpenSession(t.Context(), conn) },
			} {
				err := open()
				var refused *OwnerError
				if (err == nil) != tt.want || err != nil && !errors.As(err, &refused) {
					t.Errorf("%s, %s: %v", tt.name, name, err)
				}
				if err != nil && (strings.Contains(err.Error(), "GRANT") || !strings.Contains(err.Error(), owner) || !strings.Contains(err.Error(), login)) {
					t.Errorf("%s, %s: %v", tt.name, name, err)
				}
			}
			s.Exec(t, database, fill.Replace(tt.undo))
		}
	})
}

// Between the check of the owner and the lock, another role's catalog replaced the one that
// was checked.
func TestReplacedMeanwhile(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, owner := s.Database(t), s.Role(t)
		s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+owner)
		install(t, connect(t, s, database, owner))
		conn := connect(t, s, database, "")
		for _, lockable := range []bool{true, false} {
			err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
				_, err := lockAndRead(t.Context(), tx, using, ownership{owner: "before", lockable: lockable})
				return err
			})
			if err == nil || !strings.Contains(err.Error(), `belonged to "before" and now belongs to "`+owner) {
				t.Errorf("lockable %t: %v", lockable, err)
			}
		}
	})
}

// A member that completes a schema which a user created does so as the schema's owner, even
// if that role is not the owner of the database.
func TestInstallForOwner(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, member := s.Database(t), s.Role(t), s.Role(t)
		s.Exec(t, database, "CREATE SCHEMA _stitch AUTHORIZATION "+owner+"; GRANT "+owner+" TO "+member)
		install(t, connect(t, s, database, member))
		if got := s.Query(t, database, "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = '_stitch'::regnamespace"); len(got) != 1 || got[0] != owner {
			t.Errorf("the catalog belongs to %q, want %q", got, owner)
		}
	})
}

// An attack that made its author a superuser: a catalog whose version is computed, and an
// administrator who opens it.
func TestSuperuserAndCatalogOfAnother(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, mallory := s.Database(t), s.Role(t)
		s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+mallory+"; SET SESSION AUTHORIZATION "+mallory+`;
			CREATE SCHEMA _stitch;
			CREATE FUNCTION _stitch.f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; ALTER ROLE `+mallory+` SUPERUSER; RETURN 1; END $$;
			CREATE VIEW _stitch.version AS SELECT _stitch.f() AS version`)
		conn := connect(t, s, database, "")
		for name, open := range map[string]func() error{
			"Open": func() error {
				return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return Open(t.Context(), tx) })
			},
			"alone": func() error {
				return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return OpenExclusive(t.Context(), tx) })
			},
			"Install": func() error {
				return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return Install(t.Context(), tx) })
			},
			"session": func() error { return OpenSession(t.Context(), conn) },
		} {
			var refused *OwnerError
			if err := open(); !errors.As(err, &refused) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := s.Query(t, database, "SELECT rolsuper FROM pg_roles WHERE rolname = $1", mallory); got[0] != "f" {
			t.Error("the catalog's author is a superuser now")
			s.Exec(t, database, "ALTER ROLE "+mallory+" NOSUPERUSER")
		}
	})
}
