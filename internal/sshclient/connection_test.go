package sshclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const appends = `printf 'x\n' >>"$file"; sleep "$pause"; printf done`

// timesRun returns how often the script above has run.
func timesRun(t *testing.T, h *sandbox.Host, file string) int {
	t.Helper()
	return strings.Count(h.Exec(t, `cat "$1" 2>/dev/null || :`, file), "x\n")
}

// A connection that is cut after any number of bytes results in an error, and never runs a command
// twice.
func TestCut(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	proxy := proxyTo(t, h)
	client := only(t, through(proxy, asRoot(h)))
	unknown, ran, failed := 0, 0, 0
	for bytes := int64(1); bytes < 9000; bytes += 150 {
		name := "/tmp/" + h.UserName()
		client.siblings.Close() // so that each begins with the handshake
		proxy.CutAfter(bytes)
		output, err := client.Run(t.Context(), Command{Script: appends, Data: map[string]string{"file": name, "pause": "0"}})
		time.Sleep(20 * time.Millisecond) // what was sent may still arrive
		times := timesRun(t, h, name)
		var outcome *OutcomeError
		switch {
		case times > 1:
			t.Fatalf("cut after %d bytes it ran %d times", bytes, times)
		case err == nil && (times != 1 || string(output) != "done"):
			t.Errorf("cut after %d bytes: it ran %d times, and said %q without an error", bytes, times, output)
		case err == nil:
			ran++
		case errors.As(err, &outcome):
			unknown++
		case times != 0:
			t.Errorf("cut after %d bytes: it ran, but the error does not say that it may have: %v", bytes, err)
		default:
			failed++
		}
	}
	t.Logf("%d ran, of %d it is not known, %d did not begin", ran, unknown, failed)
	if unknown == 0 || ran == 0 {
		t.Error("no command was cut, or none ran: this tests nothing")
	}
}

func TestCutInACommand(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	proxy := proxyTo(t, h)
	client := only(t, through(proxy, asRoot(h)))
	name := "/tmp/" + h.UserName()
	failed := make(chan error, 1)
	go func() {
		_, err := client.Run(t.Context(), Command{Script: appends, Data: map[string]string{"file": name, "pause": "1"}})
		failed <- err
	}()
	eventually(t, "the command begins", func() bool { return timesRun(t, h, name) == 1 })
	proxy.Cut()
	err := <-failed
	wantA[*OutcomeError](t, err)
	wantText(t, err, `"bastion"`, "is unknown", "lost")
	time.Sleep(100 * time.Millisecond)
	if times := timesRun(t, h, name); times != 1 {
		t.Errorf("it ran %d times", times)
	}
	run(t, client, "true") // connects again
	proxy.Cut()
	run(t, client, "true") // although the cut went unnoticed
}

// Callers that wait, and callers that come later, notice a host that falls silent.
func TestSilence(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	jumped := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	for name, tt := range map[string]struct{ jump bool }{"direct": {}, "behind a jump host": {true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := proxyTo(t, h)
			configs := map[string]Config{"bastion": through(proxy, asRoot(h))}
			client := hosts(t, configs, "bastion")
			if tt.jump {
				inner := asRoot(jumped)
				inner.JumpHost = "bastion"
				configs["inner"] = inner
				client = hosts(t, configs, "inner")
			}
			run(t, client, "true")
			failed := make(chan error, 1)
			go func() {
				_, err := client.Run(t.Context(), Command{Script: "sleep 300"})
				failed <- err
			}()
			time.Sleep(200 * time.Millisecond)
			proxy.Silence()
			start := time.Now()
			select {
			case err := <-failed:
				wantA[*OutcomeError](t, err)
				wantText(t, err, "was lost")
			case <-time.After(time.Minute): // 15 seconds, on a machine that is not busy
				t.Error("it is not noticed")
			}
			t.Logf("noticed after %s", time.Since(start))
			proxy.Speak()
			run(t, client, "true")
		})
	}
}

// A host that is silent from the start is abandoned at the deadline.
func TestHandshakeThatHangs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // nothing accepts its connections
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	silent := asRoot(h)
	silent.Port = listener.Addr().(*net.TCPAddr).Port
	silent.ConnectTimeout = 500 * time.Millisecond
	jumping := silent
	jumping.JumpHost = "bastion"

	for name, client := range map[string]*Host{
		"direct":              only(t, silent),
		"through a jump host": hosts(t, map[string]Config{"bastion": asRoot(h), "inner": jumping}, "inner"),
	} {
		start := time.Now()
		_, err := client.Run(t.Context(), Command{Script: "true"})
		wantA[*ConnectError](t, err)
		wantText(t, err, "connect_timeout")
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("%s: it takes %s", name, took)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := only(t, silent).Run(ctx, Command{Script: "true"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
}

// sshd drops some of many simultaneous connections; the client tries those again.
func TestMaxStartups(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Settings: []string{"MaxStartups 3:50:6"}})
	var all sync.WaitGroup
	proxy := proxyTo(t, h)
	for range 10 {
		client := only(t, through(proxy, asRoot(h)))
		all.Go(func() {
			if _, err := client.Run(t.Context(), Command{Script: "true"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	t.Logf("%d connections for 10 hosts", proxy.Connections())
	if proxy.Connections() == 10 {
		t.Error("none was dropped: this tests nothing")
	}
}

func TestRefused(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	proxy := proxyTo(t, h)
	client := only(t, through(proxy, asRoot(h)))
	proxy.Refuse()
	_, err := client.Planning().Run(t.Context(), Command{Script: "true"})
	wantA[*ConnectError](t, err)
	wantText(t, err, "Check host and port of ssh_hosts.bastion")
	if tries := proxy.Connections(); tries != attempts {
		t.Errorf("it was tried %d times", tries)
	}
	if _, again := client.Planning().Tunnel().DialContext(t.Context(), "tcp", "localhost:1"); again != err || proxy.Connections() != attempts { //nolint:errorlint // the same one
		t.Errorf("it was tried again for the same plan: %v", again)
	}
	time.AfterFunc(300*time.Millisecond, proxy.Accept)
	run(t, client, "true") // the host is back in a moment
	run(t, client.Planning(), "true")
}

func TestUnknownName(t *testing.T) {
	c := asRoot(sandbox.SharedSSHHost(t, sandbox.HostConfig{}))
	c.Host = "nowhere.invalid"
	_, err := only(t, c).Run(t.Context(), Command{Script: "true"})
	wantText(t, err, "nowhere.invalid", "Check host of ssh_hosts.bastion")
}

func TestJumpHosts(t *testing.T) {
	inner := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	middle := sandbox.SharedSSHHost(t, sandbox.HostConfig{Hosts: map[string]string{"inner.internal": "127.0.0.1"}})
	outer := sandbox.SharedSSHHost(t, sandbox.HostConfig{Hosts: map[string]string{"middle.internal": "127.0.0.1"}})
	configs := map[string]Config{"outer": asOperator(outer), "middle": asRoot(middle), "inner": asRoot(inner)}
	set := func(name, host, jump string) {
		c := configs[name]
		c.Host, c.JumpHost = host, jump
		configs[name] = c
	}
	set("middle", "middle.internal", "outer")
	set("inner", "inner.internal", "middle")
	if output := run(t, hosts(t, configs, "inner"), "echo here"); output != "here\n" {
		t.Errorf("%q", output)
	}

	gone := configs["inner"]
	gone.Host = "gone.internal"
	configs["gone"] = gone
	_, err := hosts(t, configs, "gone").Run(t.Context(), Command{Script: "true"})
	wantA[*ForwardError](t, err)
	wantText(t, err, `"middle" cannot reach gone.internal`)

	wrong := configs["middle"]
	wrong.HostKeys = inner.HostKeys // each host has its own
	configs["middle"] = wrong
	_, err = hosts(t, configs, "inner").Run(t.Context(), Command{Script: "true"})
	if key := as[*HostKeyError](t, err); key.Host != "middle" {
		t.Errorf("%+v", key)
	}
}

// Whatever was done before, nothing is left running.
func TestNothingIsLeft(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	proxy := proxyTo(t, h)
	all := NewHosts(map[string]Config{"bastion": through(proxy, asRoot(h))})
	client, _ := all.Host("bastion")
	run(t, client, "true")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _ = client.Run(ctx, Command{Script: "sleep 1"})
	conn, err := client.Tunnel().DialContext(t.Context(), "tcp", net.JoinHostPort(h.Host, "1"))
	wantA[*ForwardError](t, err)
	if conn != nil {
		t.Error("there is a connection")
	}
	all.Close()
	noGoroutine(t)
	eventually(t, "all connections end", func() bool { return proxy.Open() == 0 })
}
