package pgclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// sessionsOn counts the sessions that the provider has on a server.
func sessionsOn(t *testing.T, s *sandbox.Server, database string) string {
	t.Helper()
	return s.Query(t, "postgres", `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = $2`, ApplicationName, database)[0]
}

// Connections stay within the budget, whatever their databases, and an idle one makes room for
// another database.
func TestBudget(t *testing.T) {
	s := sandbox.Shared(t, 0)
	databases := []string{s.Database(t), s.Database(t), s.Database(t)}
	role := s.Role(t)
	for _, limit := range []int{1, 3} {
		all := NewServers(map[string]Config{"a": {Host: s.Host, Port: s.Port, Username: role, Password: s.Password, MaxConnections: limit}})
		server, _ := all.Server("a")
		s.Exec(t, "postgres", "ALTER ROLE "+role+" CONNECTION LIMIT "+map[int]string{1: "1", 3: "3"}[limit])
		var group sync.WaitGroup
		for i := range 30 {
			group.Go(func() {
				conn, err := server.Acquire(t.Context(), databases[i%len(databases)])
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Release()
				if _, err := conn.Exec(t.Context(), "SELECT pg_sleep(0.005)"); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		all.Close()
		if server.open != 0 || len(server.idle) != 0 {
			t.Errorf("limit %d: %d connections are counted as open after Close", limit, server.open)
		}
		waitFor(t, func() bool { // the server notices some time after the connection is terminated
			return s.Query(t, "postgres", `SELECT FROM pg_stat_activity WHERE usename = $1`, role) == nil
		})
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass")
		}
	}
}

// A connection that was cancelled counts until the server has closed it, and
// only then makes room for another.
func TestBudgetAfterCancel(t *testing.T) {
	s := sandbox.Shared(t, 0)
	role := s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+role+" CONNECTION LIMIT 1")
	all := NewServers(map[string]Config{"a": {Host: s.Host, Port: s.Port, Username: role, Password: s.Password, MaxConnections: 1}})
	t.Cleanup(all.Close)
	server, _ := all.Server("a")
	for name, next := range map[string]func(*Conn) (*Conn, error){
		"renewed": func(conn *Conn) (*Conn, error) { return conn, conn.Renew(t.Context()) },
		"released": func(conn *Conn) (*Conn, error) {
			conn.Release()
			return server.Acquire(t.Context(), "")
		},
		"discarded": func(conn *Conn) (*Conn, error) {
			conn.Discard()
			return server.Acquire(t.Context(), "")
		},
	} {
		for range 10 {
			conn, err := server.Acquire(t.Context(), "")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			_, err = conn.PgConn().CopyTo(ctx, canceller(cancel), "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT")
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: the copy was not cancelled: %v", name, err)
			}
			if conn, err = next(conn); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			conn.Release()
		}
	}
}

// A canceller cancels when something is written to it.
type canceller context.CancelFunc

func (cancel canceller) Write(p []byte) (int, error) {
	cancel()
	return len(p), nil
}

// One connection to a database is used again and again, and closed when it has been idle for
// some time.
func TestReuse(t *testing.T) {
	s := sandbox.Shared(t, 0)
	database := s.Database(t)
	all := NewServers(map[string]Config{"a": {Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password}})
	server, _ := all.Server("a")
	var pids []string
	for range 3 {
		conn, err := server.Acquire(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		var pid string
		if err := conn.QueryRow(t.Context(), "SELECT pg_backend_pid()::text").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
		conn.Release()
	}
	if pids[0] != pids[1] || pids[1] != pids[2] {
		t.Errorf("three uses took the sessions %q", pids)
	}
	if got := sessionsOn(t, s, database); got != "1" {
		t.Errorf("%s sessions are open", got)
	}

	// A session that the server has ended is not used again.
	s.Exec(t, "postgres", "SELECT pg_terminate_backend("+pids[0]+")")
	time.Sleep(pingAfter + 100*time.Millisecond)
	conn, err := server.Acquire(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT"); err != nil {
		t.Error(err)
	}
	conn.Release()
	waitFor(t, func() bool { return sessionsOn(t, s, database) == "0" })
}

// Opposite pairs do not wait for each other for ever.
func TestAcquirePair(t *testing.T) {
	s := sandbox.Shared(t, 0)
	config := Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password, MaxConnections: 1}
	all := NewServers(map[string]Config{"a": config, "b": config})
	t.Cleanup(all.Close)
	a, _ := all.Server("a")
	b, _ := all.Server("b")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for i := range 40 {
		from, to := Endpoint{a, "postgres"}, Endpoint{b, "postgres"}
		if i%2 == 1 {
			from, to = to, from
		}
		group.Go(func() {
			x, y, err := AcquirePair(ctx, from, to)
			if err != nil {
				t.Error(err)
				return
			}
			if x.pool != from.Server.pool || y.pool != to.Server.pool {
				t.Error("the connections are the wrong way round")
			}
			x.Release()
			y.Release()
		})
	}
	group.Wait()
}

// A dial that failed in one resource's plan is not repeated for other resources, until a change
// may make it work; an apply always tries for itself.
func TestPlanningFailure(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dials := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			dials <- struct{}{}
			conn.Close()
		}
	}()
	// dialled waits until the listener has counted all dials.
	dialled := func() int {
		time.Sleep(300 * time.Millisecond)
		return len(dials)
	}
	all := NewServers(map[string]Config{"a": {
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, Username: "u", SSLMode: "disable",
	}})
	server, _ := all.Server("a")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := server.Planning().Acquire(t.Context(), "d"); !IsUnreachable(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	once := dialled()
	_, _ = server.Acquire(t.Context(), "d")
	if got := dialled() - once; got != once { // pgx may try more than once for a connection
		t.Errorf("eight plans dialled %d times, one apply %d times", once, got)
	}
	server.Changed()
	_, _ = server.Planning().Acquire(t.Context(), "d")
	if got := dialled(); got != 3*once {
		t.Errorf("a plan after a change dialled %d times, want %d", got-2*once, once)
	}
}

// The environment variables of libpq have no effect.
func TestEnvironment(t *testing.T) {
	s := sandbox.Shared(t, 0)
	for name, value := range map[string]string{
		"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "none",
		"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/none", "PGOPTIONS": "-c search_path=none", "PGAPPNAME": "none", "PGCONNECT_TIMEOUT": "1",
		"PGTZ": "none", "PGPASSFILE": "/none", "PGTARGETSESSIONATTRS": "none",
		"PGSSLCERT": "/none", "PGSSLKEY": "/none", "PGSSLCERTMODE": "none", "PGSSLSNI": "none", "PGSSLPASSWORD": "none", "PGSSLNEGOTIATION": "direct",
		"PGCHANNELBINDING": "none", "PGREQUIREAUTH": "none", "PGMINPROTOCOLVERSION": "none", "PGMAXPROTOCOLVERSION": "none",
	} {
		t.Setenv(name, value)
	}
	all := NewServers(map[string]Config{
		"here":  {Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password},
		"empty": {Username: s.Username, Password: s.Password, Port: s.Port},
	})
	t.Cleanup(all.Close)
	here, _ := all.Server("here")
	conn, err := here.Acquire(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var path, name string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('search_path'), current_setting('application_name')").Scan(&path, &name); err != nil {
		t.Fatal(err)
	}
	conn.Release()
	if path == "none" || name != ApplicationName {
		t.Errorf("search_path %q, application_name %q", path, name)
	}
	empty, _ := all.Server("empty")
	if _, err := empty.Acquire(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "host is empty") {
		t.Errorf("an empty host: %v", err)
	}
}

// Statements see what was committed before them, even if the default of the login or of the
// database is another isolation level.
func TestIsolationLevel(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	role := s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+role+" SET default_transaction_isolation = 'repeatable read'")
	server := serverOf(t, Config{Host: s.Host, Port: s.Port, Username: role, Password: s.Password})
	level := ""
	read := func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), "SELECT pg_catalog.current_setting('transaction_isolation')").Scan(&level)
	}
	for name, run := range map[string]func() error{
		"ours": func() error { return server.InTx(t.Context(), "", read) },
		"others": func() error {
			return server.OnConn(t.Context(), "", func(conn *pgx.Conn) error { return InTx(t.Context(), conn, read) })
		},
	} {
		if err := run(); err != nil || level != "read committed" {
			t.Errorf("%s: %s (%v)", name, level, err)
		}
	}
}

func TestTLS(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{TLS: true})
	plain := sandbox.Shared(t, 0)
	const elsewhere = "0.0.0.0" // it leads to this machine too, but the certificate is for another name
	for name, tt := range map[string]struct {
		server         *sandbox.Server
		host, mode, ca string
		encrypted      bool
		err            string
	}{
		"verified":                       {s, "localhost", "verify-full", s.CA, true, ""},
		"an unknown authority":           {s, "localhost", "verify-full", "", false, "sslrootcert"},
		"another name":                   {s, elsewhere, "verify-full", s.CA, false, "sslrootcert"},
		"another name, chain only":       {s, elsewhere, "verify-ca", s.CA, true, ""},
		"chain only, unknown":            {s, elsewhere, "verify-ca", "", false, "sslrootcert"},
		"required, not verified":         {s, elsewhere, "require", "", true, ""},
		"preferred by default":           {s, "localhost", "", "", true, ""},
		"preferred, not offered":         {plain, "localhost", "", "", false, ""},
		"required, not offered":          {plain, "localhost", "require", "", false, `sslmode = "disable"`},
		"disabled":                       {s, "localhost", "disable", "", false, ""},
		"an authority that is no PEM":    {s, "localhost", "verify-full", "server_test.go", false, "contains no certificate"},
		"an authority that is not there": {s, "localhost", "verify-full", "/none", false, "read sslrootcert"},
	} {
		t.Run(name, func(t *testing.T) {
			all := NewServers(map[string]Config{"a": {
				Host: tt.host, Port: tt.server.Port, Username: tt.server.Username, Password: tt.server.Password, SSLMode: tt.mode, SSLRootCert: tt.ca,
			}})
			t.Cleanup(all.Close)
			server, _ := all.Server("a")
			conn, err := server.Acquire(t.Context(), "")
			if tt.err != "" {
				if err == nil || !strings.Contains(Explain(err), tt.err) {
					t.Errorf("got %v, want an explanation with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			var encrypted bool
			if err := conn.QueryRow(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted); err != nil {
				t.Fatal(err)
			}
			if encrypted != tt.encrypted {
				t.Errorf("encrypted: %t, want %t", encrypted, tt.encrypted)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	for host, mode := range map[string]string{
		"localhost": "prefer", "127.0.0.1": "prefer", "::1": "prefer", "/run/postgresql": "prefer",
		"10.0.0.1": "verify-full", "db.example.com": "verify-full", "localhost.example.com": "verify-full",
	} {
		if got := (Config{Host: host}).withDefaults().SSLMode; got != mode {
			t.Errorf("%s: sslmode %s, want %s", host, got, mode)
		}
	}
}

// An explanation includes what the server says, and what to do.
func TestExplain(t *testing.T) {
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct {
		config Config
		want   string
	}{
		"password": {Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: "wrong"}, "Check the username and password of servers.a"},
		"database": {Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password, Database: "none"}, `has no database "none"`},
		"port":     {Config{Host: s.Host, Port: 1, Username: "u"}, "Check the host and port of servers.a"},
		"name":     {Config{Host: "no.such.host.invalid", Username: "u"}, "Check the host and port of servers.a"},
	} {
		all := NewServers(map[string]Config{"a": tt.config})
		server, _ := all.Server("a")
		_, err := server.Acquire(t.Context(), "")
		var connect *ConnectError
		if !errors.As(err, &connect) || !strings.Contains(Explain(err), tt.want) || strings.Contains(Explain(err), "wrong") || strings.Contains(err.Error(), "TLS") {
			t.Errorf("%s: got %s", name, Explain(err))
		}
	}
}
