package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestPowerChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		want, have User
		sql        []string
		excess     []string
	}{
		"as it is created": {},
		"attributes": {
			have: User{attributes: []string{"CREATEROLE", "SUPERUSER"}},
			sql:  []string{`ALTER ROLE "u" NOCREATEROLE`, `ALTER ROLE "u" NOSUPERUSER`}, excess: []string{"CREATEROLE", "SUPERUSER"},
		},
		"row-level security":        {want: User{BypassRLS: true}, sql: []string{`ALTER ROLE "u" BYPASSRLS`}},
		"row-level security, again": {have: User{BypassRLS: true}, sql: []string{`ALTER ROLE "u" NOBYPASSRLS`}},
		"a membership": {
			have: User{memberships: []roleGrant{{role: "a.b"}, {role: "c", grantor: "g", admin: true}}},
			sql:  []string{`REVOKE "a.b" FROM "u"`, `REVOKE "c" FROM "u" GRANTED BY "g"`}, excess: []string{`MEMBER OF "a.b"`, "MEMBER OF c"},
		},
		"a wanted one": {
			want: User{Roles: []string{"new", "old", "passed"}}, have: User{memberships: []roleGrant{{role: "old"}, {role: "passed", admin: true}}},
			sql: []string{`REVOKE ADMIN OPTION FOR "passed" FROM "u"`, `GRANT "new" TO "u"`}, excess: []string{"ADMIN OPTION FOR passed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Name = "u"
			var sql []string
			for _, change := range tt.want.powerChanges(tt.have) {
				sql = append(sql, change.sql)
			}
			if !slices.Equal(sql, tt.sql) {
				t.Errorf("got %q, want %q", sql, tt.sql)
			}
			if got := tt.have.Excess(tt.want); !slices.Equal(got, tt.excess) {
				t.Errorf("excess is %q, want %q", got, tt.excess)
			}
		})
	}
}

// Every power that a user has beyond the wanted ones is named, and removed.
func TestPowers(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		server, name, group, friend := pgtest.Server(t, pgtest.Superuser(s)), s.RoleName(t), s.Role(t), s.Role(t)
		s.Exec(t, "postgres", "GRANT "+group+" TO "+friend+" WITH ADMIN OPTION")
		u := User{Name: name, Login: true, ConnectionLimit: -1, Roles: []string{group}}
		if _, err := CreateUser(t.Context(), server, u, nil); err != nil {
			t.Fatal(err)
		}
		check := func(what string, want ...string) User {
			t.Helper()
			got, err := ReadUser(t.Context(), server, name)
			if err != nil {
				t.Fatal(err)
			}
			pgtest.Equal(t, what, got.Excess(u), want)
			return got
		}
		if !check("when created").HasRole(group) {
			t.Error("it is not a member of what was wanted")
		}
		_, refusals, err := AdoptUser(t.Context(), server, u, nil)
		pgtest.Equal(t, "refusals", refusals, nil)
		if err != nil {
			t.Error(err)
		}
		s.Exec(t, "postgres", `
			ALTER ROLE `+name+` SUPERUSER CREATEROLE CREATEDB BYPASSRLS;
			GRANT pg_monitor TO `+name+` WITH ADMIN OPTION;
			SET ROLE `+friend+`;
			GRANT `+group+` TO `+name+` WITH ADMIN OPTION`)
		have := check("then", "ADMIN OPTION FOR "+group, "CREATEDB", "CREATEROLE", "MEMBER OF pg_monitor", "SUPERUSER")
		if !have.BypassRLS {
			t.Error("it does not bypass row-level security")
		}
		if _, err := UpdateUser(t.Context(), server, u, nil); err != nil {
			t.Fatal(err)
		}
		if have = check("in the end"); have.BypassRLS || !have.HasRole(group) {
			t.Errorf("got %+v", have)
		}
		u.Roles = nil
		check("of what is not wanted any more", "MEMBER OF "+group)
		if _, err := UpdateUser(t.Context(), server, u, nil); err != nil {
			t.Fatal(err)
		}
		check("after that")
		_, refusals, err = AdoptUser(t.Context(), server, User{Name: name, Login: true, ConnectionLimit: -1, Roles: []string{group}, BypassRLS: true}, nil)
		if err != nil || !slices.Contains(refusals, "bypass_rls is false, not true") || !strings.Contains(strings.Join(refusals, "\n"), "it is not a member of role") {
			t.Errorf("refusals %q, %v", refusals, err)
		}
	})
}
