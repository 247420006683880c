package privilege

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// An administrator who owns none of the application's tables grants privileges on them through a
// membership that no other session ever sees.
func TestAdministrator(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		login, created := pgtest.AdministratorOf(t, s, 2)
		shop := newShop(t, s)
		owner, newcomer := created[0], created[1]
		shop.Run(t, `
			ALTER DATABASE `+shop.Name+` OWNER TO `+login+`;
			REVOKE ALL ON DATABASE `+shop.Name+` FROM `+login+`;
			GRANT CONNECT ON DATABASE `+shop.Name+` TO `+login+`;
			ALTER SCHEMA billing OWNER TO `+owner+`;
			ALTER TABLE billing.payments OWNER TO `+owner+`;
			ALTER TABLE billing.payments_1 OWNER TO `+owner)
		before, members := shop.ACLs(t), pgtest.Memberships(t, s, login)
		server := shop.As(t, login)
		g := shop.grants("billing")
		if err := GrantSource(t.Context(), server, g); err != nil {
			t.Fatal(pgclient.Explain(err))
		}
		pgtest.Equal(t, "missing", shop.missing(t, g), nil) // the superuser owns nothing in billing
		pgtest.Equal(t, "memberships", pgtest.Memberships(t, s, login), members)
		shop.AssertReads(t, "billing.payments", "billing.payments_1")

		// A new owner is drift, which the next apply repairs.
		shop.Run(t, "GRANT ALL ON SCHEMA billing TO "+newcomer+"; SET ROLE "+newcomer+"; CREATE TABLE billing.later (id int)")
		drift, err := SourceDrift(t.Context(), server, g)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing of a newcomer", drift.Missing, []string{
			"DEFAULT SELECT ON TABLES IN SCHEMA billing OF " + newcomer, "SELECT ON TABLE billing.later",
		})
		if err := UpdateSource(t.Context(), server, g, g); err != nil {
			t.Fatal(pgclient.Explain(err))
		}
		if drift, err = SourceDrift(t.Context(), server, g); err != nil || len(drift.Missing) > 0 {
			t.Errorf("after the update: %q, %v", drift.Missing, err)
		}
		if err := RevokeSource(t.Context(), server, g); err != nil {
			t.Fatal(pgclient.Explain(err))
		}
		shop.Run(t, "DROP TABLE billing.later; REVOKE ALL ON SCHEMA billing FROM "+newcomer)
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
		pgtest.Equal(t, "memberships after all", pgtest.Memberships(t, s, login), members)
	})
}

// Grant options are shown, item by item, and revoked alone.
func TestExcess(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		shop.grant(t, g)
		granted := shop.ACLs(t)
		shop.Run(t, `
			GRANT SELECT ON public.orders, public.open_orders TO `+shop.User+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA billing TO `+shop.User+` WITH GRANT OPTION;
			GRANT SELECT ON secret.keys TO `+shop.User+` WITH GRANT OPTION`)
		drift, err := SourceDrift(t.Context(), shop.Admin, g)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing", drift.Missing, nil)
		pgtest.Equal(t, "excess", drift.Excess, []string{
			"SELECT ON TABLE public.orders WITH GRANT OPTION",
			"SELECT ON VIEW public.open_orders WITH GRANT OPTION",
			"USAGE ON SCHEMA billing WITH GRANT OPTION",
		})
		shop.update(t, g, g)
		shop.Run(t, "REVOKE ALL ON secret.keys FROM "+shop.User) // which no configuration manages
		pgtest.Equal(t, "rights after the update", shop.ACLs(t), granted)

		// The error names to whom the user has passed on a privilege.
		other := s.Role(t)
		shop.Run(t, `
			GRANT SELECT ON public.orders TO `+shop.User+` WITH GRANT OPTION;
			SET ROLE `+shop.User+`; GRANT SELECT ON public.orders TO `+other)
		err = UpdateSource(t.Context(), shop.Admin, g, g)
		if err == nil || !strings.Contains(err.Error(), "SELECT ON TABLE public.orders to "+other) {
			t.Errorf("an option that was used: %v", err)
		}
		shop.Run(t, "REVOKE SELECT ON public.orders FROM "+shop.User+" CASCADE")
	})
}

// What belongs to an extension does not count as the application's.
func TestExtensionsTables(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		shop.Run(t, `
			CREATE TABLE public.of_extension (id int);
			ALTER EXTENSION plpgsql ADD TABLE public.of_extension`)
		g := shop.grants("public")
		shop.grant(t, g)
		pgtest.Equal(t, "missing", shop.missing(t, g), nil)
		if may := s.Query(t, shop.Name, "SELECT has_table_privilege($1, 'public.of_extension', 'SELECT')", shop.User); may[0] != "f" {
			t.Error("SELECT was granted on what belongs to an extension")
		}
		g.Tables, g.FutureTables = []relation.TableName{{Schema: "public", Name: "of_extension"}}, false
		shop.grant(t, g)
		if may := s.Query(t, shop.Name, "SELECT has_table_privilege($1, 'public.of_extension', 'SELECT')", shop.User); may[0] != "t" {
			t.Error("SELECT was not granted on what is listed")
		}
	})
}

// An access answers as PostgreSQL does, whatever the roles, memberships and grants are.
func TestAccessAnswersAsPostgreSQL(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		random := rand.New(rand.NewPCG(1, 2))
		roles := make([]string, 8)
		for i := range roles {
			roles[i] = s.Role(t)
			if random.IntN(3) == 0 {
				s.Exec(t, "postgres", "ALTER ROLE "+roles[i]+" NOINHERIT")
			}
		}
		pick := func() int { return random.IntN(len(roles)) }
		for range 12 { // in one direction, because circles are refused
			if a, b := pick(), pick(); a < b {
				options := ""
				if s.Major >= 16 {
					options = fmt.Sprintf(" WITH INHERIT %t, SET %t", random.IntN(2) == 0, random.IntN(2) == 0)
				}
				s.Exec(t, "postgres", "GRANT "+roles[a]+" TO "+roles[b]+options)
			}
		}
		if s.Major >= 14 {
			s.Exec(t, "postgres", "GRANT pg_read_all_data TO "+roles[pick()])
		}
		s.Exec(t, "postgres", "ALTER DATABASE "+shop.Name+" OWNER TO "+roles[pick()])
		shop.Run(t, "ALTER TABLE public.orders OWNER TO "+roles[pick()])
		targets := []string{"CONNECT ON DATABASE " + shop.Name, "USAGE ON SCHEMA public", "SELECT ON public.orders", "SELECT ON public.totals", "SELECT ON billing.payments"}
		for range 15 {
			option := []string{"", " WITH GRANT OPTION"}[random.IntN(2)]
			shop.Run(t, "GRANT "+targets[random.IntN(len(targets))]+" TO "+roles[pick()]+option)
		}

		sc := scope{database: []string{"CONNECT"}, schemas: []string{"public"}, whole: []string{"public", "billing"}}
		for _, name := range roles {
			var said []string
			err := shop.Admin.InTx(t.Context(), shop.Name, func(tx pgx.Tx) error {
				a, err := readAccess(t.Context(), tx, nil)
				if err != nil {
					return err
				}
				p, err := a.requireUser(name)
				for _, r := range a.rights(sc, func(string, string, object) bool { return true }) {
					said = append(said, fmt.Sprintf("%s %t %t", r, p.may(r.Privilege, r.Kind, r.object), p.mayGrant(r.Privilege, r.object)))
				}
				for _, other := range roles {
					said = append(said, fmt.Sprintf("%s %t %t", other, p.holds(a.byName[other]), p.meets(need{role: a.byName[other], become: true})))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			answers := s.Query(t, shop.Name, `
				SELECT 'CONNECT ON DATABASE ' || d, has_database_privilege($1, d, 'CONNECT'), has_database_privilege($1, d, 'CONNECT WITH GRANT OPTION')
				FROM current_database() AS d
				UNION ALL SELECT 'USAGE ON SCHEMA public', has_schema_privilege($1, 'public', 'USAGE'), has_schema_privilege($1, 'public', 'USAGE WITH GRANT OPTION')
				UNION ALL SELECT 'SELECT ON ' || CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END
					|| ' ' || nspname || '.' || relname, has_table_privilege($1, c.oid, 'SELECT'), has_table_privilege($1, c.oid, 'SELECT WITH GRANT OPTION')
				FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname IN ('public', 'billing') AND relkind IN ('r', 'p', 'v', 'm', 'f')
				UNION ALL SELECT rolname, pg_has_role($1, oid, 'USAGE'), pg_has_role($1, oid, $2) FROM pg_roles WHERE rolname::text = ANY ($3::text[])`,
				name, map[bool]string{true: "SET", false: "MEMBER"}[s.Major >= 16], roles)
			for i, answer := range answers {
				answers[i] = strings.NewReplacer("|t", " true", "|f", " false").Replace(answer)
			}
			slices.Sort(said)
			slices.Sort(answers)
			pgtest.Equal(t, "what "+name+" may", said, answers)
		}
	})
}

// One reading of the catalogs, through one connection, answers for all grants of a plan, and a
// change makes the next plan read again.
func TestGrantsReadOnce(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{LogStatements: true})
	shop := newShop(t, s)
	statements := func() int {
		log, err := s.Log()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(log, "LOG:  statement: ") + strings.Count(log, "LOG:  execute ")
	}
	var users []string
	for range 20 {
		users = append(users, s.Role(t))
	}
	plan := func() {
		for _, user := range users {
			for _, schema := range []string{"public", "billing"} {
				g := SourceGrants{Database: shop.Name, User: user, Schemas: []string{schema}, FutureTables: true}
				if _, err := SourceDrift(t.Context(), shop.Admin.Planning(), g); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	before := statements()
	plan()
	if n := statements() - before; n != 5 { // one that begins the session, then begin, roles, objects, commit
		t.Errorf("a plan of 40 grants took %d statements", n)
	}
	shop.grant(t, shop.grants("public"))
	before = statements()
	plan()
	if n := statements() - before; n != 4 {
		t.Errorf("a plan after a change took %d statements", n)
	}
}

// An owner who may not use the schema cannot grant anything on what it owns there: this is
// reported in advance, or a role that can grant it does.
func TestOwnerWithoutUsage(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		login, created := pgtest.AdministratorOf(t, s, 1)
		shop, owner := newShop(t, s), created[0]
		shop.Run(t, `
			GRANT CONNECT ON DATABASE `+shop.Name+` TO `+login+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA billing TO `+login+` WITH GRANT OPTION;
			ALTER TABLE billing.payments OWNER TO `+owner+`;
			ALTER TABLE billing.payments_1 OWNER TO `+owner)
		server, g := shop.As(t, login), shop.grants("billing")
		g.FutureTables = false
		var forbidden *forbiddenError
		err := GrantSource(t.Context(), server, g)
		if want := []string{`GRANT SELECT ON TABLE "billing"."payments", "billing"."payments_1" TO "` + shop.User + `"`}; !errors.As(err, &forbidden) || !slices.Equal(forbidden.statements, want) {
			t.Fatalf("got %v\nwant %q", err, want)
		}
		// A member of the owner may use the schema itself.
		s.Exec(t, "postgres", "GRANT "+owner+" TO "+login+map[bool]string{true: withAll}[s.Major >= 16])
		if err := errors.Join(GrantSource(t.Context(), server, g), RevokeSource(t.Context(), server, g)); err != nil {
			t.Error(pgclient.Explain(err))
		}
		shop.Run(t, "REVOKE USAGE ON SCHEMA billing FROM "+login+"; GRANT SELECT ON billing.payments TO "+shop.User)
		g.Tables = []relation.TableName{{Schema: "billing", Name: "payments"}}
		if err := RevokeSource(t.Context(), server, g); !errors.As(err, &forbidden) {
			t.Errorf("nobody may use the schema: %v", err)
		}
	})
}
