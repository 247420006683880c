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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// shareRightsLock makes two sessions of a role that can only connect hold the lock by
// which changes take turns, and returns the description of one of them.
func shareRightsLock(t *testing.T, s *sandbox.Server, database string) string {
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

// Every login that can connect can hold the lock by which changes take turns. A change then
// waits for a while, names the session in a warning, and is made; the next changes do not wait.
func TestRightsLockKept(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	holder := shareRightsLock(t, shop.Server, shop.Name)
	var warnings []pgclient.Warning
	server := shop.Admin.Warning(func(w pgclient.Warning) { warnings = append(warnings, w) })
	g := shop.grants("public", "billing")

	began := time.Now()
	if err := GrantSource(t.Context(), server, g); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < advisoryLockTimeout || waited > 2*advisoryLockTimeout {
		t.Errorf("waited %v", waited)
	}
	began = time.Now()
	if err := ChangeRights(t.Context(), server, shop.Name, func(pgx.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := RevokeSource(t.Context(), server, g); err != nil {
		t.Error(err)
	}
	if waited := time.Since(began); waited > advisoryLockTimeout {
		t.Errorf("waited %v again", waited)
	}
	if len(warnings) != 3 || slices.ContainsFunc(warnings, func(w pgclient.Warning) bool { return !strings.Contains(w.Detail, holder) }) {
		t.Errorf("got %v\nwant three that name %s", warnings, holder)
	}
}

// Two sessions that revoke at the same time each see the grants that the other session is about
// to revoke. CONNECT and USAGE, which these grants need, are revoked nevertheless.
func TestRightsRevokedTogether(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	shareRightsLock(t, shop.Server, shop.Name)
	noteLockTimeout(shop.Admin, shop.Name, time.Now()) // no change waits for the lock
	before := shop.ACLs(t)
	schemas := []string{"public", "billing", "secret"}
	for range 10 {
		server := pgtest.Server(t, pgtest.Superuser(shop.Server))
		noteLockTimeout(server, shop.Name, time.Now())
		revoke := []func() error{func() error {
			return RevokeDestination(t.Context(), server, DestinationGrants{Database: shop.Name, User: shop.User})
		}}
		for _, schema := range schemas {
			shop.grant(t, shop.grants(schema))
			revoke = append(revoke, func() error { return RevokeSource(t.Context(), server, shop.grants(schema)) })
		}
		if err := GrantDestination(t.Context(), shop.Admin, DestinationGrants{Database: shop.Name, User: shop.User}); err != nil {
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
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	}
}

// The warning says that a change was made: no warning comes with a change that failed, or with
// one that took its turn in the end.
func TestRightsLockWarningIsTrue(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	holder, err := pgx.Connect(t.Context(), shop.URL(shop.Name))
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
		noteLockTimeout(shop.Admin, shop.Name, time.Now()) // the change does not wait for the lock
		server := shop.Admin.Warning(func(w pgclient.Warning) { t.Errorf("%s: %s", name, w.Detail) })
		if err := ChangeRights(t.Context(), server, shop.Name, tt.change); !errors.Is(err, tt.err) {
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
	noteLockTimeout(shop.Admin, shop.Name, time.Now())
	warned := false
	server := shop.Admin.Warning(func(pgclient.Warning) { warned = true })
	if err := GrantSource(t.Context(), server, shop.grants("public")); err != nil {
		t.Error(err)
	}
	if warned || rightsLockTimedOut(shop.Admin, shop.Name) {
		t.Errorf("warned %v, and does not wait the next time", warned)
	}
}

// A wait for another session's lock ends, and the error names the session.
func TestRightsLockTimeout(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	conn, err := shop.Admin.Acquire(t.Context(), shop.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Discard()
	if _, err := conn.Exec(t.Context(), "SET application_name = 'nightly job'; BEGIN; ALTER TABLE public.orders ADD COLUMN more text"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = GrantSource(t.Context(), shop.Admin, shop.grants("public"))
	if pgclient.Code(err) != pgclient.LockNotAvailable {
		t.Fatalf("got %v, want a lock timeout", err)
	}
	if waited := time.Since(began); waited < 10*time.Second || waited > 30*time.Second {
		t.Errorf("waited %v", waited)
	}
	if want := fmt.Sprintf("pid %d (user postgres, application 'nightly job', idle in transaction)", conn.PgConn().PID()); !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// Grants are refused before anything is changed.
func TestGrantThroughTransactionPool(t *testing.T) {
	s := sandbox.Shared(t, 0)
	shop := newShop(t, s)
	before := shop.Versions(t)
	admin := pgtest.Server(t, pgtest.Pooled(t, s, "transaction", s.Username))
	var refused *pgclient.PoolingError
	err := GrantSource(t.Context(), admin, shop.grants("public"))
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "pool_mode = session") {
		t.Errorf("got %v", err)
	}
	pgtest.Equal(t, "rights", shop.Versions(t), before)
	through := pgtest.Server(t, pgtest.Pooled(t, s, "session", s.Username))
	if err := GrantSource(t.Context(), through, shop.grants("public")); err != nil {
		t.Error(err)
	}
}
