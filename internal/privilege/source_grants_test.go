package privilege

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestSourceGrants(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		before := shop.ACLs(t)

		want := []string{
			"CONNECT ON DATABASE " + shop.Name,
			"DEFAULT SELECT ON TABLES IN SCHEMA billing OF " + shop.Application,
			"DEFAULT SELECT ON TABLES IN SCHEMA public OF " + s.Username,
			"SELECT ON FOREIGN TABLE public.remote",
			"SELECT ON MATERIALIZED VIEW public.totals",
			"SELECT ON TABLE billing.payments",
			"SELECT ON TABLE billing.payments_1",
			"SELECT ON TABLE public.orders",
			"SELECT ON VIEW public.open_orders",
			"USAGE ON SCHEMA billing",
			"USAGE ON SCHEMA public",
		}
		pgtest.Equal(t, "missing before", shop.missing(t, g), want)

		shop.grant(t, g)
		pgtest.Equal(t, "missing after", shop.missing(t, g), nil)
		shop.AssertReads(t, "public.orders", "public.open_orders", "public.totals", "billing.payments", "billing.payments_1")

		versions := shop.Versions(t)
		shop.grant(t, g)
		if err := UpdateSource(t.Context(), shop.Admin, g, g); err != nil {
			t.Error(err)
		}
		pgtest.Equal(t, "what granting again touched", shop.Versions(t), versions)

		have, err := ReadSourceGrants(t.Context(), shop.Admin, shop.Name, shop.User)
		if err != nil || !slices.Equal(have.Schemas, []string{"billing", "public"}) || !have.FutureTables {
			t.Errorf("imported %+v, %v", have, err)
		}

		shop.revoke(t, g)
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
		shop.revoke(t, g)
		pgtest.Equal(t, "rights after revoking twice", shop.ACLs(t), before)
	})
}

// Each privilege that is revoked is shown, alone, and granted again.
func TestSourceGrantsDrift(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		shop.grant(t, g)
		granted := shop.ACLs(t)
		user := shop.User
		defaults := "ALTER DEFAULT PRIVILEGES FOR ROLE " + shop.Application + " IN SCHEMA billing REVOKE SELECT ON TABLES FROM "
		for sql, want := range map[string]string{
			"REVOKE CONNECT ON DATABASE " + shop.Name + " FROM " + user: "CONNECT ON DATABASE " + shop.Name,
			"REVOKE USAGE ON SCHEMA billing FROM " + user:               "USAGE ON SCHEMA billing",
			"REVOKE SELECT ON public.orders FROM " + user:               "SELECT ON TABLE public.orders",
			"REVOKE SELECT ON public.open_orders FROM " + user:          "SELECT ON VIEW public.open_orders",
			"REVOKE SELECT ON public.totals FROM " + user:               "SELECT ON MATERIALIZED VIEW public.totals",
			"REVOKE SELECT ON public.remote FROM " + user:               "SELECT ON FOREIGN TABLE public.remote",
			"REVOKE SELECT ON billing.payments FROM " + user:            "SELECT ON TABLE billing.payments",
			"REVOKE SELECT ON billing.payments_1 FROM " + user:          "SELECT ON TABLE billing.payments_1",
			defaults + user: "DEFAULT SELECT ON TABLES IN SCHEMA billing OF " + shop.Application,
		} {
			shop.Run(t, sql)
			pgtest.Equal(t, sql, shop.missing(t, g), []string{want})
			if err := UpdateSource(t.Context(), shop.Admin, g, g); err != nil {
				t.Error(err)
			}
			pgtest.Equal(t, "rights after repairing "+sql, shop.ACLs(t), granted)
		}
	})
}

func TestSourceGrantsFutureTables(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		shop.grant(t, g)

		// By roles that are known to create tables: nothing to do.
		shop.Run(t, `
			CREATE TABLE public.later (id int);
			SET ROLE `+shop.Application+`;
			CREATE TABLE billing.later (id int);
			CREATE VIEW billing.later_view AS SELECT * FROM billing.later`)
		pgtest.Equal(t, "missing", shop.missing(t, g), nil)
		shop.AssertReads(t, "public.later", "billing.later", "billing.later_view")

		// By a new role.
		newcomer := s.Role(t)
		shop.Run(t, `
			GRANT ALL ON SCHEMA billing TO `+newcomer+`;
			SET ROLE `+newcomer+`;
			CREATE TABLE billing.surprise (id int)`)
		pgtest.Equal(t, "missing of a newcomer", shop.missing(t, g), []string{
			"DEFAULT SELECT ON TABLES IN SCHEMA billing OF " + newcomer, "SELECT ON TABLE billing.surprise",
		})
		if err := UpdateSource(t.Context(), shop.Admin, g, g); err != nil {
			t.Error(err)
		}
		shop.Run(t, "SET ROLE "+newcomer+"; CREATE TABLE billing.no_surprise (id int)")
		pgtest.Equal(t, "missing in the end", shop.missing(t, g), nil)

		// The tables that must no longer be covered.
		kept := g
		kept.FutureTables = false
		if err := UpdateSource(t.Context(), shop.Admin, g, kept); err != nil {
			t.Error(err)
		}
		if left := s.Query(t, shop.Name, "SELECT * FROM pg_default_acl"); left != nil {
			t.Errorf("default privileges left: %q", left)
		}
		pgtest.Equal(t, "missing of what is there", shop.missing(t, kept), nil)
		shop.Run(t, "CREATE TABLE public.uncovered (id int)")
		pgtest.Equal(t, "missing then", shop.missing(t, kept), []string{"SELECT ON TABLE public.uncovered"})
	})
}

// A privilege that the user has in another way is not missing.
func TestSourceGrantsEffective(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		ways := map[string]func(shop shop) string{
			"a superuser": func(shop shop) string { return "ALTER ROLE " + shop.User + " SUPERUSER" },
			"everybody": func(shop shop) string {
				return `
					GRANT CONNECT ON DATABASE ` + shop.Name + ` TO PUBLIC;
					GRANT USAGE ON SCHEMA public, billing TO PUBLIC;
					GRANT SELECT ON ALL TABLES IN SCHEMA public, billing TO PUBLIC;
					ALTER DEFAULT PRIVILEGES FOR ROLE ` + s.Username + ` GRANT SELECT ON TABLES TO PUBLIC;
					ALTER DEFAULT PRIVILEGES FOR ROLE ` + shop.Application + ` IN SCHEMA billing GRANT SELECT ON TABLES TO PUBLIC`
			},
			"a group": func(shop shop) string {
				group := s.Role(t)
				return `
					GRANT ` + group + ` TO ` + shop.User + `;
					GRANT CONNECT ON DATABASE ` + shop.Name + ` TO ` + group + `;
					GRANT USAGE ON SCHEMA public, billing TO ` + group + `;
					GRANT SELECT ON ALL TABLES IN SCHEMA public, billing TO ` + group + `;
					ALTER DEFAULT PRIVILEGES FOR ROLE ` + s.Username + ` GRANT SELECT ON TABLES TO ` + group + `;
					ALTER DEFAULT PRIVILEGES FOR ROLE ` + shop.Application + ` IN SCHEMA billing GRANT SELECT ON TABLES TO ` + group
			},
			"pg_read_all_data": func(shop shop) string {
				return "GRANT pg_read_all_data TO " + shop.User + "; GRANT CONNECT ON DATABASE " + shop.Name + " TO PUBLIC"
			},
		}
		if s.Major < 14 {
			delete(ways, "pg_read_all_data")
		}
		for name, way := range ways {
			t.Run(name, func(t *testing.T) {
				shop := newShop(t, s)
				g := shop.grants("public", "billing")
				shop.Run(t, way(shop))
				before := shop.ACLs(t)
				pgtest.Equal(t, "missing", shop.missing(t, g), nil)

				shop.grant(t, g) // explicitly nevertheless, and revoked alone
				if explicit, err := ReadSourceGrants(t.Context(), shop.Admin, shop.Name, shop.User); err != nil || len(explicit.Schemas) != 2 {
					t.Errorf("granted %+v, %v", explicit, err)
				}
				shop.revoke(t, g)
				pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
			})
		}
	})
}

// A user needs no grants on its own objects, and loses no privilege on them.
func TestSourceGrantsOfOwner(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		shop.Run(t, `
			ALTER DATABASE `+shop.Name+` OWNER TO `+shop.User+`;
			ALTER SCHEMA billing OWNER TO `+shop.User+`;
			ALTER TABLE billing.payments_1 OWNER TO `+shop.User+`;
			GRANT SELECT ON billing.payments_1 TO `+shop.Application)
		g := shop.grants("billing")
		before := shop.ACLs(t)
		shop.grant(t, g)
		pgtest.Equal(t, "missing", shop.missing(t, g), nil)
		shop.revoke(t, g)
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}

func TestSourceGrantsOddNames(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		odd := `o"d.d 'näme\` + "\n$1;--%"
		long := strings.Repeat("é", 31) + "x"
		shop := shop{pgtest.Shop{Server: s, Admin: pgtest.Server(t, pgtest.Superuser(s)), Name: odd, User: odd + "user"}}
		s.Exec(t, "postgres", "CREATE DATABASE "+pgclient.Ident(odd)+" TEMPLATE template0")
		t.Cleanup(func() {
			shop.Admin.CloseIdleAs(shop.Admin.Username())
			s.Exec(t, "postgres", "DROP DATABASE "+pgclient.Ident(odd))
			s.Exec(t, "postgres", "DROP ROLE "+pgclient.Ident(shop.User))
		})
		s.Exec(t, "postgres", "CREATE ROLE "+pgclient.Ident(shop.User))
		s.Exec(t, odd, "REVOKE ALL ON DATABASE "+pgclient.Ident(odd)+" FROM PUBLIC")
		for _, name := range []string{odd, long} {
			s.Exec(t, odd, "CREATE SCHEMA "+pgclient.Ident(name)+"; CREATE TABLE "+relation.TableName{Schema: name, Name: long}.SQL()+" ()")
			s.Exec(t, odd, "CREATE VIEW "+relation.TableName{Schema: name, Name: odd}.SQL()+" AS SELECT 1 AS one")
		}
		// The same text, split at another dot.
		s.Exec(t, odd, `CREATE SCHEMA "a.b"; CREATE TABLE "a.b".c (); CREATE SCHEMA a; CREATE TABLE a."b.c" ()`)
		before := shop.ACLs(t)

		g := SourceGrants{Database: odd, User: shop.User, Schemas: []string{odd, long, "a"}, FutureTables: true}
		shop.grant(t, g)
		pgtest.Equal(t, "missing", shop.missing(t, g), nil)
		listed := SourceGrants{Database: odd, User: shop.User, Schemas: []string{odd, "a.b"}, Tables: []relation.TableName{{Schema: odd, Name: long}, {Schema: "a.b", Name: "c"}}}
		if err := UpdateSource(t.Context(), shop.Admin, g, listed); err != nil {
			t.Error(err)
		}
		pgtest.Equal(t, "missing of two", shop.missing(t, listed), nil)
		wants := []string{
			`DEFAULT SELECT ON TABLES IN SCHEMA a OF ` + s.Username,
			`SELECT ON TABLE a."b.c"`,
			`USAGE ON SCHEMA a`,
		}
		pgtest.Equal(t, "missing of a", shop.missing(t, SourceGrants{Database: odd, User: shop.User, Schemas: []string{"a"}, FutureTables: true}), wants)
		shop.revoke(t, listed)
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}

func TestCheckSourceGrants(t *testing.T) {
	tests := map[string]struct {
		grants SourceGrants
		want   string
	}{
		"fine":              {SourceGrants{Schemas: []string{"public", "PG_odd"}, Tables: []relation.TableName{{Schema: "public", Name: "orders"}}}, ""},
		"no name":           {SourceGrants{Schemas: []string{""}}, "a name is empty"},
		"passwords":         {SourceGrants{Schemas: []string{"pg_catalog"}}, "belongs to PostgreSQL itself"},
		"system views":      {SourceGrants{Schemas: []string{"information_schema"}}, "belongs to PostgreSQL itself"},
		"an unreadable one": {SourceGrants{Schemas: []string{"public"}, Tables: []relation.TableName{{Schema: "billing", Name: "invoices"}}}, "none of the schemas"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := fmt.Sprint(test.grants.check())
			if test.want == "" && got != "<nil>" || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSourceGrantsOfWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.Versions(t)
		g := shop.grants("public", "nowhere", "never")
		g.Tables = []relation.TableName{{Schema: "public", Name: "orders"}, {Schema: "public", Name: "odrers"}}
		err := GrantSource(t.Context(), shop.Admin, g)
		if want := "these do not exist: SCHEMA never, SCHEMA nowhere, TABLE public.odrers"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
		pgtest.Equal(t, "what that touched", shop.Versions(t), before)
		pgtest.Equal(t, "missing", shop.missing(t, g), []string{
			"CONNECT ON DATABASE " + shop.Name,
			"DEFAULT SELECT ON TABLES IN SCHEMA public OF " + s.Username,
			"SCHEMA never does not exist", "SCHEMA nowhere does not exist",
			"SELECT ON TABLE public.orders",
			"TABLE public.odrers does not exist",
			"USAGE ON SCHEMA public",
		})
		for name, g := range map[string]SourceGrants{
			"no user":     {Database: shop.Name, User: "nobody", Schemas: []string{"public"}},
			"no database": {Database: "no database", User: shop.User, Schemas: []string{"public"}},
		} {
			if err := GrantSource(t.Context(), shop.Admin, g); err == nil || !strings.Contains(err.Error(), "no") {
				t.Errorf("%s: grant: %v", name, err)
			}
			if _, err := SourceDrift(t.Context(), shop.Admin, g); !errors.Is(err, pgclient.ErrNotFound) {
				t.Errorf("%s: missing: %v", name, err)
			}
			if err := RevokeSource(t.Context(), shop.Admin, g); err != nil {
				t.Errorf("%s: revoke: %v", name, err)
			}
		}
		gone := shop.grants("public", "billing")
		shop.grant(t, gone)
		shop.Run(t, "DROP SCHEMA billing CASCADE; DROP TABLE public.orders CASCADE")
		pgtest.Equal(t, "missing of what was dropped", shop.missing(t, gone), []string{"SCHEMA billing does not exist"})
		shop.revoke(t, gone)
	})
}
