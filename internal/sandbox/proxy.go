package sandbox

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy forwards the connections of a test to an address, until the test makes the network fail.
type Proxy struct {
	Host string // 127.0.0.1
	Port int

	target   string
	listener net.Listener

	mu          sync.Mutex
	changed     sync.Cond // signals changes of silent and open
	silent      bool
	refusing    bool
	open        map[net.Conn]bool // both sides of each connection
	connections int
	bytes       int64
	limit       int64 // cut when bytes reaches it; 0 means never
}

// StartProxy starts a proxy to an address (host:port). The proxy ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, target: target, listener: listener, open: map[net.Conn]bool{}}
	p.changed.L = &p.mu
	t.Cleanup(func() {
		listener.Close()
		p.Refuse()
		p.Speak()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// Cut resets all connections. New ones are forwarded.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

func (p *Proxy) cut() {
	for conn := range p.open {
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset, as from a router that forgot the connection
		conn.Close()
	}
	clear(p.open)
	p.changed.Broadcast()
}

// CutAfter cuts all connections, once, after that many more bytes have passed, give or take a
// buffer.
func (p *Proxy) CutAfter(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = p.bytes + bytes
}

// Silence makes the proxy a black hole: connections, including new ones, stay open, and nothing
// passes, not even their end.
func (p *Proxy) Silence() { p.set(&p.silent, true) }

// Speak ends Silence. What was sent in between now passes, as with TCP.
func (p *Proxy) Speak() { p.set(&p.silent, false) }

// Refuse cuts all connections and resets all new ones until Accept.
func (p *Proxy) Refuse() {
	p.set(&p.refusing, true)
	p.Cut()
}

// Accept ends Refuse.
func (p *Proxy) Accept() { p.set(&p.refusing, false) }

func (p *Proxy) set(state *bool, value bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*state = value
	p.changed.Broadcast()
}

// Connections returns how many connections were made, including refused ones.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connections
}

// Open returns how many connections are open.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open) / 2
}

// Bytes returns how many bytes have passed, in both directions.
func (p *Proxy) Bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	p.connections++
	p.mu.Unlock()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.(*net.TCPConn).SetLinger(0)
		client.Close()
		return
	}

	p.mu.Lock()
	p.open[client], p.open[server] = true, true
	if p.refusing {
		p.cut() // no other connection is open
	}
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { p.forward(server, client) })
	both.Go(func() { p.forward(client, server) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, client)
	delete(p.open, server)
	client.Close()
	server.Close()
}

// forward copies one direction to its end, and then closes that direction alone.
func (p *Proxy) forward(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !p.pass(from, n) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				_ = to.(*net.TCPConn).CloseWrite()
			} else {
				_ = to.(*net.TCPConn).SetLinger(0)
				to.Close()
			}
			return
		}
	}
}

// pass waits while the proxy is silent, and reports whether the connection is open.
func (p *Proxy) pass(from net.Conn, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.silent && p.open[from] {
		p.changed.Wait()
	}
	if !p.open[from] {
		return false
	}
	p.bytes += int64(n)
	if p.limit != 0 && p.bytes >= p.limit {
		p.limit = 0
		p.cut()
		return false
	}
	return true
}
