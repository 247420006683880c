package privilege

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestUpdateSource(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.ACLs(t)
		all := shop.grants("public", "billing")
		listed := SourceGrants{
			Database: shop.Name, User: shop.User, Schemas: []string{"public"},
			Tables: []relation.TableName{{Schema: "public", Name: "orders"}, {Schema: "public", Name: "totals"}},
		}
		shop.grant(t, listed)
		ofListed := shop.ACLs(t)
		shop.update(t, listed, all)
		pgtest.Equal(t, "missing of all", shop.missing(t, all), nil)
		shop.update(t, all, listed)
		pgtest.Equal(t, "rights of listed", shop.ACLs(t), ofListed)

		fewer := listed
		fewer.Tables = listed.Tables[1:]
		shop.update(t, listed, fewer)
		pgtest.Equal(t, "missing of listed", shop.missing(t, listed), []string{"SELECT ON TABLE public.orders"})
		shop.revoke(t, fewer)
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}

// A session that reads a table while everything around the table changes is never refused.
func TestUpdateSourceUnderReader(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		wide := shop.grants("public", "billing")
		narrow := SourceGrants{Database: shop.Name, User: shop.User, Schemas: []string{"public"}, Tables: []relation.TableName{{Schema: "public", Name: "orders"}}}
		shop.grant(t, wide)

		ctx, cancel := context.WithCancel(t.Context())
		var reads int
		var refusal error
		var reader sync.WaitGroup
		started := make(chan struct{})
		reader.Go(func() {
			conn, err := shop.As(t, shop.User).Acquire(ctx, shop.Name)
			if err != nil {
				refusal = err
				close(started)
				return
			}
			defer conn.Discard()
			close(started)
			for ; ctx.Err() == nil && refusal == nil; reads++ {
				// Plans are cached, but privileges are checked at every execution.
				_, refusal = conn.Exec(context.WithoutCancel(ctx), "SELECT * FROM public.orders")
			}
		})
		<-started
		for range 10 {
			shop.update(t, wide, narrow)
			shop.update(t, narrow, wide)
		}
		cancel()
		reader.Wait()
		if refusal != nil || reads == 0 {
			t.Errorf("after %d reads: %v", reads, refusal)
		}
	})
}

// Grants of several resources to one user coexist, and are revoked one by one.
func TestSourceGrantsTogether(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.ACLs(t)
		one := SourceGrants{Database: shop.Name, User: shop.User, Schemas: []string{"public"}, Tables: []relation.TableName{{Schema: "public", Name: "orders"}}}
		two := SourceGrants{Database: shop.Name, User: shop.User, Schemas: []string{"public"}, Tables: []relation.TableName{{Schema: "public", Name: "totals"}}}
		three := shop.grants("billing")
		loading := DestinationGrants{Database: shop.Name, User: shop.User}

		shop.grant(t, one)
		shop.grant(t, two)
		shop.grant(t, three)
		if err := GrantDestination(t.Context(), shop.Admin, loading); err != nil {
			t.Fatal(err)
		}
		shop.revoke(t, one)
		pgtest.Equal(t, "missing of two", shop.missing(t, two), nil)
		shop.revoke(t, two)
		pgtest.Equal(t, "missing of three", shop.missing(t, three), nil)
		shop.revoke(t, three)
		drift, err := DestinationDrift(t.Context(), shop.Admin, loading)
		if err != nil {
			t.Error(err)
		}
		pgtest.Equal(t, "missing of loading", drift.Missing, nil)

		shop.grant(t, three)
		if err := RevokeDestination(t.Context(), shop.Admin, loading); err != nil {
			t.Error(err)
		}
		pgtest.Equal(t, "missing of three", shop.missing(t, three), nil)
		shop.revoke(t, three)
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}

// Two Terraforms with ten operations each change the same objects.
func TestRightsChangedConcurrently(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) { testRightsChangedConcurrently(t, s, false) })
}

// The same while another session holds the lock by which changes take turns.
func TestRightsChangedWithoutTurns(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) { testRightsChangedConcurrently(t, s, true) })
}

func testRightsChangedConcurrently(t *testing.T, s *sandbox.Server, kept bool) {
	t.Helper()
	shop := newShop(t, s)
	if kept {
		shareRightsLock(t, s, shop.Name)
	}
	users := make([]string, 10)
	for i := range users {
		users[i] = s.Role(t)
	}
	before := shop.ACLs(t)
	config := pgtest.Superuser(s)
	config.MaxConnections = 4
	each := func(change func(server *pgclient.Server, user string) error) {
		t.Helper()
		var all sync.WaitGroup
		for range 2 {
			server := pgtest.Server(t, config)
			if kept {
				noteLockTimeout(server, shop.Name, time.Now()) // no change waits for the lock
			}
			for _, user := range users {
				all.Go(func() {
					if err := change(server, user); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
	}
	grants := func(user string) SourceGrants {
		return SourceGrants{Database: shop.Name, User: user, Schemas: []string{"public", "billing"}, FutureTables: true}
	}
	each(func(server *pgclient.Server, user string) error {
		return GrantSource(t.Context(), server, grants(user))
	})
	each(func(server *pgclient.Server, user string) error {
		return GrantDestination(t.Context(), server, DestinationGrants{Database: shop.Name, User: user, SystemCatalogs: true})
	})
	for _, user := range users {
		g := grants(user)
		pgtest.Equal(t, "missing", shop.missing(t, g), nil)
	}
	each(func(server *pgclient.Server, user string) error {
		return RevokeSource(t.Context(), server, grants(user))
	})
	each(func(server *pgclient.Server, user string) error {
		return RevokeDestination(t.Context(), server, DestinationGrants{Database: shop.Name, User: user, SystemCatalogs: true})
	})
	pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
}

// Other clients grant on the same objects at the same time, without our lock.
func TestRightsChangedBesideOthers(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		other := s.Role(t)
		before := shop.ACLs(t)
		ctx, cancel := context.WithCancel(t.Context())
		var others sync.WaitGroup
		others.Go(func() {
			conn, err := pgtest.Server(t, pgtest.Superuser(s)).Acquire(ctx, "postgres")
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Discard()
			for ctx.Err() == nil {
				for _, sql := range []string{"GRANT CREATE ON DATABASE %s TO %s", "REVOKE CREATE ON DATABASE %s FROM %s"} {
					for {
						_, err := conn.Exec(context.WithoutCancel(ctx), fmt.Sprintf(sql, shop.Name, other))
						if err == nil {
							break
						}
						if pgclient.Code(err) != "XX000" {
							t.Error(err)
							return
						}
					}
				}
				time.Sleep(time.Millisecond)
			}
		})
		g := shop.grants("public", "billing")
		for range 20 {
			shop.grant(t, g)
			shop.revoke(t, g)
		}
		cancel()
		others.Wait()
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}

// An administrator revokes what another role granted: in PostgreSQL, a REVOKE affects the grants
// of one grantor.
func TestRevokeSourceOfAnotherGrantor(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		manager, delegate := s.Role(t), s.Role(t)
		shop.Run(t, `
			GRANT `+shop.Application+` TO `+manager+`;
			GRANT CONNECT ON DATABASE `+shop.Name+` TO `+manager+`, `+delegate+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA billing TO `+delegate+` WITH GRANT OPTION;
			GRANT SELECT ON ALL TABLES IN SCHEMA billing TO `+delegate+` WITH GRANT OPTION`)
		before := shop.ACLs(t)
		g := shop.grants("billing")
		g.FutureTables = false
		superuser := shop.Admin
		for name, test := range map[string]struct{ granter, revoker *pgclient.Server }{
			"a member of the owner, the superuser": {shop.As(t, manager), superuser},
			"who may grant, the superuser":         {shop.As(t, delegate), superuser},
			"who may grant, the same":              {shop.As(t, delegate), shop.As(t, delegate)},
		} {
			t.Run(name, func(t *testing.T) {
				if err := GrantSource(t.Context(), test.granter, g); err != nil {
					t.Fatal(err)
				}
				pgtest.Equal(t, "missing", shop.missing(t, g), nil)
				if err := RevokeSource(t.Context(), test.revoker, g); err != nil {
					t.Fatal(err)
				}
				pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
			})
		}

		t.Run("the superuser, a member of the owner", func(t *testing.T) {
			shop.grant(t, g) // CONNECT comes from the database's owner, whom the member cannot act as
			err := RevokeSource(t.Context(), shop.As(t, manager), g)
			want := `REVOKE CONNECT ON DATABASE "` + shop.Name + `" FROM "` + shop.User + `"`
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "billing") {
				t.Errorf("got %v\nwant %s", err, want)
			}
			pgtest.Equal(t, "missing after a revoke that failed", shop.missing(t, g), nil)

			shop.Run(t, "GRANT "+s.Username+" TO "+manager) // now it can
			defer shop.Run(t, "REVOKE "+s.Username+" FROM "+manager)
			if err := RevokeSource(t.Context(), shop.As(t, manager), g); err != nil {
				t.Fatal(err)
			}
			pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
		})
	})
}

// What the login may not do is reported, as SQL, before anything is changed.
func TestGrantSourceNotAllowed(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		manager := s.Role(t) // owns the database and one schema, but no objects of the application
		shop.Run(t, `
			ALTER DATABASE `+shop.Name+` OWNER TO `+manager+`;
			ALTER SCHEMA billing OWNER TO `+manager+`;
			GRANT USAGE ON SCHEMA public TO PUBLIC;
			CREATE TABLE billing.own (id int);
			ALTER TABLE billing.own OWNER TO `+manager)
		before := shop.Versions(t)
		server := shop.As(t, manager)
		g := shop.grants("public", "billing")
		err := GrantSource(t.Context(), server, g)
		var forbidden *forbiddenError
		if !errors.As(err, &forbidden) {
			t.Fatal(err)
		}
		to := ` TO "` + shop.User + `"`
		want := []string{
			`GRANT SELECT ON TABLE "billing"."payments", "billing"."payments_1", "public"."open_orders", "public"."orders", "public"."remote", "public"."totals"` + to,
			`ALTER DEFAULT PRIVILEGES FOR ROLE "` + s.Username + `" IN SCHEMA "public" GRANT SELECT ON TABLES` + to,
			`ALTER DEFAULT PRIVILEGES FOR ROLE "` + shop.Application + `" IN SCHEMA "billing" GRANT SELECT ON TABLES` + to,
		}
		slices.Sort(want)
		slices.Sort(forbidden.statements)
		pgtest.Equal(t, "statements for somebody else", forbidden.statements, want)
		pgtest.Equal(t, "what that touched", shop.Versions(t), before)

		// After another role has run the statements, the rest works.
		for _, sql := range forbidden.statements {
			shop.Run(t, sql)
		}
		if err := GrantSource(t.Context(), server, g); err != nil {
			t.Fatal(err)
		}
		drift, err := SourceDrift(t.Context(), server, g)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing", drift.Missing, nil)

		// Another role must revoke them, too.
		err = RevokeSource(t.Context(), server, g)
		if !errors.As(err, &forbidden) {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing after a revoke that failed", shop.missing(t, SourceGrants{
			Database: g.Database, User: g.User, Schemas: g.Schemas,
		}), nil)
	})
}
