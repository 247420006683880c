package privilege

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A resource does not revoke what another resource has granted, whichever entry of the provider
// block reaches the database.
func TestClaims(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.ACLs(t)
		config := pgtest.Superuser(s)
		elsewhere := config
		elsewhere.Host = "localhost"
		entries := pgtest.Servers(t, map[string]pgclient.Config{"one": config, "two": elsewhere})
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
		must(GrantSource(t.Context(), one, old))
		must(GrantSource(t.Context(), two, renamed))
		must(RevokeSource(t.Context(), one, old))
		pgtest.Equal(t, "missing", shop.missing(t, renamed), nil)

		narrow, other := grants("renamed", "public"), grants("other", "billing")
		must(GrantSource(t.Context(), one, other))
		must(UpdateSource(t.Context(), two, renamed, narrow))
		pgtest.Equal(t, "missing of what moved", shop.missing(t, other), nil)

		failing := grants("failing", "public", "nowhere")
		if err := GrantSource(t.Context(), one, failing); err == nil {
			t.Error("granted rights on what does not exist")
		}
		loading := DestinationGrants{Resource: "loading", Database: shop.Name, User: shop.User}
		must(GrantDestination(t.Context(), one, loading))
		must(RevokeSource(t.Context(), two, narrow))
		must(RevokeSource(t.Context(), two, other))
		must(RevokeDestination(t.Context(), one, loading))
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}

// Nor while both changes are in progress, even if another session holds the advisory lock.
func TestClaimsTogether(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	shareRightsLock(t, shop.Server, shop.Name)
	noteLockTimeout(shop.Admin, shop.Name, time.Now()) // no change waits for the lock
	g := shop.grants("public", "billing")
	g.Resource = "0"
	shop.grant(t, g)
	for round := range 10 {
		next := g
		next.Resource = fmt.Sprint(round + 1)
		var both sync.WaitGroup
		var failures [2]error
		both.Go(func() { failures[0] = RevokeSource(t.Context(), shop.Admin, g) })
		both.Go(func() { failures[1] = GrantSource(t.Context(), shop.Admin, next) })
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

// If each run has another login, a login leaves nothing of its own behind: the next login finds
// no drift, and can destroy.
func TestShortLivedAdministrators(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		before := shop.ACLs(t)
		g := shop.grants("public", "billing")
		first, second := s.RoleName(t), s.RoleName(t)
		for _, name := range []string{first, second} {
			s.Exec(t, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN SUPERUSER PASSWORD '%s'", name, s.Password))
		}
		administrator := shop.As(t, first)
		if err := GrantSource(t.Context(), administrator, g); err != nil {
			t.Fatal(err)
		}
		administrator.CloseIdleAs(administrator.Username())
		s.Exec(t, "postgres", "DROP ROLE "+first)
		administrator = shop.As(t, second)
		drift, err := SourceDrift(t.Context(), administrator, g)
		if err != nil || len(drift.Missing)+len(drift.Excess) > 0 {
			t.Errorf("drift %v, %v", drift, err)
		}
		if err := RevokeSource(t.Context(), administrator, g); err != nil {
			t.Error(err)
		}
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}

// The first apply already revokes the user's grant options.
func TestGrantsLeaveNoExcess(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		g := shop.grants("public", "billing")
		loading := DestinationGrants{Database: shop.Name, User: shop.User}
		shop.Run(t, `
			GRANT SELECT ON public.orders TO `+shop.User+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA public TO `+shop.User+` WITH GRANT OPTION;
			GRANT CONNECT, CREATE ON DATABASE `+shop.Name+` TO `+shop.User+` WITH GRANT OPTION;
			ALTER DEFAULT PRIVILEGES FOR ROLE `+shop.Application+` IN SCHEMA billing GRANT SELECT ON TABLES TO `+shop.User+` WITH GRANT OPTION`)
		drift, err := SourceDrift(t.Context(), shop.Admin, g)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "excess", drift.Excess, []string{
			"CONNECT ON DATABASE " + shop.Name + " WITH GRANT OPTION",
			"DEFAULT SELECT ON TABLES IN SCHEMA billing OF " + shop.Application + " WITH GRANT OPTION",
			"SELECT ON TABLE public.orders WITH GRANT OPTION",
			"USAGE ON SCHEMA public WITH GRANT OPTION",
		})
		shop.grant(t, g)
		if err := GrantDestination(t.Context(), shop.Admin, loading); err != nil {
			t.Fatal(err)
		}
		if drift, err = SourceDrift(t.Context(), shop.Admin, g); err != nil || len(drift.Missing)+len(drift.Excess) > 0 {
			t.Errorf("drift %v, %v", drift, err)
		}
		if drift, err = DestinationDrift(t.Context(), shop.Admin, loading); err != nil || len(drift.Missing)+len(drift.Excess) > 0 {
			t.Errorf("drift of the destination's %v, %v", drift, err)
		}
	})
}
