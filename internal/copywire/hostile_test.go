package copywire

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const (
	hostileTimeout = 4 * time.Second // after which a round is cancelled, as by Ctrl-C
	hostileSlack   = 20 * time.Second
)

// copyTricks are played on a COPY alone.
var copyTricks = []struct {
	name string
	at   byte // the kind of message that is replaced
	do   func(c *sandbox.Client, m sandbox.Message) error
}{
	{"a row of 4 GiB", 'd', floodOf('d', 1<<32-5)},
	{"a row of 2 GiB", 'd', floodOf('d', 1<<31-5)},
	{"a row of a negative length", 'd', floodOf('d', -100)},
	{"a row without its length", 'd', floodOf('d', -3)},
	{"rows without end", 'd', func(c *sandbox.Client, m sandbox.Message) error {
		for {
			if _, err := c.Write(m.Bytes()); err != nil {
				return err
			}
		}
	}},
	{"an end of 1 GiB", 'c', floodOf('c', 1<<30)},
	{"an end, and no more", 'c', func(c *sandbox.Client, m sandbox.Message) error {
		_, _ = c.Write(m.Bytes())
		<-c.Gone()
		return io.EOF
	}},
	{"no end", 'c', func(c *sandbox.Client, _ sandbox.Message) error { <-c.Gone(); return io.EOF }},
	{"a tag of 1 GiB", 'C', floodOf('C', 1<<30)},
	{"a tag without a number", 'C', func(c *sandbox.Client, _ sandbox.Message) error { return c.Say('C', []byte("COPY \x00")...) }},
	{"another number of rows", 'C', func(c *sandbox.Client, _ sandbox.Message) error { return c.Say('C', []byte("COPY 7\x00")...) }},
	{"no number of rows", 'C', func(*sandbox.Client, sandbox.Message) error { return nil }},
	{"readiness too early", 'C', func(c *sandbox.Client, m sandbox.Message) error {
		if err := c.Say('Z', 'T'); err != nil {
			return err
		}
		_, err := c.Write(m.Bytes())
		return err
	}},
	{"readiness twice", 'Z', func(c *sandbox.Client, m sandbox.Message) error {
		_, err := c.Write(append(m.Bytes(), m.Bytes()...))
		return err
	}},
	{"an error in the midst, and rows after it", 'd', func(c *sandbox.Client, m sandbox.Message) error {
		_ = c.Say('E', []byte("SERROR\x00C42501\x00Mno\x00\x00")...)
		_, err := c.Write(m.Bytes())
		return err
	}},
	{"an error in the middle of which the server is ready", 'd', func(c *sandbox.Client, m sandbox.Message) error {
		_ = c.Say('E', []byte("SERROR\x00C42501\x00Mno\x00\x00")...)
		_ = c.Say('Z', 'E')
		_, err := c.Write(m.Bytes())
		return err
	}},
	{"readiness in the midst", 'd', func(c *sandbox.Client, m sandbox.Message) error {
		_ = c.Say('Z', 'T')
		_, err := c.Write(m.Bytes())
		return err
	}},
}

// floodOf sends a header, and zeros after it.
func floodOf(kind byte, body int64) func(*sandbox.Client, sandbox.Message) error {
	return func(c *sandbox.Client, _ sandbox.Message) error {
		if _, err := c.Write(sandbox.Header(kind, body)); err != nil {
			return err
		}
		for zeros := make([]byte, 64<<10); ; {
			if _, err := c.Write(zeros); err != nil {
				return err
			}
		}
	}
}

// hostileRows is how many rows the COPY of these tests has.
const hostileRows = 3000

// Whatever a server does in the middle of a COPY, the relay ends, at the latest when it is
// cancelled, and it never says that all rows arrived unless they did.
func TestHostileRelay(t *testing.T) {
	s := sandbox.Shared(t, 0)
	seed := sandbox.Seed(t)
	rounds := 0
	for _, trick := range copyTricks {
		for _, atSource := range []bool{true, false} {
			if !atSource && (trick.at == 'd' || trick.at == 'c') {
				continue // a destination sends no rows
			}
			rounds++
			t.Run(fmt.Sprintf("%s/source %t", trick.name, atSource), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, uint64(len(trick.name)))) //nolint:gosec // repeatable is what it has to be
				playRelay(t, s, atSource, func(c *sandbox.Client) sandbox.Meddler {
					skip, begun, done := rng.IntN(hostileRows/2), false, false
					return func(m sandbox.Message) error {
						begun = begun || beginsCopy(m)
						if begun && m.Kind == trick.at && !done {
							if m.Kind != 'd' || skip == 0 {
								done = true
								return trick.do(c, m)
							}
							skip--
						}
						_, err := c.Write(m.Bytes())
						return err
					}
				})
			})
		}
	}
	for i, trick := range sandbox.Tricks() {
		rounds += 1 + sandbox.Effort(t)
		t.Run(trick.Name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // repeatable is what it has to be
			for round := range 1 + sandbox.Effort(t) {
				from, seed := rng.IntN(1+rng.IntN(40)), rng.Uint64()
				playRelay(t, s, round%2 == 0, func(c *sandbox.Client) sandbox.Meddler {
					meddle, begun := trick.Meddler(c, from, rand.New(rand.NewPCG(seed, uint64(c.Number)))), false //nolint:gosec // repeatable
					return func(m sandbox.Message) error {
						if begun = begun || beginsCopy(m); !begun {
							_, err := c.Write(m.Bytes())
							return err
						}
						return meddle(m)
					}
				})
			}
		})
	}
	t.Logf("%d rounds; to repeat them: STITCH_SEED=%d", rounds, seed)
}

func beginsCopy(m sandbox.Message) bool { return m.Kind == 'H' || m.Kind == 'G' }

func playRelay(t *testing.T, s *sandbox.Server, atSource bool, meddle func(*sandbox.Client) sandbox.Meddler) {
	t.Helper()
	middle := sandbox.StartMiddle(t, s, false, meddle)
	direct := pgclient.Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password}
	through := direct
	through.Port = middle.Port
	configs := map[string]pgclient.Config{"source": through, "destination": direct}
	if !atSource {
		configs = map[string]pgclient.Config{"source": direct, "destination": through}
	}
	servers := pgclient.NewServers(configs)
	t.Cleanup(servers.Close)
	conns := map[string]*pgclient.Conn{}
	for name := range configs {
		server, _ := servers.Server(name)
		conn, err := server.Acquire(t.Context(), "postgres")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Discard()
		for _, sql := range []string{"CREATE TEMPORARY TABLE t (a int, b text)", "BEGIN"} {
			if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Error(err)
				return
			}
		}
		conns[name] = conn
	}
	ctx, cancel := context.WithTimeout(t.Context(), hostileTimeout)
	defer cancel()
	began := time.Now()
	got, err := Relay(ctx, conns["source"].PgConn(), fmt.Sprintf("COPY (SELECT g, repeat('x', 100) FROM generate_series(1, %d) g) TO STDOUT (FORMAT binary)", hostileRows),
		conns["destination"].PgConn(), "COPY pg_temp.t FROM STDIN (FORMAT binary)")
	if took := time.Since(began); took > hostileTimeout+hostileSlack {
		t.Errorf("it took %v", took)
	}
	if err == nil && got.Rows != hostileRows {
		t.Errorf("%d rows are said to have arrived, of %d", got.Rows, hostileRows)
	}
	if err == nil && atSource {
		var arrived int64
		if err := conns["destination"].QueryRow(t.Context(), "SELECT count(*) FROM pg_temp.t").Scan(&arrived); err != nil || arrived != hostileRows {
			t.Errorf("%d rows have arrived, %v", arrived, err)
		}
	}
	for name, conn := range conns { // a connection that is left open can be used
		if conn.IsClosed() || (name == "source") == atSource {
			continue
		}
		if _, err := conn.Exec(t.Context(), "ROLLBACK; SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("the session of the %s is of no use any more: %v", name, err)
		}
	}
}

// A source that continues after its error leaves the protocol in an unknown state: the relay
// closes its connection, because nothing says what would answer the next query.
func TestRelayAfterError(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	middle := sandbox.StartMiddle(t, s, false, func(c *sandbox.Client) sandbox.Meddler {
		return func(m sandbox.Message) error {
			if m.Kind == 'd' {
				_ = c.Say('E', []byte("SERROR\x00C42501\x00Mno\x00\x00")...)
			}
			_, err := c.Write(m.Bytes())
			return err
		}
	})
	direct := pgclient.Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password}
	through := direct
	through.Port = middle.Port
	servers := pgclient.NewServers(map[string]pgclient.Config{"source": through, "destination": direct})
	t.Cleanup(servers.Close)
	conns := map[string]*pgclient.Conn{}
	for _, name := range []string{"source", "destination"} {
		server, _ := servers.Server(name)
		conn, err := server.Acquire(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Discard()
		conns[name] = conn
	}
	if _, err := conns["destination"].Exec(t.Context(), "CREATE TEMPORARY TABLE t (a int)"); err != nil {
		t.Fatal(err)
	}
	_, err := Relay(t.Context(), conns["source"].PgConn(), "COPY (SELECT 1) TO STDOUT", conns["destination"].PgConn(), "COPY pg_temp.t FROM STDIN")
	if pgclient.Code(err) != "42501" {
		t.Errorf("got %v", err)
	}
	if !conns["source"].IsClosed() || conns["destination"].IsClosed() {
		t.Errorf("source closed: %t, destination closed: %t", conns["source"].IsClosed(), conns["destination"].IsClosed())
	}
}
