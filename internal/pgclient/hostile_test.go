package pgclient_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// hostilePassword is a password that no server without a proof of identity may learn.
const hostilePassword = "correct-horse-battery-staple"

// loginTimeout is how long a login may take in these tests. loginSlack is how much longer its
// end may take on a busy machine.
const (
	loginTimeout = time.Second
	loginSlack   = 10 * time.Second
	loginHeap    = 48 << 20
)

// A prank is what a server does to a client that logs in. err is part of the client's error,
// whatever its sslmode, or "" if the error differs.
type prank struct {
	name string
	do   func(c *sandbox.Client, rng *rand.Rand)
	err  string
}

// afterStartup is a prank that begins when the client has sent its startup message.
func afterStartup(do func(c *sandbox.Client, rng *rand.Rand)) func(*sandbox.Client, *rand.Rand) {
	return func(c *sandbox.Client, rng *rand.Rand) {
		if _, err := c.Begin(true); err == nil {
			do(c, rng)
		}
	}
}

// authentication is the body of a message that asks for a login method.
func authentication(code uint32, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, code), rest...)
}

// asks asks for a login method, and accepts any answer.
func asks(code uint32, rest ...byte) func(*sandbox.Client, *rand.Rand) {
	return afterStartup(func(c *sandbox.Client, _ *rand.Rand) {
		_ = c.Say('R', authentication(code, rest...)...)
		if _, _, err := c.Hear(); err == nil {
			welcome(c)
		}
	})
}

// welcome ends a login.
func welcome(c *sandbox.Client) {
	_ = c.Say('R', authentication(0)...)
	_ = c.Say('K', authentication(1, 0, 0, 0, 1)...)
	_ = c.Say('Z', 'I')
}

// endless repeats a message until the client hangs up.
func endless(kind byte, body func(i int) []byte) func(*sandbox.Client, *rand.Rand) {
	return afterStartup(func(c *sandbox.Client, _ *rand.Rand) {
		var some []byte
		for i := 0; ; {
			for some = some[:0]; len(some) < 64<<10; i++ {
				b := body(i)
				some = append(append(some, sandbox.Header(kind, int64(len(b)))...), b...)
			}
			if _, err := c.Write(some); err != nil {
				return
			}
		}
	})
}

// flood sends zeros until the client hangs up.
func flood(c *sandbox.Client) {
	zeros := make([]byte, 64<<10)
	for {
		if _, err := c.Write(zeros); err != nil {
			return
		}
	}
}

// scram256 offers SCRAM-SHA-256. It answers the client's first message with what first makes of
// its nonce, and the client's second message with last.
func scram256(first func(nonce string) string, last ...[]byte) func(*sandbox.Client, *rand.Rand) {
	return afterStartup(func(c *sandbox.Client, _ *rand.Rand) {
		_ = c.Say('R', authentication(10, []byte("SCRAM-SHA-256\x00\x00")...)...)
		_, body, err := c.Hear()
		_, nonce, found := strings.Cut(string(body), ",r=")
		if err != nil || !found {
			return
		}
		_ = c.Say('R', authentication(11, []byte(first(nonce))...)...)
		if _, _, err := c.Hear(); err == nil {
			for _, body := range last {
				_ = c.Say('R', body...)
			}
			welcome(c)
		}
	})
}

// asIterations is an answer that asks for an iteration count.
func asIterations(n string) func(string) string {
	return func(nonce string) string { return "r=" + nonce + "server,s=c2FsdHNhbHRzYWx0c2FsdA==,i=" + n }
}

// pranks are played on clients that log in.
func pranks() []prank {
	const tooMuch = "before the login was complete"
	all := []prank{
		{"a notice of a gigabyte", afterStartup(func(c *sandbox.Client, _ *rand.Rand) { _, _ = c.Write(sandbox.Header('N', 1<<30-16)); flood(c) }), tooMuch},
		{"any message of a gigabyte", afterStartup(func(c *sandbox.Client, rng *rand.Rand) {
			_, _ = c.Write(sandbox.Header("ENSRKvTDCdGHAI"[rng.IntN(14)], 1<<30-16-rng.Int64N(1<<20)))
			flood(c)
		}), tooMuch},
		{"a mechanism of a gigabyte", afterStartup(func(c *sandbox.Client, _ *rand.Rand) {
			_, _ = c.Write(append(sandbox.Header('R', 1<<30-16), authentication(10)...))
			flood(c)
		}), tooMuch},
		{"notices without end", endless('N', func(int) []byte { return []byte("SNOTICE\x00Mhello\x00\x00") }), tooMuch},
		{"large notices without end", endless('N', func(int) []byte { return append(bytes.Repeat([]byte{'M'}, 60<<10), 0, 0) }), tooMuch},
		{"parameters without end", endless('S', func(i int) []byte { return fmt.Appendf(nil, "parameter%d\x00%0200d\x00", i, i) }), "parameters"},
		{"keys without end", endless('K', func(int) []byte { return make([]byte, 200) }), tooMuch},
		{"a protocol that it does not speak", afterStartup(func(c *sandbox.Client, _ *rand.Rand) {
			_ = c.Say('v', 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)
			c.Wait()
		}), ""},

		{"clear text", asks(3), ""},
		{"MD5", asks(5, 1, 2, 3, 4), ""},
		{"no question", afterStartup(func(c *sandbox.Client, _ *rand.Rand) { welcome(c); c.Wait() }), ""},
		{"Kerberos", asks(2), "2"},
		{"crypt", asks(4, 1, 2), "4"},
		{"SCM credentials", asks(6), "SCM"},
		{"GSSAPI", asks(7), "gss"},
		{"SSPI", asks(9), "SSPI"},
		{"an unknown way", asks(4242), "4242"},
		{"no mechanism", asks(10, 0), "SCRAM-SHA-256"},
		{"another mechanism", asks(10, []byte("PLAIN\x00OAUTHBEARER\x00\x00")...), "SCRAM-SHA-256"},
		{"SCRAM that continues at once", asks(11), ""},
		{"SCRAM that ends at once", asks(12), ""},

		{"a readiness without a login", afterStartup(func(c *sandbox.Client, _ *rand.Rand) { _ = c.Say('Z', 'I'); c.Wait() }), "ReadyForQuery"},
		{"rows before a login", endless('D', func(int) []byte { return []byte{0, 0} }), ""},
		{"nothing", func(c *sandbox.Client, _ *rand.Rand) { c.Wait() }, ""},
		{"nothing after the startup", afterStartup(func(c *sandbox.Client, _ *rand.Rand) { c.Wait() }), ""},
		{"a byte now and then", afterStartup(func(c *sandbox.Client, _ *rand.Rand) {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			message := append(sandbox.Header('N', 20000), make([]byte, 20000)...)
			for i := 0; i < len(message); i++ {
				if _, err := c.Write(message[i : i+1]); err != nil {
					return
				}
				<-tick.C
			}
		}), ""},
		{"a negative length", afterStartup(func(c *sandbox.Client, rng *rand.Rand) {
			_, _ = c.Write(sandbox.Header('N', -5-rng.Int64N(1<<30)))
			flood(c)
		}), "length"},
		{"a length without itself", afterStartup(func(c *sandbox.Client, rng *rand.Rand) {
			_, _ = c.Write(sandbox.Header('R', -1-rng.Int64N(4)))
			flood(c)
		}), "length"},
		{"half a message", afterStartup(func(c *sandbox.Client, rng *rand.Rand) {
			whole := append(sandbox.Header('R', 4), authentication(0)...)
			_, _ = c.Write(whole[:rng.IntN(len(whole))])
		}), ""},
		{"noise", afterStartup(func(c *sandbox.Client, rng *rand.Rand) { _, _ = c.Write(noise(rng, 1<<16)); c.Wait() }), ""},
		{"noise instead of TLS", func(c *sandbox.Client, rng *rand.Rand) { _, _ = c.Write(noise(rng, 1<<16)); c.Wait() }, ""},
		{"random messages", afterStartup(func(c *sandbox.Client, rng *rand.Rand) {
			for range 200 {
				if c.Say("RSKNEZTDCvAt123"[rng.IntN(15)], noise(rng, rng.IntN(40))...) != nil {
					return
				}
			}
			c.Wait()
		}), ""},

		{"an error before TLS", func(c *sandbox.Client, _ *rand.Rand) {
			_ = c.Say('E', []byte("SFATAL\x00C28000\x00Mset allow_md5 = true\x00\x00")...)
			c.Wait()
		}, ""},
		{"a login smuggled before TLS", func(c *sandbox.Client, _ *rand.Rand) {
			smuggled := []byte{'S'}
			for _, m := range [][]byte{authentication(0), authentication(3)} {
				smuggled = append(append(smuggled, sandbox.Header('R', int64(len(m)))...), m...)
			}
			_, _ = c.Write(append(smuggled, 'Z', 0, 0, 0, 5, 'I'))
			c.Wait()
		}, ""},
		{"errors with absurd fields", afterStartup(func(c *sandbox.Client, rng *rand.Rand) {
			body := []byte("SFATAL\x00C28P01\x00M\x1b[2Jgone\r\nApply complete!\x00Pnumber\x00L99999999999999999999\x00")
			for range 50 {
				body = append(append(body, byte(1+rng.IntN(255))), noise(rng, rng.IntN(200))...)
			}
			_ = c.Say('E', append(body, make([]byte, rng.IntN(3))...)...)
			c.Wait()
		}), ""},

		{"SCRAM of 2^31 iterations", scram256(asIterations("2147483648")), "iteration"},
		{"SCRAM of 10^18 iterations", scram256(asIterations("1000000000000000000")), "iteration"},
		{"SCRAM of no iteration", scram256(asIterations("0")), "iteration"},
		{"SCRAM of a negative number of iterations", scram256(asIterations("-4096")), "iteration"},
		{"SCRAM of one iteration", scram256(asIterations("1")), ""},
		{"SCRAM of few iterations and more", scram256(asIterations("+64,x=4096")), "iteration"},
		{"SCRAM with another nonce", scram256(func(string) string { return "r=mine,s=c2FsdA==,i=4096" }), "nonce"},
		{"SCRAM without a salt", scram256(func(nonce string) string { return "r=" + nonce + "x,i=4096" }), "s="},
		{"SCRAM with a wrong signature", scram256(asIterations("4096"), authentication(12, []byte("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")...)), "ServerSignature"},
		{"SCRAM without a signature", scram256(asIterations("4096")), "SASL"},
		{"SCRAM, then clear text", scram256(asIterations("4096"), authentication(3)), "SASL"},
	}
	return all
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// A hostileRow is a row of the table of results.
type hostileRow struct {
	rounds  int
	longest time.Duration
	heap    uint64
	said    string
}

// add adds further rounds.
func (r *hostileRow) add(more hostileRow) {
	r.rounds, r.longest, r.heap = r.rounds+more.rounds, max(r.longest, more.longest), max(r.heap, more.heap)
	if more.said != "" {
		r.said = more.said
	}
}

// A client that logs in to a hostile server, or to one that is not PostgreSQL, gets an error in
// time, needs little memory, and reveals nothing that it must not reveal, whatever the server
// does.
func TestHostileLogin(t *testing.T) {
	seed := sandbox.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable is what it has to be
	all := pranks()
	rows := make([]hostileRow, len(all))
	for range sandbox.Effort(t) {
		for i, p := range all {
			playLogin(t, p, rng, &rows[i])
		}
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.name
	}
	logHostile(t, names, rows)
	if t.Failed() {
		t.Logf("to repeat it: STITCH_SEED=%d", seed)
	}
}

// logHostile ends a test with the table of results.
func logHostile(t *testing.T, names []string, rows []hostileRow) {
	t.Helper()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what the server did\trounds\tlongest\theap\twhat the client says")
	for i, row := range rows {
		if row.rounds > 0 {
			fmt.Fprintf(w, "%s\t%d\t%dms\t%d KiB\t%.100q\n", names[i], row.rounds, row.longest.Milliseconds(), row.heap>>10, row.said)
		}
	}
	w.Flush()
	t.Log("\n" + table.String())
}

func playLogin(t *testing.T, p prank, rng *rand.Rand, row *hostileRow) {
	t.Helper()
	seed := rng.Uint64()
	h := sandbox.StartHostile(t, func(c *sandbox.Client) { p.do(c, rand.New(rand.NewPCG(seed, uint64(c.Number)))) }) //nolint:gosec // repeatable
	allowMD5 := rng.IntN(4) == 0
	config := pgclient.Config{
		Host: h.Host, Port: h.Port, Username: "stitch", Password: hostilePassword,
		SSLMode: pgclient.SSLModes[rng.IntN(len(pgclient.SSLModes))], ConnectTimeout: loginTimeout, AllowMD5: allowMD5,
	}
	verified := strings.HasPrefix(config.SSLMode, "verify-")
	if verified || rng.IntN(4) == 0 {
		config.SSLRootCert = h.CA
		verified = verified || config.SSLMode == "require"
	}
	server := pgtest.Server(t, config)
	var err error
	took, heap := measure(func() {
		var conn *pgclient.Conn
		if conn, err = server.Acquire(t.Context(), ""); err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), loginTimeout)
			defer cancel()
			_, err = conn.Exec(ctx, "SELECT 1")
			conn.Discard()
		}
	})
	round := fmt.Sprintf("%s (sslmode %s, authority %t, allow_md5 %t)", p.name, config.SSLMode, config.SSLRootCert != "", allowMD5)
	if err == nil {
		t.Errorf("%s: it went well", round)
		return
	}
	said := pgclient.Explain(err)
	var connect *pgclient.ConnectError
	brief := said
	if errors.As(err, &connect) {
		brief = connect.Err.Error()
	}
	row.add(hostileRow{rounds: 1, longest: took, heap: heap, said: brief})
	// Some clients do not get that far: they end with TLS that they do not accept.
	early := strings.Contains(said, pgclient.RefusedTLS) || strings.Contains(said, "x509:") || strings.Contains(said, "tls: first record")
	if p.err != "" && !strings.Contains(said, p.err) && !early {
		t.Errorf("%s: %.500s, which is not about %q", round, said, p.err)
	}
	if took > loginTimeout*2+loginSlack {
		t.Errorf("%s: it took %v", round, took)
	}
	if heap > loginHeap {
		t.Errorf("%s: it took %d MiB", round, heap>>20)
	}
	if len(said) > 2*pgclient.MaxControl {
		t.Errorf("%s: %d bytes are said", round, len(said))
	}
	checkHeard(t, round, h, verified, allowMD5)
}

var md5Answer = regexp.MustCompile(`p\x00\x00\x00\x28md5[0-9a-f]{32}`)

// checkHeard checks that a server received nothing that it could misuse.
func checkHeard(t *testing.T, round string, h *sandbox.Hostile, verified, allowMD5 bool) {
	t.Helper()
	heard := h.Heard()
	if !verified && bytes.Contains(heard, []byte(hostilePassword)) {
		t.Errorf("%s: the server heard the password", round)
	}
	if !verified && bytes.Contains(heard, []byte("set_config")) {
		t.Errorf("%s: the server heard a statement, without having known the password", round)
	}
	if !verified && !allowMD5 && md5Answer.Match(heard) {
		t.Errorf("%s: the server heard the password's MD5", round)
	}
}

// measure returns how long f took, and how much the heap grew while it ran.
func measure(f func()) (took time.Duration, heap uint64) {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before, most := read(), uint64(0)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, read())
			case <-done:
				return
			}
		}
	}()
	began := time.Now()
	f()
	took = time.Since(began)
	close(done)
	<-stopped
	most = max(most, read())
	return took, most - min(most, before)
}
