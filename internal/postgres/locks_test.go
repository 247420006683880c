package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestIsInterference(t *testing.T) {
	tests := map[string]struct {
		err  error
		want bool
	}{
		"none":                 {nil, false},
		"no answer":            {errors.New("broken pipe"), false},
		"two changed a row":    {&pgconn.PgError{Code: "XX000", Message: "tuple concurrently updated"}, true},
		"one dropped it":       {&pgconn.PgError{Code: "XX000", Message: "tuple concurrently deleted"}, true},
		"default privileges":   {&pgconn.PgError{Code: "XX000", Message: "could not find tuple for default ACL 16424"}, true},
		"another internal one": {&pgconn.PgError{Code: "XX000", Message: "cache lookup failed"}, false},
		"deadlock":             {fmt.Errorf("grant: %w", &pgconn.PgError{Code: "40P01"}), true},
		"a table vanished":     {&pgconn.PgError{Code: "42P01"}, true},
		"a role vanished":      {&pgconn.PgError{Code: "42704"}, true},
		"a lock":               {&pgconn.PgError{Code: "55P03"}, false},
		"not allowed":          {&pgconn.PgError{Code: "42501"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := IsInterference(test.err); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// A wait for somebody's lock ends, and the error says whose it is.
func TestRightsLockTimeout(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Shared(t, 0))
	conn, err := shop.server.Acquire(t.Context(), shop.name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Discard()
	if _, err := conn.Exec(t.Context(), "SET application_name = 'nightly job'; BEGIN; ALTER TABLE public.orders ADD COLUMN more text"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = shop.server.GrantSource(t.Context(), shop.grants("public"))
	if Code(err) != "55P03" {
		t.Fatalf("got %v, want a lock timeout", err)
	}
	if waited := time.Since(began); waited < lockTimeout || waited > 3*lockTimeout {
		t.Errorf("waited %v", waited)
	}
	if want := fmt.Sprintf("pid %d (user postgres, application 'nightly job', idle in transaction)", conn.PgConn().PID()); !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// So does a wait for somebody who changes the same role, in whatever database,
// or grants something to it.
func TestUserLockTimeout(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	server, database := serverOf(t, superuserOf(s)), s.Database(t)
	for sql, change := range map[string]func(name string) error{
		"ALTER ROLE %s CONNECTION LIMIT 3": func(name string) error {
			_, err := server.UpdateUser(t.Context(), User{Name: name, Login: true, ConnectionLimit: 4}, nil)
			return err
		},
		"GRANT CREATE ON SCHEMA public TO %s": func(name string) error {
			return server.DropUser(t.Context(), name, DropOptions{})
		},
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			name := createUser(t, server, s)
			holder, err := pgx.Connect(t.Context(), s.URL(database))
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Close(t.Context())
			if _, err := holder.Exec(t.Context(), "BEGIN; "+fmt.Sprintf(sql, name)); err != nil {
				t.Fatal(err)
			}
			failure := make(chan error, 1)
			go func() { failure <- change(name) }()
			select {
			case err = <-failure:
			case <-time.After(3 * lockTimeout):
				t.Fatal("it waits without end")
			}
			if want := fmt.Sprintf("pid %d (user postgres, idle in transaction, database %s)", holder.PgConn().PID(), database); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}
