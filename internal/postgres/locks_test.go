package postgres

import (
	"context"
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
		"a lock":               {&pgconn.PgError{Code: LockNotAvailable}, false},
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

func TestAttempts(t *testing.T) {
	locked := &pgconn.PgError{Code: LockNotAvailable}
	interfered := &pgconn.PgError{Code: "XX000", Message: "tuple concurrently updated"}
	vanished := &pgconn.PgError{Code: "42704"}
	for name, test := range map[string]struct {
		err  error
		c    contention
		made int
		last time.Duration // the longest pause
	}{
		"success":        {nil, contention{}, 1, 0},
		"another error":  {&pgconn.PgError{Code: "42501"}, contention{}, 1, 0},
		"a lock":         {locked, contention{}, lockAttempts, lockPause},
		"a schema":       {locked, contention{attempts: dropLockAttempts}, dropLockAttempts, lockPause},
		"interference":   {interfered, contention{}, interferedAttempts, longestPause},
		"what is absent": {vanished, contention{}, vanishedAttempts, shortestPause * 16},
	} {
		t.Run(name, func(t *testing.T) {
			var a attempts
			made, last := 0, time.Duration(0)
			for again := true; again; made++ {
				if made > 0 {
					last = a.pause()
				}
				a, again = a.after(test.err, test.c)
			}
			if made != test.made || last != test.last {
				t.Errorf("%d attempts, the last after %v; want %d after %v", made, last, test.made, test.last)
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
	if Code(err) != LockNotAvailable {
		t.Fatalf("got %v, want a lock timeout", err)
	}
	if waited := time.Since(began); waited < 10*time.Second || waited > 30*time.Second {
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
			case <-time.After(30 * time.Second):
				t.Fatal("it waits without end")
			}
			if want := fmt.Sprintf("pid %d (user postgres, idle in transaction, database %s)", holder.PgConn().PID(), database); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}

// A session with an uncommitted comment on a database blocks dropping and copying it.
// Both waits end, and their sessions keep no setting.
func TestDatabaseLockTimeout(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	config := superuserOf(s)
	config.MaxConnections = 1
	for name, act := range map[string]func(server *Server, locked string) error{
		"drop": func(server *Server, locked string) error {
			return server.DropDatabase(t.Context(), locked, DatabaseDrop{})
		},
		"copy": func(server *Server, locked string) error {
			_, err := server.CreateDatabase(t.Context(), Database{Name: s.DatabaseName(t), ConnectionLimit: -1}, locked)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, locked := serverOf(t, config), s.Database(t)
			holder, err := pgx.Connect(t.Context(), s.URL("postgres"))
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Close(t.Context())
			if _, err := holder.Exec(t.Context(), "BEGIN; COMMENT ON DATABASE "+locked+" IS 'held'"); err != nil {
				t.Fatal(err)
			}
			failure := make(chan error, 1)
			go func() { failure <- act(server, locked) }()
			select {
			case err = <-failure:
			case <-time.After(30 * time.Second):
				t.Fatal("it waits without end")
			}
			if want := fmt.Sprintf("pid %d (user postgres, idle in transaction)", holder.PgConn().PID()); Code(err) != LockNotAvailable || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v\nwant %s", err, want)
			}
			conn, err := server.Acquire(t.Context(), "postgres")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			var timeout string
			if err := conn.QueryRow(t.Context(), "SHOW lock_timeout").Scan(&timeout); err != nil || timeout != "0" {
				t.Errorf("the session keeps lock_timeout = %s (%v)", timeout, err)
			}
		})
	}
}

// While a session reads a table, dropping the schema of that table makes other readers
// wait only briefly, and succeeds when the session has ended its transaction.
func TestDropSchemaInUse(t *testing.T) {
	t.Parallel()
	shop := NewShop(t, sandbox.Shared(t, 0))
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), shop.URL(shop.name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	holder, reader := connect(), connect()
	if _, err := holder.Exec(t.Context(), "BEGIN; SELECT FROM billing.payments"); err != nil {
		t.Fatal(err)
	}
	dropped := make(chan error, 1)
	go func() { dropped <- shop.server.DropSchema(t.Context(), shop.name, "billing", true) }()
	for waiting := false; !waiting; { // for the drop to queue up
		err := reader.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'billing.payments'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted)`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if _, err := reader.Exec(t.Context(), "SELECT FROM billing.payments"); err != nil {
		t.Error(err)
	}
	if waited := time.Since(began); waited > 2*lockTimeout {
		t.Errorf("a reader waited %v behind the drop", waited)
	}
	failure := shop.server.nameHolders(t.Context(), shop.name, contention{schema: "billing"}, &pgconn.PgError{Code: LockNotAvailable})
	if want := fmt.Sprintf("sessions that may hold it are pid %d (user postgres, idle in transaction)", holder.PgConn().PID()); !strings.Contains(failure.Error(), want) {
		t.Errorf("got %v\nwant %s", failure, want)
	}
	failure = shop.server.nameHolders(t.Context(), shop.name, contention{owner: shop.application}, &pgconn.PgError{Code: LockNotAvailable})
	if want := fmt.Sprintf("pid %d ", holder.PgConn().PID()); !strings.Contains(failure.Error(), want) {
		t.Errorf("got %v\nwant %s", failure, want)
	}
	if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; err != nil {
		t.Error(err)
	}
}
