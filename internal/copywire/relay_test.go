package copywire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// After an error of one server, the connections that relay says are usable are usable, and
// the error is that server's.
func TestRelay(t *testing.T) {
	t.Parallel()
	secure := sandbox.OwnServer(t, sandbox.Config{TLS: true})
	rows := func(n int) string {
		return fmt.Sprintf("COPY (SELECT g, repeat('x', 1000) FROM generate_series(1, %d) g) TO STDOUT (FORMAT binary)", n)
	}
	const in = "COPY pg_temp.t FROM STDIN (FORMAT binary)"
	for name, server := range map[string]*sandbox.Server{"plain": sandbox.Shared(t, 0), "TLS": secure} {
		for situation, tt := range map[string]struct {
			out, in      string
			rows         int64
			err          string
			sourceCloses bool
		}{
			"nothing":                    {out: rows(0), in: in},
			"one row":                    {out: rows(1), in: in, rows: 1},
			"many rows":                  {out: rows(20000), in: in, rows: 20000},
			"a row beyond any buffer":    {out: "COPY (SELECT 1, repeat('x', 50000000)) TO STDOUT (FORMAT binary)", in: in, rows: 1},
			"notices on the way":         {out: "COPY (SELECT g, pg_temp.say(g) FROM generate_series(1, 300) g) TO STDOUT (FORMAT binary)", in: in, rows: 300},
			"the source refuses":         {out: "COPY none TO STDOUT", in: in, err: "extract: ERROR: relation \"none\" does not exist"},
			"the source fails midway":    {out: "COPY (SELECT g, (1 / (g - 5000))::text FROM generate_series(1, 10000) g) TO STDOUT (FORMAT binary)", in: in, err: "extract: ERROR: division by zero"},
			"the destination refuses":    {out: rows(1), in: "COPY none FROM STDIN", err: "load: ERROR: relation \"none\" does not exist"},
			"the destination fails":      {out: rows(200000), in: "COPY pg_temp.short FROM STDIN (FORMAT binary)", err: "load: ERROR: value too long", sourceCloses: true},
			"the destination fails late": {out: "COPY (SELECT 1, 'x' UNION ALL SELECT 1, 'x') TO STDOUT (FORMAT binary)", in: "COPY pg_temp.late FROM STDIN (FORMAT binary)", err: "load: ERROR: duplicate key"},
			"the formats differ":         {out: "COPY (SELECT 1, 2, 3) TO STDOUT (FORMAT binary)", in: in, err: "load: ERROR: row field count is 3, expected 2"},
		} {
			t.Run(name+"/"+situation, func(t *testing.T) {
				source, destination := session(t, server), session(t, server)
				if _, err := source.Exec(t.Context(), `CREATE FUNCTION pg_temp.say(int) RETURNS text LANGUAGE plpgsql AS
					'BEGIN RAISE NOTICE ''%'', repeat(''n'', 500); RETURN $1; END'`); err != nil {
					t.Fatal(err)
				}
				if _, err := destination.Exec(t.Context(), `CREATE TEMP TABLE t (a int, b text); CREATE TEMP TABLE short (a int, b varchar(3));
					CREATE TEMP TABLE late (a int UNIQUE DEFERRABLE INITIALLY IMMEDIATE, b text)`); err != nil {
					t.Fatal(err)
				}
				for _, conn := range []*pgx.Conn{source, destination} {
					if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
						t.Fatal(err)
					}
				}
				got, err := Relay(t.Context(), source.PgConn(), tt.out, destination.PgConn(), tt.in)
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				if got.Rows != tt.rows {
					t.Errorf("%d rows, want %d", got.Rows, tt.rows)
				}
				if source.IsClosed() != tt.sourceCloses || destination.IsClosed() {
					t.Errorf("source closed: %t, destination closed: %t", source.IsClosed(), destination.IsClosed())
				}
				for _, conn := range []*pgx.Conn{source, destination} {
					if conn.IsClosed() {
						continue
					}
					if _, err := conn.Exec(t.Context(), "ROLLBACK; SELECT 1"); err != nil {
						t.Errorf("the session is of no use any more: %v", err)
					}
				}
			})
		}
	}
}

func session(t *testing.T, s *sandbox.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !conn.IsClosed() {
			_ = conn.PgConn().Conn().Close()
		}
	})
	return conn
}

// awaitCopy waits until a session is in the middle of a COPY.
func awaitCopy(t *testing.T, s *sandbox.Server, pid uint32) {
	t.Helper()
	pgtest.Await(t, s, "postgres", fmt.Sprintf(`SELECT FROM pg_stat_activity WHERE pid = %d AND state = 'active' AND query LIKE 'COPY %%'`, pid), 1)
}

// The relay tells a server that goes away from one that refuses.
func TestRelayLoss(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for _, lost := range []string{"source", "destination"} {
		source, destination := session(t, s), session(t, s)
		if _, err := destination.Exec(t.Context(), "CREATE TEMP TABLE t (a int, b text)"); err != nil {
			t.Fatal(err)
		}
		pid := map[string]uint32{"source": source.PgConn().PID(), "destination": destination.PgConn().PID()}[lost]
		done := make(chan error, 1)
		go func() {
			_, err := Relay(t.Context(), source.PgConn(), "COPY (SELECT g, repeat('x', 100) || pg_sleep(0.01) FROM generate_series(1, 100000) g) TO STDOUT (FORMAT binary)",
				destination.PgConn(), "COPY pg_temp.t FROM STDIN (FORMAT binary)")
			done <- err
		}()
		awaitCopy(t, s, pid)
		s.Query(t, "postgres", "SELECT pg_terminate_backend($1)", int(pid))
		err := <-done
		if code := pgclient.Code(err); code != "57P01" {
			t.Errorf("%s: %v", lost, err)
		}
		if !source.IsClosed() {
			t.Errorf("the %s is lost, and the source is not closed", lost)
		}
		if destination.IsClosed() != (lost == "destination") {
			t.Errorf("the %s is lost; destination closed: %t", lost, destination.IsClosed())
		}
	}
}

// A COPY that an administrator of the destination cancels does not count as a loss of the
// source.
func TestRelayCancelled(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	source, destination := session(t, s), session(t, s)
	pgtest.Do(t, destination, "CREATE TEMP TABLE t (a int, b text)")
	pid := destination.PgConn().PID()
	done := make(chan error, 1)
	go func() {
		_, err := Relay(t.Context(), source.PgConn(), "COPY (SELECT g, repeat('x', 10000) || pg_sleep(0.001) FROM generate_series(1, 100000) g) TO STDOUT (FORMAT binary)",
			destination.PgConn(), "COPY pg_temp.t FROM STDIN (FORMAT binary)")
		done <- err
	}()
	awaitCopy(t, s, pid)
	s.Query(t, "postgres", "SELECT pg_cancel_backend($1)", int(pid))
	err := <-done
	if err == nil || !strings.HasPrefix(err.Error(), "load: ERROR: canceling statement due to user request") {
		t.Errorf("got %v", err)
	}
}
