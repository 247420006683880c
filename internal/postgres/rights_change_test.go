package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestUpdateSource(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.acls(t)
		all := shop.grants("public", "billing")
		listed := SourceGrants{
			Database: shop.name, User: shop.user, Schemas: []string{"public"},
			Tables: []TableName{{"public", "orders"}, {"public", "totals"}},
		}
		shop.grant(t, listed)
		ofListed := shop.acls(t)
		shop.update(t, listed, all)
		assertEqual(t, "missing of all", shop.missing(t, all), nil)
		shop.update(t, all, listed)
		assertEqual(t, "rights of listed", shop.acls(t), ofListed)

		fewer := listed
		fewer.Tables = listed.Tables[1:]
		shop.update(t, listed, fewer)
		assertEqual(t, "missing of listed", shop.missing(t, listed), []string{"SELECT ON TABLE public.orders"})
		shop.revoke(t, fewer)
		assertEqual(t, "rights after all", shop.acls(t), before)
	})
}

// Somebody who reads a table while everything around it changes is never refused.
func TestUpdateSourceUnderReader(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		wide := shop.grants("public", "billing")
		narrow := SourceGrants{Database: shop.name, User: shop.user, Schemas: []string{"public"}, Tables: []TableName{{"public", "orders"}}}
		shop.grant(t, wide)

		ctx, cancel := context.WithCancel(t.Context())
		var reads int
		var refusal error
		var reader sync.WaitGroup
		started := make(chan struct{})
		reader.Go(func() {
			conn, err := shop.as(t, shop.user).Acquire(ctx, shop.name)
			if err != nil {
				refusal = err
				close(started)
				return
			}
			defer conn.Discard()
			close(started)
			for ; ctx.Err() == nil && refusal == nil; reads++ {
				// Plans are cached, but rights are looked at with every execution.
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

// Grants of several resources to one user live together, and go one by one.
func TestSourceGrantsTogether(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.acls(t)
		one := SourceGrants{Database: shop.name, User: shop.user, Schemas: []string{"public"}, Tables: []TableName{{"public", "orders"}}}
		two := SourceGrants{Database: shop.name, User: shop.user, Schemas: []string{"public"}, Tables: []TableName{{"public", "totals"}}}
		three := shop.grants("billing")
		loading := DestinationGrants{Database: shop.name, User: shop.user}

		shop.grant(t, one)
		shop.grant(t, two)
		shop.grant(t, three)
		if err := shop.server.GrantDestination(t.Context(), loading); err != nil {
			t.Fatal(err)
		}
		shop.revoke(t, one)
		assertEqual(t, "missing of two", shop.missing(t, two), nil)
		shop.revoke(t, two)
		assertEqual(t, "missing of three", shop.missing(t, three), nil)
		shop.revoke(t, three)
		drift, err := shop.server.DestinationDrift(t.Context(), loading)
		if err != nil {
			t.Error(err)
		}
		assertEqual(t, "missing of loading", drift.Missing, nil)

		shop.grant(t, three)
		if err := shop.server.RevokeDestination(t.Context(), loading); err != nil {
			t.Error(err)
		}
		assertEqual(t, "missing of three", shop.missing(t, three), nil)
		shop.revoke(t, three)
		assertEqual(t, "rights after all", shop.acls(t), before)
	})
}

// Two Terraforms with ten operations each, on the same objects.
func TestRightsChangedConcurrently(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) { testRightsChangedConcurrently(t, s, false) })
}

// The same while another session holds the lock by which they take turns.
func TestRightsChangedWithoutTurns(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) { testRightsChangedConcurrently(t, s, true) })
}

func testRightsChangedConcurrently(t *testing.T, s *sandbox.Server, kept bool) {
	t.Helper()
	shop := newShop(t, s)
	if kept {
		keepRightsLock(t, s, shop.name)
	}
	users := make([]string, 10)
	for i := range users {
		users[i] = s.Role(t)
	}
	before := shop.acls(t)
	config := superuserOf(s)
	config.MaxConnections = 4
	each := func(change func(server *Server, user string) error) {
		t.Helper()
		var all sync.WaitGroup
		for range 2 {
			server := serverOf(t, config)
			if kept {
				server.noteRightsLock(shop.name, time.Now()) // no change waits for it
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
		return SourceGrants{Database: shop.name, User: user, Schemas: []string{"public", "billing"}, FutureTables: true}
	}
	each(func(server *Server, user string) error { return server.GrantSource(t.Context(), grants(user)) })
	each(func(server *Server, user string) error {
		return server.GrantDestination(t.Context(), DestinationGrants{Database: shop.name, User: user, SystemCatalogs: true})
	})
	for _, user := range users {
		g := grants(user)
		assertEqual(t, "missing", shop.missing(t, g), nil)
	}
	each(func(server *Server, user string) error { return server.RevokeSource(t.Context(), grants(user)) })
	each(func(server *Server, user string) error {
		return server.RevokeDestination(t.Context(), DestinationGrants{Database: shop.name, User: user, SystemCatalogs: true})
	})
	assertEqual(t, "rights after all", shop.acls(t), before)
}

// What others grant on the same objects at the same time, without our lock.
func TestRightsChangedBesideOthers(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		other := s.Role(t)
		before := shop.acls(t)
		ctx, cancel := context.WithCancel(t.Context())
		var others sync.WaitGroup
		others.Go(func() {
			conn, err := serverOf(t, superuserOf(s)).Acquire(ctx, "postgres")
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Discard()
			for ctx.Err() == nil {
				for _, sql := range []string{"GRANT CREATE ON DATABASE %s TO %s", "REVOKE CREATE ON DATABASE %s FROM %s"} {
					for {
						_, err := conn.Exec(context.WithoutCancel(ctx), fmt.Sprintf(sql, shop.name, other))
						if err == nil {
							break
						}
						if Code(err) != "XX000" {
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
		assertEqual(t, "rights after all", shop.acls(t), before)
	})
}

// An administrator takes back what another granted: in PostgreSQL, a REVOKE
// concerns what one grantor gave.
func TestRevokeSourceOfAnotherGrantor(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		manager, delegate := s.Role(t), s.Role(t)
		shop.exec(t, `
			GRANT `+shop.application+` TO `+manager+`;
			GRANT CONNECT ON DATABASE `+shop.name+` TO `+manager+`, `+delegate+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA billing TO `+delegate+` WITH GRANT OPTION;
			GRANT SELECT ON ALL TABLES IN SCHEMA billing TO `+delegate+` WITH GRANT OPTION`)
		before := shop.acls(t)
		g := shop.grants("billing")
		g.FutureTables = false
		superuser := shop.server
		for name, test := range map[string]struct{ granter, revoker *Server }{
			"a member of the owner, the superuser": {shop.as(t, manager), superuser},
			"who may grant, the superuser":         {shop.as(t, delegate), superuser},
			"who may grant, the same":              {shop.as(t, delegate), shop.as(t, delegate)},
		} {
			t.Run(name, func(t *testing.T) {
				if err := test.granter.GrantSource(t.Context(), g); err != nil {
					t.Fatal(err)
				}
				assertEqual(t, "missing", shop.missing(t, g), nil)
				if err := test.revoker.RevokeSource(t.Context(), g); err != nil {
					t.Fatal(err)
				}
				assertEqual(t, "rights after all", shop.acls(t), before)
			})
		}

		t.Run("the superuser, a member of the owner", func(t *testing.T) {
			shop.grant(t, g) // CONNECT comes from the database's owner, whom the member cannot act for
			err := shop.as(t, manager).RevokeSource(t.Context(), g)
			want := `REVOKE CONNECT ON DATABASE "` + shop.name + `" FROM "` + shop.user + `"`
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "billing") {
				t.Errorf("got %v\nwant %s", err, want)
			}
			assertEqual(t, "missing after a revoke that failed", shop.missing(t, g), nil)

			shop.exec(t, "GRANT "+s.Username+" TO "+manager) // now it can
			defer shop.exec(t, "REVOKE "+s.Username+" FROM "+manager)
			if err := shop.as(t, manager).RevokeSource(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			assertEqual(t, "rights after all", shop.acls(t), before)
		})
	})
}

// What the login may not do is said, in SQL, before anything is changed.
func TestGrantSourceNotAllowed(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		manager := s.Role(t) // owns the database and one schema, but nothing of the application's
		shop.exec(t, `
			ALTER DATABASE `+shop.name+` OWNER TO `+manager+`;
			ALTER SCHEMA billing OWNER TO `+manager+`;
			GRANT USAGE ON SCHEMA public TO PUBLIC;
			CREATE TABLE billing.own (id int);
			ALTER TABLE billing.own OWNER TO `+manager)
		before := shop.versions(t)
		server := shop.as(t, manager)
		g := shop.grants("public", "billing")
		err := server.GrantSource(t.Context(), g)
		var forbidden *forbiddenError
		if !errors.As(err, &forbidden) {
			t.Fatal(err)
		}
		to := ` TO "` + shop.user + `"`
		want := []string{
			`GRANT SELECT ON TABLE "billing"."payments", "billing"."payments_1", "public"."open_orders", "public"."orders", "public"."remote", "public"."totals"` + to,
			`ALTER DEFAULT PRIVILEGES FOR ROLE "` + s.Username + `" IN SCHEMA "public" GRANT SELECT ON TABLES` + to,
			`ALTER DEFAULT PRIVILEGES FOR ROLE "` + shop.application + `" IN SCHEMA "billing" GRANT SELECT ON TABLES` + to,
		}
		slices.Sort(want)
		slices.Sort(forbidden.statements)
		assertEqual(t, "statements for somebody else", forbidden.statements, want)
		assertEqual(t, "what that touched", shop.versions(t), before)

		// When somebody else has run them, the rest works.
		for _, sql := range forbidden.statements {
			shop.exec(t, sql)
		}
		if err := server.GrantSource(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		drift, err := server.SourceDrift(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing", drift.Missing, nil)

		// To take it back takes somebody else again.
		err = server.RevokeSource(t.Context(), g)
		if !errors.As(err, &forbidden) {
			t.Fatal(err)
		}
		assertEqual(t, "missing after a revoke that failed", shop.missing(t, SourceGrants{
			Database: g.Database, User: g.User, Schemas: g.Schemas,
		}), nil)
	})
}
