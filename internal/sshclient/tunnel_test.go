package sshclient

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// serve listens, and calls f with each connection.
func serve(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn) }

// holds waits until the other side closes, and never reads what that side sends.
func holds(t *testing.T) func(net.Conn) {
	return func(conn net.Conn) {
		<-t.Context().Done()
	}
}

func dial(t *testing.T, tunnel *Tunnel, address string) net.Conn {
	t.Helper()
	conn, err := tunnel.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestTunnel(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Hosts: map[string]string{"database.internal": "127.0.0.1"}})
	_, port, _ := net.SplitHostPort(serve(t, echo))
	address := net.JoinHostPort("database.internal", port) // only the host resolves it
	proxy := proxyTo(t, h)
	tunnel := only(t, through(proxy, asOperator(h))).Tunnel()
	if proxy.Connections() != 0 {
		t.Error("it connects before it is needed")
	}
	for round := 1; round <= 2; round++ {
		one, two := dial(t, tunnel, address), dial(t, tunnel, address)
		if one.RemoteAddr().String() != address || one.RemoteAddr().Network() != "tcp" {
			t.Errorf("the remote address is %v", one.RemoteAddr())
		}
		for _, conn := range []net.Conn{one, two} {
			if _, err := conn.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(io.LimitReader(conn, 5)); string(got) != "hello" || err != nil {
				t.Fatalf("%q %v", got, err)
			}
		}
		one.Close()
		time.Sleep(50 * time.Millisecond)
		if _, err := two.Write([]byte("x")); err != nil || proxy.Open() != 1 {
			t.Errorf("with the first the second ended: %v, %d open", err, proxy.Open())
		}
		two.Close()
		two.Close() // a second Close does nothing
		eventually(t, "the SSH connection ends with the last", func() bool { return proxy.Open() == 0 })
		if proxy.Connections() != round {
			t.Errorf("%d connections", proxy.Connections())
		}
	}
	noGoroutine(t)
}

// Everything that the other side sends before it closes arrives, and so does everything written
// before Close.
func TestTunnelLosesNothing(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	sent := make([]byte, 5<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	tunnel := only(t, asRoot(h)).Tunnel()
	conn := dial(t, tunnel, serve(t, func(conn net.Conn) { _, _ = conn.Write(sent) }))
	if got, err := io.ReadAll(conn); !bytes.Equal(got, sent) || err != nil {
		t.Errorf("%d of %d bytes came (%v)", len(got), len(sent), err)
	}

	sums := make(chan [32]byte, 1)
	conn = dial(t, tunnel, serve(t, func(conn net.Conn) {
		got, _ := io.ReadAll(conn)
		sums <- sha256.Sum256(got)
	}))
	if _, err := conn.Write(sent); err != nil {
		t.Error(err)
	}
	conn.Close()
	if <-sums != sha256.Sum256(sent) {
		t.Error("what was written before Close did not arrive whole")
	}
}

func TestTunnelDeadlines(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	tunnel := only(t, asRoot(h)).Tunnel()
	conn := dial(t, tunnel, serve(t, echo))
	for range 3 {
		start := time.Now()
		_ = conn.SetReadDeadline(start.Add(50 * time.Millisecond))
		_, err := conn.Read(make([]byte, 1))
		var network net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &network) || !network.Timeout() || time.Since(start) > 5*time.Second {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		_ = conn.SetReadDeadline(time.Time{})
		if _, err := conn.Write([]byte("y")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatalf("after a deadline: %v", err)
		}
	}

	stuck := dial(t, tunnel, serve(t, holds(t)))
	_ = stuck.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	if n, err := stuck.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
	closed := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		closed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	conn.Close()
	if err := <-closed; err == nil {
		t.Error("Close does not end Read")
	}
	start := time.Now()
	stuck.Close() // though the other side does not read
	noGoroutine(t)
	if took := time.Since(start); took > linger+5*time.Second {
		t.Errorf("it ends after %s", took)
	}
}

// A connection through a tunnel does everything that a net.Conn must.
func TestTunnelIsAConn(t *testing.T) {
	tunnel := only(t, asRoot(sandbox.SharedSSHHost(t, sandbox.HostConfig{}))).Tunnel()
	nettest.TestConn(t, func() (one, two net.Conn, stop func(), err error) {
		accepted, over := make(chan net.Conn), make(chan struct{})
		address := serve(t, func(conn net.Conn) {
			accepted <- conn
			<-over
		})
		if one, err = tunnel.DialContext(t.Context(), "tcp", address); err != nil {
			return nil, nil, nil, err
		}
		two = <-accepted
		return one, two, func() {
			close(over)
			one.Close()
			two.Close()
		}, nil
	})
}

func TestTunnelIsLost(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	address := serve(t, echo)
	proxy := proxyTo(t, h)
	tunnel := only(t, through(proxy, asRoot(h))).Tunnel()
	conn := dial(t, tunnel, address)
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	proxy.Cut()
	wantText(t, <-failed, `the SSH connection to "bastion" was lost`)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("noticed after %s", took)
	}
	_, err := conn.Write([]byte("x"))
	wantText(t, err, `the SSH connection to "bastion" was lost`)
	again := dial(t, tunnel, address) // over a new SSH connection
	conn.Close()                      // which does not end the new one
	if _, err := again.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(again, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	again.Close()
	eventually(t, "the SSH connection ends", func() bool { return proxy.Open() == 0 })
	noGoroutine(t)
}

func TestTunnelFallsSilent(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	for name, use := range map[string]func(net.Conn) error{
		"reading": func(c net.Conn) error {
			_, err := c.Read(make([]byte, 1))
			return err
		},
		"writing": func(c net.Conn) error {
			for {
				if _, err := c.Write(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := proxyTo(t, h)
			conn := dial(t, only(t, through(proxy, asRoot(h))).Tunnel(), serve(t, echo))
			proxy.Silence()
			start := time.Now()
			wantText(t, use(conn), `the SSH connection to "bastion" was lost`, "the host sent nothing for 10 seconds")
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("noticed after %s", took)
			}
		})
	}
}

// A slow connection that is not silent is kept.
func TestTunnelIsSlow(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	trickle := serve(t, func(conn net.Conn) { // to an SSH host: two thirds of a packet in each interval
		sshd, err := net.Dial("tcp", net.JoinHostPort(h.Host, strconv.Itoa(h.Port)))
		if err != nil {
			return
		}
		defer sshd.Close()
		go func() { _, _ = io.Copy(sshd, conn) }()
		slow, buffer := time.Time{}, make([]byte, 20_000)
		for {
			n, err := sshd.Read(buffer)
			if err != nil {
				return
			}
			if n == len(buffer) { // bulk data
				if slow.IsZero() {
					slow = time.Now()
				}
				if time.Since(slow) < 18*time.Second {
					time.Sleep(4 * time.Second)
				}
			}
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	c := asRoot(h)
	host, port, _ := net.SplitHostPort(trickle)
	c.Host = host
	c.Port, _ = strconv.Atoi(port)
	conn := dial(t, only(t, c).Tunnel(), serve(t, func(conn net.Conn) { _, _ = conn.Write(make([]byte, 4<<20)) }))
	if got, err := io.Copy(io.Discard, conn); got != 4<<20 || err != nil {
		t.Errorf("%d bytes, %v", got, err)
	}
}

func TestTunnelCancelled(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	proxy := proxyTo(t, h)
	tunnel := only(t, through(proxy, asRoot(h))).Tunnel()
	proxy.Silence()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := tunnel.DialContext(ctx, "tcp", "localhost:1"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	proxy.Speak()
	conn := dial(t, tunnel, serve(t, echo))
	proxy.Silence()
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := tunnel.DialContext(ctx, "tcp", "localhost:1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second connection: %v", err)
	}
	proxy.Speak()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Errorf("the first ended with it: %v", err)
	}
}

func TestTunnelRefused(t *testing.T) {
	address := serve(t, echo)
	for name, settings := range map[string][]string{
		"forwarding": {"AllowTcpForwarding no"},
		"another":    {"PermitOpen 192.0.2.1:5432"},
		"disabled":   {"DisableForwarding yes"},
	} {
		t.Run(name, func(t *testing.T) {
			h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Settings: settings})
			_, err := only(t, asRoot(h)).Tunnel().DialContext(t.Context(), "tcp", address)
			if forward := as[*ForwardError](t, err); !forward.Refused {
				t.Errorf("%+v", forward)
			}
			wantText(t, err, "AllowTcpForwarding", "PermitOpen", "permitopen", address)
		})
	}
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	tunnel := only(t, asRoot(h)).Tunnel()
	for _, address := range []string{"127.0.0.1:1", "nowhere.invalid:5432"} {
		_, err := tunnel.DialContext(t.Context(), "tcp", address)
		if forward := as[*ForwardError](t, err); forward.Refused {
			t.Errorf("%+v", forward)
		}
		wantText(t, err, `SSH host "bastion" cannot reach `+address)
	}
}

// Both directions at the same time, over several connections, while deadlines pass.
func TestTunnelBothWays(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	tunnel := only(t, asRoot(h)).Tunnel()
	address := serve(t, echo)
	var all sync.WaitGroup
	for i := range 4 {
		conn := dial(t, tunnel, address)
		text := bytes.Repeat([]byte(fmt.Sprintf("line %d of many\n", i)), 100_000)
		all.Go(func() {
			if _, err := conn.Write(text); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			var got []byte
			buffer := make([]byte, 10_000)
			for len(got) < len(text) {
				_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
				n, err := conn.Read(buffer)
				got = append(got, buffer[:n]...)
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
					return
				}
			}
			if !bytes.Equal(got, text) {
				t.Error("what comes back is not what was sent")
			}
		})
	}
	all.Wait()
}
