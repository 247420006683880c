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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// keepRightsLock makes two sessions of a role that can only connect hold the lock by
// which changes take turns, and returns the description of one of them.
func keepRightsLock(t *testing.T, s *sandbox.Server, database string) string {
	t.Helper()
	role := s.Role(t)
	s.Exec(t, database, "GRANT CONNECT ON DATABASE "+database+" TO "+role)
	session := ""
	for range 2 {
		conn, err := pgx.Connect(t.Context(), s.URLAs(role, database))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		if _, err := conn.Exec(t.Context(), "SELECT pg_catalog.pg_advisory_lock_shared($1, $2)", rightsLockClass, rightsLockKey); err != nil {
			t.Fatal(err)
		}
		session = fmt.Sprintf("pid %d (user %s, idle)", conn.PgConn().PID(), role)
	}
	return session
}

// Every login that can connect can hold the lock by which changes take turns. A change
// then waits for a while, names the session in a warning, and is made; the next
// changes do not wait.
func TestRightsLockKept(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	holder := keepRightsLock(t, shop.Server, shop.name)
	var warnings []Warning
	server := shop.server.Warning(func(w Warning) { warnings = append(warnings, w) })
	g := shop.grants("public", "billing")

	began := time.Now()
	if err := server.GrantSource(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < courtesy || waited > 2*courtesy {
		t.Errorf("waited %v", waited)
	}
	began = time.Now()
	if err := server.changeRights(t.Context(), shop.name, func(pgx.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := server.RevokeSource(t.Context(), g); err != nil {
		t.Error(err)
	}
	if waited := time.Since(began); waited > courtesy {
		t.Errorf("waited %v again", waited)
	}
	if len(warnings) != 3 || slices.ContainsFunc(warnings, func(w Warning) bool { return !strings.Contains(w.Detail, holder) }) {
		t.Errorf("got %v\nwant three that name %s", warnings, holder)
	}
}

// Two sessions that revoke at the same time each see the grants that the other one is
// about to revoke. CONNECT and USAGE, which these need, are revoked nevertheless.
func TestRightsRevokedTogether(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	keepRightsLock(t, shop.Server, shop.name)
	shop.server.noteRightsLock(shop.name, time.Now()) // no change waits for it
	before := shop.acls(t)
	schemas := []string{"public", "billing", "secret"}
	for range 10 {
		server := serverOf(t, superuserOf(shop.Server))
		server.noteRightsLock(shop.name, time.Now())
		revoke := []func() error{func() error {
			return server.RevokeDestination(t.Context(), DestinationGrants{Database: shop.name, User: shop.user})
		}}
		for _, schema := range schemas {
			shop.grant(t, shop.grants(schema))
			revoke = append(revoke, func() error { return server.RevokeSource(t.Context(), shop.grants(schema)) })
		}
		if err := shop.server.GrantDestination(t.Context(), DestinationGrants{Database: shop.name, User: shop.user}); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, f := range revoke {
			all.Go(func() {
				if err := f(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		assertEqual(t, "rights after all", shop.acls(t), before)
	}
}

// The warning says that a change was made: it does not come with one that failed, nor
// with one that took its turn in the end.
func TestRightsLockWarningIsTrue(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	holder, err := pgx.Connect(t.Context(), shop.URL(shop.name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close(context.Background()) }()
	attempts, refused := 0, &pgconn.PgError{Code: "42501"}
	for name, tt := range map[string]struct {
		change func(pgx.Tx) error
		err    error
	}{
		"it fails": {func(pgx.Tx) error { return refused }, refused},
		"it takes its turn after all": {func(pgx.Tx) error {
			if attempts++; attempts > 1 {
				return nil
			}
			_, err := holder.Exec(t.Context(), "SELECT pg_catalog.pg_advisory_unlock_all()")
			return errors.Join(err, &pgconn.PgError{Code: "40001"})
		}, nil},
	} {
		if _, err := holder.Exec(t.Context(), "SELECT pg_catalog.pg_advisory_lock($1, $2)", rightsLockClass, rightsLockKey); err != nil {
			t.Fatal(err)
		}
		shop.server.noteRightsLock(shop.name, time.Now()) // the change does not wait for it
		server := shop.server.Warning(func(w Warning) { t.Errorf("%s: %s", name, w.Detail) })
		if err := server.changeRights(t.Context(), shop.name, tt.change); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := holder.Exec(t.Context(), "SELECT pg_catalog.pg_advisory_unlock_all()"); err != nil {
			t.Fatal(err)
		}
	}
}

// When the lock is free again, changes take turns again.
func TestRightsLockReturns(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	shop.server.noteRightsLock(shop.name, time.Now())
	warned := false
	server := shop.server.Warning(func(Warning) { warned = true })
	if err := server.GrantSource(t.Context(), shop.grants("public")); err != nil {
		t.Error(err)
	}
	if warned || shop.server.rightsLockIsKept(shop.name) {
		t.Errorf("warned %v, and does not wait the next time", warned)
	}
}
