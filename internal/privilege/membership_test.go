package privilege

import (
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestNeedsDecide(t *testing.T) {
	const a, b, group, databaseOwnerOID = 1, 2, 3, 4
	createsAny := func(r *role) { r.createsAny = true }
	memberOf := func(m ...membership) func(*role) { return func(r *role) { r.memberships = m } }
	member := func(of uint32) func(*role) { return memberOf(membership{of: of, inherit: true, set: true}) }
	guest := func(r *role) { r.inherits, r.memberships = false, []membership{{of: a, set: true}} } // before 16, for NOINHERIT
	stranger := func(*role) {}
	noInherit := func(r *role) { r.inherits, r.createsAny = false, true }
	holdA, giveA := Needs{RightsOf: []string{"a"}}, Needs{NewOwner: "a"}
	joinA := []string{`GRANT "a" TO CURRENT_USER`, `REVOKE "a" FROM CURRENT_USER`}
	joinsA := []string{`GRANT "a" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE GRANTED BY "ad""min"`, `REVOKE "a" FROM CURRENT_USER GRANTED BY "ad""min"`}
	grantA := []string{`GRANT "a" TO "ad""min"`}
	grantsA := []string{`GRANT "a" TO "ad""min" WITH INHERIT TRUE, SET TRUE`}

	for name, tt := range map[string]struct {
		needs    Needs
		recent   bool
		login    func(*role)
		others   func(byOID map[uint32]*role)
		joins    []string // grant and revoke, alternately
		refused  []string
		notFound bool
	}{
		"nobody's":                       {needs: Needs{CreateDB: true}, login: stranger},
		"a member":                       {needs: Needs{RightsOf: []string{"a"}, NewOwner: "a"}, login: member(a)},
		"a superuser":                    {needs: Needs{RightsOf: []string{"a"}, NewOwner: "b", CreateDB: true}, login: func(r *role) { r.superuser, r.createsDBs = true, false }},
		"takes a membership":             {needs: holdA, login: createsAny, joins: joinA},
		"and may not use it":             {needs: holdA, login: noInherit, refused: []string{`GRANT "a" TO "ad""min"`, `ALTER ROLE "ad""min" INHERIT`}},
		"but may give with it":           {needs: giveA, login: noInherit, joins: joinA},
		"a member by name":               {needs: holdA, login: guest, refused: []string{`ALTER ROLE "ad""min" INHERIT`}},
		"which is enough":                {needs: giveA, login: guest},
		"but not to hold":                {needs: holdA, recent: true, login: memberOf(membership{of: a, set: true}), refused: grantsA},
		"a stranger":                     {needs: giveA, login: stranger, refused: grantA},
		"a stranger since 16":            {needs: giveA, recent: true, login: stranger, refused: grantsA},
		"a stranger who needs all":       {needs: Needs{RightsOf: []string{"a"}, NewOwner: "a"}, login: stranger, refused: grantA},
		"creates no databases":           {needs: Needs{NewOwner: "a", CreateDB: true}, login: func(r *role) { member(a)(r); r.createsDBs = false }, refused: []string{`ALTER ROLE "ad""min" CREATEDB`}},
		"from one to the other":          {needs: Needs{RightsOf: []string{"b"}, NewOwner: "a"}, login: createsAny, joins: append(slices.Clone(joinA), `GRANT "b" TO CURRENT_USER`, `REVOKE "b" FROM CURRENT_USER`)},
		"the other is a stranger":        {needs: Needs{RightsOf: []string{"a"}, NewOwner: "b"}, login: memberOf(membership{of: a, admin: true}), joins: joinA, refused: []string{`GRANT "b" TO "ad""min"`}},
		"which helps only":               {needs: Needs{RightsOf: []string{"a"}, Helpful: []string{"b", "gone"}}, login: memberOf(membership{of: a, admin: true}), joins: joinA},
		"does not exist":                 {needs: Needs{NewOwner: "no such role"}, login: createsAny, notFound: true},
		"a superuser's":                  {needs: Needs{RightsOf: []string{"postgres"}}, login: createsAny, refused: []string{"the change"}},
		"with ADMIN OPTION":              {needs: holdA, recent: true, login: memberOf(membership{of: a, grantor: superuserOID, admin: true}), joins: joinsA},
		"as it made itself a member":     {needs: giveA, recent: true, login: memberOf(membership{of: a, grantor: superuserOID, admin: true}, membership{of: a, grantor: loginOID, inherit: true}), joins: []string{joinsA[0], `GRANT "a" TO CURRENT_USER WITH INHERIT true, SET false GRANTED BY "ad""min"`}},
		"one of CREATEROLE since 16":     {needs: holdA, recent: true, login: stranger, refused: grantsA},
		"as a group has ADMIN OPTION":    {needs: holdA, recent: true, login: member(group), others: func(all map[uint32]*role) { memberOf(membership{of: a, admin: true})(all[group]) }, joins: []string{`GRANT "a" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE GRANTED BY "group"`, `REVOKE "a" FROM CURRENT_USER GRANTED BY "group"`}},
		"whose rights it has not":        {needs: holdA, recent: true, login: memberOf(membership{of: group, set: true}), others: func(all map[uint32]*role) { memberOf(membership{of: a, admin: true})(all[group]) }, refused: grantsA},
		"which did not matter before 16": {needs: giveA, login: func(r *role) { r.inherits, r.memberships = false, []membership{{of: group, set: true}} }, others: func(all map[uint32]*role) { memberOf(membership{of: a, admin: true})(all[group]) }, joins: joinA},
		"a circle":                       {needs: holdA, login: createsAny, others: func(all map[uint32]*role) { member(group)(all[a]); member(loginOID)(all[group]) }, refused: []string{"the change"}},
		"one brings the other":           {needs: Needs{RightsOf: []string{"a", "b"}}, recent: true, login: memberOf(membership{of: b, admin: true}), others: func(all map[uint32]*role) { member(a)(all[b]) }, joins: []string{`GRANT "b" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE GRANTED BY "ad""min"`, `REVOKE "b" FROM CURRENT_USER GRANTED BY "ad""min"`}},
		"the way to which is shut":       {needs: holdA, login: func(r *role) { createsAny(r); r.memberships = []membership{{of: group, inherit: true, set: true}} }, others: func(all map[uint32]*role) { memberOf(membership{of: a, set: true})(all[group]) }, joins: joinA},
		"the owner of the database":      {needs: Needs{RightsOf: []string{databaseOwner}}, login: member(b)},
		"may become it":                  {needs: Needs{RightsOf: []string{databaseOwner}}, login: createsAny, joins: []string{`GRANT "b" TO CURRENT_USER`, `REVOKE "b" FROM CURRENT_USER`}},
		"or be let in":                   {needs: Needs{NewOwner: databaseOwner}, login: stranger, refused: []string{`GRANT "b" TO "ad""min"`}},
		"a predefined role":              {needs: Needs{RightsOf: []string{readsAllData}}, login: createsAny, joins: []string{`GRANT "pg_read_all_data" TO CURRENT_USER`, `REVOKE "pg_read_all_data" FROM CURRENT_USER`}},
	} {
		t.Run(name, func(t *testing.T) {
			byOID := map[uint32]*role{
				superuserOID: {name: "postgres", superuser: true}, loginOID: {name: `ad"min`, createsDBs: true, inherits: true},
				a: {name: "a"}, b: {name: "b"}, group: {name: "group"}, databaseOwnerOID: {name: databaseOwner}, 5: {name: readsAllData},
			}
			tt.login(byOID[loginOID])
			if tt.others != nil {
				tt.others(byOID)
			}
			all := rolesOf(loginOID, b, byOID)
			all.recent = tt.recent
			joins, refused, err := tt.needs.decide(all, []string{"the change"})
			var got []string
			for _, j := range joins {
				got = append(got, j.grant, j.revoke)
			}
			if (err != nil) != tt.notFound {
				t.Error(err)
			}
			if !slices.Equal(refused, tt.refused) || refused == nil && !slices.Equal(got, tt.joins) {
				t.Errorf("got %q and %q, want %q and %q", got, refused, tt.joins, tt.refused)
			}
		})
	}
}

// A membership exists while it is needed, and afterwards all memberships are as before: also
// those that the login had granted to itself.
func TestNeedsWhile(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		config := pgtest.Administrator(t, s)
		server := pgtest.Server(t, config)
		name, other := s.RoleName(t), s.RoleName(t)
		for _, name := range []string{name, other} {
			s.Exec(t, "postgres", "SET ROLE "+config.Username+"; CREATE ROLE "+name)
		}
		if s.Major >= 16 {
			err := server.InTx(t.Context(), "", func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "GRANT "+other+" TO CURRENT_USER WITH INHERIT FALSE, SET TRUE")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		before := pgtest.Memberships(t, s, config.Username)
		run := func(roles []string) (has bool, err error) {
			err = server.InTx(t.Context(), "", func(tx pgx.Tx) error {
				return Needs{RightsOf: roles}.While(t.Context(), tx, []string{"the change"}, func() error {
					return tx.QueryRow(t.Context(), `SELECT pg_has_role($1, 'USAGE') AND pg_has_role($2, 'USAGE')`, name, other).Scan(&has)
				})
			})
			return has, err
		}
		if has, err := run([]string{name, other}); err != nil || !has {
			t.Errorf("the login has their privileges: %t, %v", has, err)
		}
		if after := pgtest.Memberships(t, s, config.Username); !slices.Equal(before, after) {
			t.Errorf("memberships were %q, are %q", before, after)
		}
		if _, err := run([]string{"no such role"}); err == nil || errors.Is(err, pgclient.ErrNotFound) {
			t.Errorf("got %v", err)
		}
		var forbidden *forbiddenError
		if _, err := run([]string{s.Username}); !errors.As(err, &forbidden) || !slices.Equal(forbidden.statements, []string{"the change"}) {
			t.Errorf("the superuser took in a member: %v", err)
		}
	})
}
