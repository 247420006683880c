package postgres

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// administrator makes a login like those of managed servers: it may create roles
// and databases, and is no superuser. The roles that it created itself are returned.
func administrator(t *testing.T, s *sandbox.Server, roles int) (login string, created []string) {
	t.Helper()
	login = s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+login+" CREATEROLE CREATEDB")
	for range roles {
		name := s.RoleName(t)
		s.Exec(t, "postgres", "SET ROLE "+login+"; CREATE ROLE "+name)
		created = append(created, name)
	}
	return login, created
}

// memberships returns those of a role in others, with all that comes with them.
func memberships(t *testing.T, s *sandbox.Server, role string) []string {
	t.Helper()
	return s.Query(t, "postgres", `SELECT m::text FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.member WHERE r.rolname = $1 ORDER BY 1`, role)
}

// An administrator who owns none of the application's tables grants what is on
// them, by a membership that nobody ever sees.
func TestAdministrator(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		login, created := administrator(t, s, 2)
		shop := newShop(t, s)
		owner, newcomer := created[0], created[1]
		shop.exec(t, `
			ALTER DATABASE `+shop.name+` OWNER TO `+login+`;
			REVOKE ALL ON DATABASE `+shop.name+` FROM `+login+`;
			GRANT CONNECT ON DATABASE `+shop.name+` TO `+login+`;
			ALTER SCHEMA billing OWNER TO `+owner+`;
			ALTER TABLE billing.payments OWNER TO `+owner+`;
			ALTER TABLE billing.payments_1 OWNER TO `+owner)
		before, members := shop.acls(t), memberships(t, s, login)
		server := shop.as(t, login)
		g := shop.grants("billing")
		if err := server.GrantSource(t.Context(), g); err != nil {
			t.Fatal(Explain(err))
		}
		assertEqual(t, "missing", shop.missing(t, g), nil) // the superuser owns nothing in billing
		assertEqual(t, "memberships", memberships(t, s, login), members)
		shop.assertReads(t, "billing.payments", "billing.payments_1")

		// An owner that appears later is drift, and repaired.
		shop.exec(t, "GRANT ALL ON SCHEMA billing TO "+newcomer+"; SET ROLE "+newcomer+"; CREATE TABLE billing.later (id int)")
		drift, err := server.SourceDrift(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing of a newcomer", drift.Missing, []string{
			"DEFAULT SELECT ON TABLES IN SCHEMA billing OF " + newcomer, "SELECT ON TABLE billing.later",
		})
		if err := server.UpdateSource(t.Context(), g, g); err != nil {
			t.Fatal(Explain(err))
		}
		if drift, err = server.SourceDrift(t.Context(), g); err != nil || len(drift.Missing) > 0 {
			t.Errorf("after the update: %q, %v", drift.Missing, err)
		}
		if err := server.RevokeSource(t.Context(), g); err != nil {
			t.Fatal(Explain(err))
		}
		shop.exec(t, "DROP TABLE billing.later; REVOKE ALL ON SCHEMA billing FROM "+newcomer)
		assertEqual(t, "rights after all", shop.acls(t), before)
		assertEqual(t, "memberships after all", memberships(t, s, login), members)
	})
}

// The option to pass a right on shows, item by item, and is taken back alone.
func TestExcess(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		shop.grant(t, g)
		granted := shop.acls(t)
		shop.exec(t, `
			GRANT SELECT ON public.orders, public.open_orders TO `+shop.user+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA billing TO `+shop.user+` WITH GRANT OPTION;
			GRANT SELECT ON secret.keys TO `+shop.user+` WITH GRANT OPTION`)
		drift, err := shop.server.SourceDrift(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing", drift.Missing, nil)
		assertEqual(t, "excess", drift.Excess, []string{
			"SELECT ON TABLE public.orders WITH GRANT OPTION",
			"SELECT ON VIEW public.open_orders WITH GRANT OPTION",
			"USAGE ON SCHEMA billing WITH GRANT OPTION",
		})
		shop.update(t, g, g)
		shop.exec(t, "REVOKE ALL ON secret.keys FROM "+shop.user) // which nobody asked to change
		assertEqual(t, "rights after the update", shop.acls(t), granted)

		// What was passed on is named.
		other := s.Role(t)
		shop.exec(t, `
			GRANT SELECT ON public.orders TO `+shop.user+` WITH GRANT OPTION;
			SET ROLE `+shop.user+`; GRANT SELECT ON public.orders TO `+other)
		err = shop.server.UpdateSource(t.Context(), g, g)
		if err == nil || !strings.Contains(err.Error(), "SELECT ON TABLE public.orders to "+other) {
			t.Errorf("an option that was used: %v", err)
		}
		shop.exec(t, "REVOKE SELECT ON public.orders FROM "+shop.user+" CASCADE")
	})
}

// What belongs to an extension is not the application's.
func TestExtensionsTables(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		shop.exec(t, `
			CREATE TABLE public.of_extension (id int);
			ALTER EXTENSION plpgsql ADD TABLE public.of_extension`)
		g := shop.grants("public")
		shop.grant(t, g)
		assertEqual(t, "missing", shop.missing(t, g), nil)
		if may := s.Query(t, shop.name, "SELECT has_table_privilege($1, 'public.of_extension', 'SELECT')", shop.user); may[0] != "f" {
			t.Error("SELECT was granted on what belongs to an extension")
		}
		g.Tables, g.FutureTables = []TableName{{"public", "of_extension"}}, false
		shop.grant(t, g)
		if may := s.Query(t, shop.name, "SELECT has_table_privilege($1, 'public.of_extension', 'SELECT')", shop.user); may[0] != "t" {
			t.Error("SELECT was not granted on what is listed")
		}
	})
}

// An access answers as PostgreSQL does, whatever the roles, memberships and
// grants are.
func TestAccessAnswersAsPostgreSQL(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
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
		for range 12 { // in one direction, as circles are refused
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
		s.Exec(t, "postgres", "ALTER DATABASE "+shop.name+" OWNER TO "+roles[pick()])
		shop.exec(t, "ALTER TABLE public.orders OWNER TO "+roles[pick()])
		targets := []string{"CONNECT ON DATABASE " + shop.name, "USAGE ON SCHEMA public", "SELECT ON public.orders", "SELECT ON public.totals", "SELECT ON billing.payments"}
		for range 15 {
			option := []string{"", " WITH GRANT OPTION"}[random.IntN(2)]
			shop.exec(t, "GRANT "+targets[random.IntN(len(targets))]+" TO "+roles[pick()]+option)
		}

		sc := scope{database: []string{"CONNECT"}, schemas: []string{"public"}, whole: []string{"public", "billing"}}
		for _, name := range roles {
			var said []string
			err := shop.server.inTx(t.Context(), shop.name, func(tx pgx.Tx) error {
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
			answers := s.Query(t, shop.name, `
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
			assertEqual(t, "what "+name+" may", said, answers)
		}
	})
}

// All grants of a plan are answered by one reading of the catalogs, through one
// connection, and a change makes the next one read again.
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
				g := SourceGrants{Database: shop.name, User: user, Schemas: []string{schema}, FutureTables: true}
				if _, err := shop.server.Planning().SourceDrift(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	before := statements()
	plan()
	if n := statements() - before; n != 5 { // of the session, begin, roles, objects, commit
		t.Errorf("a plan of 40 grants took %d statements", n)
	}
	shop.grant(t, shop.grants("public"))
	before = statements()
	plan()
	if n := statements() - before; n != 4 {
		t.Errorf("a plan after a change took %d statements", n)
	}
}
