package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A wait for a session that changes the same role, in whatever database, or grants something to
// it, ends.
func TestUserLockTimeout(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	server, database := pgtest.Server(t, pgtest.Superuser(s)), s.Database(t)
	for sql, change := range map[string]func(name string) error{
		"ALTER ROLE %s CONNECTION LIMIT 3": func(name string) error {
			_, err := UpdateUser(t.Context(), server, User{Name: name, Login: true, ConnectionLimit: 4}, nil)
			return err
		},
		"GRANT CREATE ON SCHEMA public TO %s": func(name string) error {
			return DropUser(t.Context(), server, name, DropOptions{})
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
	config := pgtest.Superuser(s)
	config.MaxConnections = 1
	for name, act := range map[string]func(server *pgclient.Server, locked string) error{
		"drop": func(server *pgclient.Server, locked string) error {
			return DropDatabase(t.Context(), server, locked, DatabaseDrop{})
		},
		"copy": func(server *pgclient.Server, locked string) error {
			_, err := CreateDatabase(t.Context(), server, Database{Name: s.DatabaseName(t), ConnectionLimit: -1}, locked)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, locked := pgtest.Server(t, config), s.Database(t)
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
			if want := fmt.Sprintf("pid %d (user postgres, idle in transaction)", holder.PgConn().PID()); pgclient.Code(err) != pgclient.LockNotAvailable || !strings.Contains(err.Error(), want) {
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

// While a session reads a table, dropping the schema of that table makes other readers wait only
// briefly, and succeeds when the session has ended its transaction.
func TestDropSchemaInUse(t *testing.T) {
	t.Parallel()
	shop := pgtest.NewShop(t, sandbox.Shared(t, 0))
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), shop.URL(shop.Name))
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
	go func() { dropped <- DropSchema(t.Context(), shop.Admin, shop.Name, "billing", true) }()
	for waiting := false; !waiting; { // until the drop waits for the lock
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
	if waited := time.Since(began); waited > 2*pgclient.LockTimeout {
		t.Errorf("a reader waited %v behind the drop", waited)
	}
	failure := shop.Admin.AddHolders(t.Context(), shop.Name, pgclient.Contention{Schema: "billing"}, &pgconn.PgError{Code: pgclient.LockNotAvailable})
	if want := fmt.Sprintf("the lock may be held by pid %d (user postgres, idle in transaction)", holder.PgConn().PID()); !strings.Contains(failure.Error(), want) {
		t.Errorf("got %v\nwant %s", failure, want)
	}
	failure = shop.Admin.AddHolders(t.Context(), shop.Name, pgclient.Contention{Owner: shop.Application}, &pgconn.PgError{Code: pgclient.LockNotAvailable})
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
