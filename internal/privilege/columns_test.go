package privilege

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// columnACLs returns the privileges on columns in the database, with their grantors.
func (s shop) columnACLs(t *testing.T) []string {
	t.Helper()
	return s.Query(t, s.Name, `
		SELECT c.oid::regclass || '.' || a.attname, e.grantee::regrole, e.grantor::regrole, e.privilege_type, e.is_grantable
		FROM pg_attribute AS a
		JOIN pg_class AS c ON c.oid = a.attrelid
		CROSS JOIN LATERAL aclexplode(a.attacl) AS e
		WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
		ORDER BY 1, 2, 3, 4`)
}

// When PostgreSQL revokes a privilege on a table, it also revokes the privilege on the table's
// columns. Privileges that others granted on columns remain, whichever role revokes.
func TestRevokeKeepsColumns(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		friend := s.Role(t)
		shop.Run(t, `
			GRANT SELECT (id) ON public.orders, public.open_orders TO `+shop.User+`;
			GRANT SELECT (count) ON public.totals TO `+shop.User+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA billing TO `+friend+`;
			GRANT SELECT ON billing.payments TO `+friend+` WITH GRANT OPTION;
			SET ROLE `+friend+`;
			GRANT SELECT (id) ON billing.payments TO `+shop.User+`;
			SET ROLE `+shop.Application+`;
			GRANT SELECT (id) ON billing.payments TO `+shop.User)
		before, columns := shop.ACLs(t), shop.columnACLs(t)

		g := shop.grants("public", "billing")
		shop.grant(t, g)
		pgtest.Equal(t, "columns after the grant", shop.columnACLs(t), columns)
		narrow := g
		narrow.Tables, narrow.FutureTables = []relation.TableName{{Schema: "public", Name: "totals"}}, false
		shop.update(t, g, narrow)
		pgtest.Equal(t, "columns after narrowing", shop.columnACLs(t), columns)
		shop.revoke(t, narrow)
		pgtest.Equal(t, "columns after all", shop.columnACLs(t), columns)
		// USAGE and CONNECT stay as long as there are columns to read.
		after := slices.DeleteFunc(shop.ACLs(t), func(right string) bool {
			return strings.Contains(right, shop.User) && (strings.Contains(right, "USAGE") || strings.Contains(right, "CONNECT"))
		})
		pgtest.Equal(t, "rights after all", after, before)
		shop.Run(t, "SET ROLE "+friend+"; REVOKE SELECT (id) ON billing.payments FROM "+shop.User) // so that the roles can be dropped
	})
}

// For a table with listed columns, the user is granted these columns and no others.
func TestSourceGrantsColumns(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		shop.Run(t, `
			CREATE TABLE public.customers (id int, "full name" text, secret text) PARTITION BY LIST (id);
			CREATE TABLE public.customers_1 PARTITION OF public.customers FOR VALUES IN (1);
			CREATE VIEW public.people AS SELECT * FROM public.customers`)
		before, columnsBefore := slices.DeleteFunc(shop.ACLs(t), func(right string) bool { return strings.Contains(right, "pg_toast") }), shop.columnACLs(t)
		customers, people := relation.TableName{Schema: "public", Name: "customers"}, relation.TableName{Schema: "public", Name: "people"}
		g := shop.grants("public", "billing")
		g.Columns = []TableColumns{{customers, []string{"id", "full name"}}, {people, []string{"id"}}}

		missing := shop.missing(t, g)
		for _, item := range []string{"SELECT (full name) ON TABLE public.customers", "SELECT (id) ON TABLE public.customers", "SELECT (id) ON VIEW public.people"} {
			if !slices.Contains(missing, item) {
				t.Errorf("not missing: %s in %q", item, missing)
			}
		}
		shop.grant(t, g)
		pgtest.Equal(t, "missing", shop.missing(t, g), nil)
		shop.AssertReads(t, "public.orders", "(SELECT id, \"full name\" FROM public.customers) AS c", "(SELECT id FROM public.people) AS p")
		hides := func(what string) {
			t.Helper()
			for _, table := range []string{"public.customers", "public.customers_1", "public.people"} {
				if got := s.Query(t, shop.Name, "SELECT has_column_privilege($1, $2, 'secret', 'SELECT')", shop.User, table); !slices.Equal(got, []string{"f"}) {
					t.Errorf("%s, the secret of %s can be read: %q", what, table, got)
				}
			}
		}
		hides("when granted")
		versions := shop.Versions(t)
		shop.grant(t, g)
		shop.update(t, g, g)
		pgtest.Equal(t, "what granting again touched", shop.Versions(t), versions)

		have, err := ReadSourceGrants(t.Context(), shop.Admin, shop.Name, shop.User)
		if err != nil || len(have.Columns) != 2 || !slices.Equal(have.Columns[0].Columns, []string{"full name", "id"}) || have.Columns[1].Table != people {
			t.Errorf("imported %+v, %v", have, err)
		}

		// A new partition, and a table that was granted whole.
		shop.Run(t, "CREATE TABLE public.customers_2 PARTITION OF public.customers FOR VALUES IN (2); GRANT SELECT ON public.people TO "+shop.User)
		drift, err := SourceDrift(t.Context(), shop.Admin, g)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "excess", drift.Excess, []string{"SELECT ON TABLE public.customers_2", "SELECT ON VIEW public.people"})
		shop.Run(t, "REVOKE SELECT (id) ON public.customers FROM "+shop.User)
		pgtest.Equal(t, "missing", shop.missing(t, g), []string{"SELECT (id) ON TABLE public.customers"})
		shop.update(t, g, g)
		hides("when granted again")
		drift, err = SourceDrift(t.Context(), shop.Admin, g)
		if err != nil || len(drift.Missing)+len(drift.Excess) > 0 {
			t.Errorf("drift %v, %v", drift, err)
		}

		// From columns to whole tables and back again.
		whole := shop.grants("public", "billing")
		shop.update(t, g, whole)
		pgtest.Equal(t, "missing of all", shop.missing(t, whole), nil)
		pgtest.Equal(t, "columns of all", shop.columnACLs(t), columnsBefore)
		shop.update(t, whole, g)
		hides("when narrowed")
		alone := g
		alone.Tables, alone.FutureTables, alone.Columns = []relation.TableName{}, false, []TableColumns{{customers, []string{"id"}}}
		shop.update(t, g, alone)
		pgtest.Equal(t, "missing alone", shop.missing(t, alone), nil)
		pgtest.Equal(t, "what is missing else", shop.missing(t, SourceGrants{Database: shop.Name, User: shop.User, Schemas: []string{"public"}, Tables: []relation.TableName{{Schema: "public", Name: "orders"}}}),
			[]string{"SELECT ON TABLE public.orders"})
		shop.revoke(t, alone)
		pgtest.Equal(t, "rights after all", slices.DeleteFunc(shop.ACLs(t), func(right string) bool {
			return strings.Contains(right, "customers_2") || strings.Contains(right, "pg_toast")
		}), before)
		pgtest.Equal(t, "columns after all", shop.columnACLs(t), columnsBefore)

		g.Columns = []TableColumns{{customers, []string{"id", "nonsense"}}, {relation.TableName{Schema: "public", Name: "nowhere"}, []string{"id"}}}
		err = GrantSource(t.Context(), shop.Admin, g)
		if want := "these do not exist: COLUMN nonsense OF TABLE public.customers, TABLE public.nowhere"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	})
}

// For privileges that cannot be revoked because the user has passed them on, the error names
// them, and to whom they were passed on.
func TestRevokePassedOn(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		shop.grant(t, g)
		friend := s.Role(t)
		shop.Run(t, `
			GRANT SELECT ON public.orders TO `+shop.User+` WITH GRANT OPTION;
			GRANT SELECT (id) ON public.open_orders TO `+shop.User+` WITH GRANT OPTION;
			SET ROLE `+shop.User+`;
			GRANT SELECT ON public.orders TO `+friend+`;
			GRANT SELECT (id) ON public.open_orders TO PUBLIC`)
		for what, change := range map[string]func() error{
			"revoke": func() error { return RevokeSource(t.Context(), shop.Admin, g) },
			"update": func() error { return UpdateSource(t.Context(), shop.Admin, g, g) },
		} {
			err := change()
			if err == nil {
				t.Errorf("%s: no error", what)
				continue
			}
			text := pgclient.Explain(err)
			for _, want := range []string{
				"SELECT ON TABLE public.orders to " + friend,
				`SET ROLE "` + shop.User + `";`,
				`REVOKE SELECT ON TABLE "public"."orders" FROM "` + friend + `";`,
				"SELECT (id) ON VIEW public.open_orders to PUBLIC",
				`REVOKE SELECT ("id") ON TABLE "public"."open_orders" FROM PUBLIC;`,
			} {
				if !strings.Contains(text, want) {
					t.Errorf("%s: got %s\nwithout %s", what, text, want)
				}
			}
		}
		shop.Run(t, "SET ROLE "+shop.User+"; REVOKE SELECT ON public.orders FROM "+friend+"; REVOKE SELECT (id) ON public.open_orders FROM PUBLIC")
		shop.revoke(t, g)
	})
}
