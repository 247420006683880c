package sshclient

import (
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Bounds of the clients of a hostile host, and of what they may use.
const (
	hostileConnect = 700 * time.Millisecond
	hostileSlack   = 2 * moment
	hostileMemory  = 128 << 20 // of all simultaneous rounds, with their hosts
	hostileStuck   = 16 << 20  // for each repetition: the ssh package does not free everything, see connection.watch
	hostileAtOnce  = 8
)

var hostileLimits = limits{
	interval: 200 * time.Millisecond, answer: 1500 * time.Millisecond, settle: 300 * time.Millisecond,
	shell: 700 * time.Millisecond, command: time.Second,
}

// A round is one try of a misbehaviour.
type round struct {
	misbehaviour
	seed    uint64
	outcome string
	took    time.Duration
	faults  []string
}

// Whatever a host does, the client does not panic. It returns an error that names the host and says
// what to do, or a correct result, within the limit of time and memory; it reveals no secret, and
// leaves nothing behind. STITCH_TORTURE is how often each misbehaviour is tried, STITCH_SEED is the
// random seed.
func TestHostileHost(t *testing.T) {
	t.Parallel()
	times, seed := sandbox.Effort(t), sandbox.Seed(t)
	t.Logf("to repeat it: STITCH_SEED=%d", seed)
	var rounds []*round
	for i := range times {
		for j, m := range misbehaviours() {
			rounds = append(rounds, &round{misbehaviour: m, seed: seed + uint64(i*1000+j)})
		}
	}
	key, greatest := newKey(t), watchMemory(t)
	queue := make(chan *round)
	var all sync.WaitGroup
	for range hostileAtOnce {
		all.Go(func() {
			for r := range queue {
				r.play(t, key)
			}
		})
	}
	for _, r := range rounds {
		queue <- r
	}
	close(queue)
	all.Wait()
	t.Log(table(rounds))
	for _, r := range rounds {
		for _, fault := range r.faults {
			t.Errorf("%s (seed %d): %s", r.name, r.seed, fault)
		}
	}
	most, limit := greatest(), uint64(hostileMemory+times*hostileStuck)
	if t.Logf("it took %d MiB of memory", most>>20); most > limit {
		t.Errorf("that is more than %d MiB", limit>>20)
	}
}

// A host that breaks the protocol again and again is no longer connected to: what the ssh package
// keeps of each such connection is bounded.
func TestProtocolBrokenAgain(t *testing.T) {
	t.Parallel()
	s := &stage{over: make(chan struct{})}
	host, err := startHostile(newKey(t), s, behaviour{raw: func(p *rawPeer) {
		p.login()
		id := p.openSession(1<<20, 1<<15)
		p.repeat(to(msgWindowAdjust, id, struct{ N uint32 }{0xffffffff}))
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer host.stop()
	client := only(t, host.configs(t, "root", true)["bastion"])
	client.limits.settle = 10 * time.Millisecond
	for range 10 * maxViolations {
		if _, err = client.Run(t.Context(), Command{Script: "true"}); errors.Is(err, errViolations) {
			break
		}
		wantA[*ConnectError](t, err)
	}
	wantText(t, err, "does not connect to it again", "ssh_hosts.bastion")
}

// watchMemory returns a function that returns the peak of additional memory.
func watchMemory(t *testing.T) func() uint64 {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(heap)
		return heap[0].Value.Uint64()
	}
	runtime.GC()
	least := read()
	most := least
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			most = max(most, read())
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() uint64 {
		cancel()
		<-ended
		return most - least
	}
}

// table lists what was tried.
func table(rounds []*round) string {
	type line struct {
		rounds   int
		outcomes map[string]int
		longest  time.Duration
	}
	lines := map[string]*line{}
	var names []string
	for _, r := range rounds {
		l, ok := lines[r.name]
		if !ok {
			l = &line{outcomes: map[string]int{}}
			lines[r.name] = l
			names = append(names, r.name)
		}
		l.rounds++
		l.outcomes[r.outcome]++
		l.longest = max(l.longest, r.took)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nthe host\trounds\tlongest\toutcome\n")
	for _, name := range names {
		l := lines[name]
		var outcomes []string
		for _, outcome := range slices.Sorted(maps.Keys(l.outcomes)) {
			outcomes = append(outcomes, fmt.Sprintf("%d %s", l.outcomes[outcome], outcome))
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", name, l.rounds, l.longest.Round(10*time.Millisecond), strings.Join(outcomes, ", "))
	}
	w.Flush()
	return b.String()
}

func (r *round) fault(format string, values ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, values...))
}

// play tries the misbehaviour once.
func (r *round) play(t *testing.T, key ssh.Signer) {
	s := &stage{random: rand.New(rand.NewPCG(r.seed, 0)), over: make(chan struct{})}
	as := r.as
	if as == "" {
		as = []string{"root", "sudo", "tunnel"}[s.n(3)]
	}
	host, err := startHostile(key, s, r.makes(s))
	if err != nil {
		r.fault("it was not started: %v", err)
		return
	}
	defer host.stop()
	name := fmt.Sprintf("%s %d", r.name, r.seed)
	pprof.Do(t.Context(), pprof.Labels("hostile", name), func(ctx context.Context) { err = r.connect(ctx, t, host, as) })
	for deadline := time.Now().Add(hostileSlack); goroutines(t, name) != ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.fault("goroutines are left:\n%s", goroutines(t, name))
			break
		}
	}
	for _, secret := range []string{hostilePassphrase, hostileSudo, hostilePassword} {
		if told := host.heard.holds(secret); told && (secret != hostileSudo || !r.asks) {
			r.fault("the host was told %s", secret)
		}
		if secret != hostilePassword && host.logins.holds(secret) {
			r.fault("the host was told %s at the login", secret)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			r.fault("the error shows %s", secret)
		}
	}
}

// connect does what clients do, and closes everything.
func (r *round) connect(ctx context.Context, t *testing.T, host *hostileHost, as string) error {
	all := NewHosts(host.configs(t, as, !r.early || !r.waits))
	for _, h := range all.byName {
		if r.waits {
			h.limits = hostileLimits
		}
	}
	client, _ := all.Host("bastion")
	if as == "jump" {
		client, _ = all.Host("inner")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	began := time.Now()
	said, err := r.try(ctx, client, as)
	r.took = time.Since(began)
	closed := make(chan struct{})
	go func() {
		all.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(hostileSlack):
		r.fault("it cannot be closed")
	}
	r.judge(said, err)
	return err
}

// goroutines returns the goroutines that a round has left. Some of the ssh package's own may stay
// where a host breaks the protocol and goes on sending, because the package then deadlocks.
func goroutines(t *testing.T, round string) (left string) {
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Error(err)
	}
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		stuck := strings.Contains(stack, "ssh.(*handshakeTransport)") || strings.Contains(stack, "ssh.(*mux).Wait")
		if strings.Contains(stack, strconv.Quote(round)) && !stuck && !strings.Contains(stack, "goroutines+") {
			left += stack + "\n\n"
		}
	}
	return left
}

// judge checks the result of a client.
func (r *round) judge(said string, err error) {
	if r.took > hostileSlack {
		r.fault("it took %s", r.took)
	}
	if err == nil {
		r.outcome = "works"
		if !r.works && !r.may {
			r.fault("there is no error")
		}
		if said != rightAnswer {
			r.fault("the result is %.100q", said)
		}
		return
	}
	r.outcome = strings.TrimPrefix(fmt.Sprintf("%T", err), "*sshclient.")
	if r.works {
		r.fault("it fails: %.500v", err)
	}
	if !r.early && errors.Is(err, errTooLate) {
		r.fault("it did not come so far: %.500v", err)
	}
	text := err.Error()
	if len(text) > 6000 {
		r.fault("the error has %d bytes", len(text))
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return // the text of our own script
	}
	if !strings.Contains(text, `"bastion"`) {
		r.fault("the error does not name the host: %.500q", text)
	}
	advice := []string{"ssh_hosts.bastion", "ssh_hosts.inner", "Plan again", "sshd_config", "as the SSH host sees them", "host_key"}
	if !slices.ContainsFunc(advice, func(s string) bool { return strings.Contains(text, s) }) {
		r.fault("the error does not say what to do: %.500q", text)
	}
}

// try does what clients do.
func (r *round) try(ctx context.Context, h *Host, as string) (string, error) {
	if as != "tunnel" {
		output, err := h.Run(ctx, Command{Script: "echo right"})
		return string(output), err
	}
	limit := moment
	if r.waits {
		limit = 2 * hostileConnect
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := h.Tunnel().DialContext(ctx, "tcp", "db.internal:5432")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte("ping")); err != nil {
		return "", inTunnel(err)
	}
	pong := make([]byte, 4)
	if _, err := io.ReadFull(conn, pong); err != nil {
		return "", inTunnel(err)
	}
	if string(pong) != "pong" {
		return "", inTunnel(fmt.Errorf("%q", pong))
	}
	return rightAnswer, nil
}

// inTunnel stands for the error of a user of the tunnel.
func inTunnel(err error) error {
	return fmt.Errorf(`in a tunnel through "bastion" (ssh_hosts.bastion): %w`, err)
}

// clientKey returns a private key. Encrypting and decrypting one takes long.
func clientKey(t *testing.T, encrypted bool) (key, passphrase string) {
	_, private, err := ed25519.GenerateKey(crand.Reader)
	if err != nil {
		t.Error(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if encrypted {
		passphrase = hostilePassphrase
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Error(err)
	}
	return string(pem.EncodeToMemory(block)), passphrase
}

// configs returns the configurations of clients that log in with everything that they have.
func (h *hostileHost) configs(t *testing.T, as string, patient bool) map[string]Config {
	c := Config{
		Host: "127.0.0.1", Port: h.port(), Username: "root", ConnectTimeout: hostileConnect,
		HostKeys: []string{string(ssh.MarshalAuthorizedKey(h.key.PublicKey()))},
		Password: hostilePassword,
	}
	c.PrivateKey, c.PrivateKeyPassphrase = clientKey(t, as == "all")
	if patient {
		c.ConnectTimeout = moment
	}
	switch as {
	case "sudo":
		c.Username, c.Sudo, c.SudoPassword = "operator", true, hostileSudo
	case "root":
		c.SudoPassword = hostileSudo // the host never asks for it
	case "password":
		c.PrivateKey, c.PrivateKeyPassphrase = "", ""
	}
	all := map[string]Config{"bastion": c}
	if as == "jump" {
		inner := c
		inner.Host, inner.JumpHost = "inner.internal", "bastion"
		all["inner"] = inner
	}
	return all
}

// A deadline that passes just as the host accepts the login leaves nothing behind, even if the host
// has by then sent more than was read.
func TestTooLateAfterLogin(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for i := range 60 * sandbox.Effort(t) {
		s := &stage{random: rand.New(rand.NewPCG(uint64(i), 0)), over: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		host, err := startHostile(key, s, behaviour{raw: func(p *rawPeer) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			p.receiveOne(msgAuthRequest)
			p.atOnce(func() {
				p.send([]byte{msgAuthSuccess})
				for range 200 {
					p.send(append([]byte{msgGlobalRequest}, ssh.Marshal(channelRequest{"x", false, nil})...))
				}
			})
			for began, wait := time.Now(), time.Duration(p.n(150))*time.Microsecond; time.Since(began) < wait; { // shorter than any pause
			}
			cancel()
			still(p.in)
		}})
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s %d", t.Name(), i)
		pprof.Do(ctx, pprof.Labels("hostile", name), func(ctx context.Context) {
			all := NewHosts(host.configs(t, "root", true))
			client, _ := all.Host("bastion")
			if _, err := client.Run(ctx, Command{Script: "true"}); err == nil {
				t.Error("there is no error")
			}
			all.Close()
		})
		eventually(t, "no goroutine is left", func() bool { return goroutines(t, name) == "" })
		host.stop()
	}
}
