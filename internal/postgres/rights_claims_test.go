package postgres

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What one resource has granted, another one does not take back, by whatever entry of the
// provider block it reaches the database.
func TestClaims(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.acls(t)
		config := superuserOf(s)
		elsewhere := config
		elsewhere.Host = "localhost"
		entries := serversOf(t, map[string]Config{"one": config, "two": elsewhere})
		one, two := entries["one"], entries["two"]
		grants := func(resource string, schemas ...string) SourceGrants {
			g := shop.grants(schemas...)
			g.Resource = resource
			return g
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		old, renamed := grants("old", "public", "billing"), grants("renamed", "public", "billing")
		must(one.GrantSource(t.Context(), old))
		must(two.GrantSource(t.Context(), renamed))
		must(one.RevokeSource(t.Context(), old))
		assertEqual(t, "missing", shop.missing(t, renamed), nil)

		narrow, other := grants("renamed", "public"), grants("other", "billing")
		must(one.GrantSource(t.Context(), other))
		must(two.UpdateSource(t.Context(), renamed, narrow))
		assertEqual(t, "missing of what moved", shop.missing(t, other), nil)

		failing := grants("failing", "public", "nowhere")
		if err := one.GrantSource(t.Context(), failing); err == nil {
			t.Error("granted rights on what does not exist")
		}
		loading := DestinationGrants{Resource: "loading", Database: shop.name, User: shop.user}
		must(one.GrantDestination(t.Context(), loading))
		must(two.RevokeSource(t.Context(), narrow))
		must(two.RevokeSource(t.Context(), other))
		must(one.RevokeDestination(t.Context(), loading))
		assertEqual(t, "rights after all", shop.acls(t), before)
	})
}

// Nor while both are under way, even if others keep the advisory lock.
func TestClaimsTogether(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	keepRightsLock(t, shop.Server, shop.name)
	shop.server.noteRightsLock(shop.name, time.Now()) // no change waits for it
	g := shop.grants("public", "billing")
	g.Resource = "0"
	shop.grant(t, g)
	for round := range 10 {
		next := g
		next.Resource = fmt.Sprint(round + 1)
		var both sync.WaitGroup
		var failures [2]error
		both.Go(func() { failures[0] = shop.server.RevokeSource(t.Context(), g) })
		both.Go(func() { failures[1] = shop.server.GrantSource(t.Context(), next) })
		both.Wait()
		if failures != [2]error{} {
			t.Fatal(failures)
		}
		if missing := shop.missing(t, next); missing != nil {
			t.Fatalf("in round %d, missing %q", round, missing)
		}
		g = next
	}
}

// A login that is another one in each run leaves nothing of its own behind: the next one
// finds no drift, and destroys.
func TestShortLivedAdministrators(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.acls(t)
		g := shop.grants("public", "billing")
		first, second := s.RoleName(t), s.RoleName(t)
		for _, name := range []string{first, second} {
			s.Exec(t, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN SUPERUSER PASSWORD '%s'", name, s.Password))
		}
		administrator := shop.as(t, first)
		if err := administrator.GrantSource(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		administrator.LeaveAs(administrator.Username())
		s.Exec(t, "postgres", "DROP ROLE "+first)
		administrator = shop.as(t, second)
		drift, err := administrator.SourceDrift(t.Context(), g)
		if err != nil || len(drift.Missing)+len(drift.Excess) > 0 {
			t.Errorf("drift %v, %v", drift, err)
		}
		if err := administrator.RevokeSource(t.Context(), g); err != nil {
			t.Error(err)
		}
		assertEqual(t, "rights after all", shop.acls(t), before)
	})
}

// What the user may pass on is taken back by the first apply already.
func TestGrantsLeaveNoExcess(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		loading := DestinationGrants{Database: shop.name, User: shop.user}
		shop.exec(t, `
			GRANT SELECT ON public.orders TO `+shop.user+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA public TO `+shop.user+` WITH GRANT OPTION;
			GRANT CONNECT, CREATE ON DATABASE `+shop.name+` TO `+shop.user+` WITH GRANT OPTION;
			ALTER DEFAULT PRIVILEGES FOR ROLE `+shop.application+` IN SCHEMA billing GRANT SELECT ON TABLES TO `+shop.user+` WITH GRANT OPTION`)
		drift, err := shop.server.SourceDrift(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "excess", drift.Excess, []string{
			"CONNECT ON DATABASE " + shop.name + " WITH GRANT OPTION",
			"DEFAULT SELECT ON TABLES IN SCHEMA billing OF " + shop.application + " WITH GRANT OPTION",
			"SELECT ON TABLE public.orders WITH GRANT OPTION",
			"USAGE ON SCHEMA public WITH GRANT OPTION",
		})
		shop.grant(t, g)
		if err := shop.server.GrantDestination(t.Context(), loading); err != nil {
			t.Fatal(err)
		}
		if drift, err = shop.server.SourceDrift(t.Context(), g); err != nil || len(drift.Missing)+len(drift.Excess) > 0 {
			t.Errorf("drift %v, %v", drift, err)
		}
		if drift, err = shop.server.DestinationDrift(t.Context(), loading); err != nil || len(drift.Missing)+len(drift.Excess) > 0 {
			t.Errorf("drift of the destination's %v, %v", drift, err)
		}
	})
}
