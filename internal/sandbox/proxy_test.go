package sandbox

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"
)

// echo starts a server that sends back what it gets, until the end.
func echo(t *testing.T) string {
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
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func (p *Proxy) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(p.Host, strconv.Itoa(p.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// try is say on a new connection, which may fail to open.
func (p *Proxy) try(text string) error {
	conn, err := net.Dial("tcp", net.JoinHostPort(p.Host, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	return say(conn, text, slowTimeout)
}

// say sends text and returns an error unless it comes back within the time.
func say(conn net.Conn, text string, within time.Duration) error {
	_ = conn.SetDeadline(time.Now().Add(within))
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(conn, got)
	if err == nil && string(got) != text {
		return errors.New("other text came back: " + string(got))
	}
	return err
}

func TestProxyForwards(t *testing.T) {
	p := StartProxy(t, echo(t))
	conn := p.dial(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = conn.Write(sent)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes come back, %v", len(got), len(sent), err)
	}
	if got, want := p.Bytes(), int64(2*len(sent)); got != want {
		t.Errorf("%d bytes are counted, want %d", got, want)
	}
	if !eventually(func() bool { return p.Open() == 0 }) || p.Connections() != 1 {
		t.Errorf("%d connections are open, of %d", p.Open(), p.Connections())
	}
}

func TestProxyCut(t *testing.T) {
	p := StartProxy(t, echo(t))
	a, b := p.dial(t), p.dial(t)
	for _, conn := range []net.Conn{a, b} {
		if err := say(conn, "before", slowTimeout); err != nil {
			t.Fatal(err)
		}
	}
	p.Cut()
	for _, conn := range []net.Conn{a, b} {
		if err := say(conn, "after", slowTimeout); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection that was cut: %v", err)
		}
	}
	c := p.dial(t)
	if err := say(c, "new", slowTimeout); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	p.CutAfter(100)
	if err := say(c, "short", slowTimeout); err != nil {
		t.Errorf("before the bytes have passed: %v", err)
	}
	if err := say(c, string(make([]byte, 200)), slowTimeout); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the bytes have passed: %v", err)
	}
}

func TestProxySilence(t *testing.T) {
	p := StartProxy(t, echo(t))
	old := p.dial(t)
	if err := say(old, "before", slowTimeout); err != nil {
		t.Fatal(err)
	}
	p.Silence()
	fresh := p.dial(t)
	for _, conn := range []net.Conn{old, fresh} {
		if err := say(conn, "lost?", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("in the black hole: %v", err)
		}
	}
	p.Speak()
	for _, conn := range []net.Conn{old, fresh} {
		_ = conn.SetDeadline(time.Now().Add(slowTimeout))
		got := make([]byte, 5)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "lost?" {
			t.Errorf("after it %q, %v", got, err)
		}
	}
}

func TestProxyRefuse(t *testing.T) {
	p := StartProxy(t, echo(t))
	old := p.dial(t)
	if err := say(old, "before", slowTimeout); err != nil {
		t.Fatal(err)
	}
	p.Refuse()
	if err := say(old, "refused", slowTimeout); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the old connection: %v", err)
	}
	if err := p.try("refused"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection: %v", err)
	}
	p.Accept()
	if err := say(p.dial(t), "after", slowTimeout); err != nil {
		t.Error(err)
	}
	away := StartProxy(t, "127.0.0.1:1")
	if err := away.try("nobody"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without a server: %v", err)
	}
}
