package postgres

import (
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestUndoMembership(t *testing.T) {
	before := []grantOfRole{{Grantor: "a"}, {Grantor: "b", Set: true}}
	after := []grantOfRole{{Grantor: "a"}, {Grantor: "b", Inherit: true, Set: true}, {Grantor: `c"`, Inherit: true, Set: true}, {Inherit: true, Set: true}}
	want := []string{
		`GRANT "r" TO "l" WITH INHERIT false, SET true GRANTED BY "b"`,
		`REVOKE "r" FROM "l" GRANTED BY "c"""`,
		`REVOKE "r" FROM "l"`,
	}
	if got := undoMembership("r", "l", before, after); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

const allMembershipsSQL = `SELECT m::text FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.member WHERE r.rolname = $1 ORDER BY 1`

// A membership is there while it is needed, and afterwards all are as before:
// those, too, that the login had given itself.
func TestWithMemberships(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		config := administratorOf(t, s)
		server := serverOf(t, config)
		name, other := s.RoleName(t), s.RoleName(t)
		for _, name := range []string{name, other} {
			if _, err := server.CreateUser(t.Context(), User{Name: name, ConnectionLimit: -1}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if s.Major >= 16 {
			err := server.inTx(t.Context(), "", func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "GRANT "+other+" TO CURRENT_USER WITH INHERIT FALSE, SET TRUE")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		before := s.Query(t, "postgres", allMembershipsSQL, config.Username)
		run := func(roles []string) (has bool, err error) {
			err = server.inTx(t.Context(), "", func(tx pgx.Tx) error {
				return withMemberships(t.Context(), tx, roles, nil, func() error {
					return tx.QueryRow(t.Context(), `SELECT pg_has_role($1, 'USAGE') AND pg_has_role($2, 'USAGE')`, name, other).Scan(&has)
				})
			})
			return has, err
		}
		if has, err := run([]string{name, other}); err != nil || !has {
			t.Errorf("the login has their privileges: %t, %v", has, err)
		}
		if after := s.Query(t, "postgres", allMembershipsSQL, config.Username); !slices.Equal(before, after) {
			t.Errorf("memberships were %q, are %q", before, after)
		}
		if _, err := run([]string{"no such role"}); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
		if _, err := run([]string{s.Username}); Code(err) != "42501" {
			t.Errorf("the superuser took in a member: %v", err)
		}
	})
}
