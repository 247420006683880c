package syncrun

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A proxy is between the engine and a server, cuts one connection or all, and holds up what
// the server sends.
type proxy struct {
	holds
	listener net.Listener
	servers  []string // the first for the first connection, the last for all later ones
	// Whether to cut the COMMIT of a load, and whether before or after it reaches the server.
	armed, deliver atomic.Bool
	armedClaim     atomic.Bool // whether to cut the next claim of a unit, before its answer
	cuts           atomic.Int32
	trips          atomic.Int32 // messages of the engine; messages that are sent together count once

	mu        sync.Mutex
	isBlocked bool
	open      []net.Conn // from the engine
}

func newProxy(t *testing.T, servers ...*sandbox.Server) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener}
	for _, s := range servers {
		p.servers = append(p.servers, net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for n := 0; ; n++ {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client, p.servers[min(n, len(p.servers)-1)])
		}
	}()
	return p
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// loadThrough makes the engine reach the destination through a proxy.
func (e *env) loadThrough(t *testing.T, p *proxy) { e.atPorts(t, e.sourcePort, p.port()) }

// readHeld makes the engine reach the source through a proxy with these markers, with that
// many connections.
func (e *env) readHeld(t *testing.T, connections int, markers ...string) *proxy {
	t.Helper()
	p := newProxy(t, e.source)
	p.hold(t, markers...)
	e.sourcePort = p.port()
	e.servers = e.newServers(t, connections)
	return p
}

// atPorts makes the engine reach source and destination at these ports.
func (e *env) atPorts(t *testing.T, source, destination int) {
	e.sourcePort, e.destinationPort = source, destination
	e.servers = e.newServers(t, pgclient.DefaultMaxConnections)
}

// cutCommit cuts the connection at the next COMMIT that follows a COPY.
func (p *proxy) cutCommit(deliver bool) {
	p.deliver.Store(deliver)
	p.armed.Store(true)
}

// block cuts all connections and lets none through until unblock, as if the server
// were away.
func (p *proxy) block() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isBlocked = true
	for _, client := range p.open {
		_ = client.Close()
	}
}

func (p *proxy) unblock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isBlocked = false
}

func (p *proxy) admit(client net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isBlocked {
		p.open = append(p.open, client)
	}
	return !p.isBlocked
}

func (p *proxy) serve(client net.Conn, address string) {
	defer client.Close()
	if !p.admit(client) {
		return
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	gone := make(chan struct{})
	defer close(gone)
	go p.forward(client, server, gone)
	copied := false
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		p.trips.Add(1)
		message := buffer[:n]
		if bytes.Contains(message, []byte(" claim ")) && p.armedClaim.CompareAndSwap(true, false) {
			p.cuts.Add(1)
			_ = client.(*net.TCPConn).SetLinger(0)
			_ = client.Close()
			_, _ = server.Write(message)
			time.Sleep(200 * time.Millisecond)
			return
		}
		copied = copied || bytes.Contains(message, []byte("FROM STDIN"))
		if copied && bytes.HasPrefix(message, []byte("Q\x00\x00\x00\x0bcommit\x00")) && p.armed.CompareAndSwap(true, false) {
			p.cuts.Add(1)
			_ = client.(*net.TCPConn).SetLinger(0)
			if p.deliver.Load() {
				_ = client.Close() // before the answer
				_, _ = server.Write(message)
				time.Sleep(200 * time.Millisecond)
			}
			return
		}
		if _, err := server.Write(message); err != nil {
			return
		}
	}
}
