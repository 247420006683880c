package sandbox

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// A Hostile is a server that speaks PostgreSQL's protocol as a test wants, not as PostgreSQL does,
// and remembers what its clients send.
type Hostile struct {
	Host string // 127.0.0.1
	Port int
	CA   string // PEM, of its certificate for localhost and 127.0.0.1

	certificate tls.Certificate
	serve       func(*Client)

	mu          sync.Mutex
	heard       []byte
	connections int
	open        map[net.Conn]bool
}

// heardLimit bounds how much of what clients send is remembered.
const heardLimit = 16 << 20

// A Client is one connection to a Hostile, as the Hostile sees it. What the Hostile reads from it
// is remembered.
type Client struct {
	net.Conn     // within TLS, where that was negotiated
	Number   int // of the connection, counted from 0
	hostile  *Hostile
	gone     chan struct{} // for a middle: closed when the client has hung up
}

// StartHostile starts a server that calls serve with each connection and then closes the
// connection. The server ends with the test.
func StartHostile(t testing.TB, serve func(*Client)) *Hostile {
	t.Helper()
	c, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(c.certificate), []byte(c.key))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &Hostile{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, CA: c.ca,
		certificate: pair, serve: serve, open: map[net.Conn]bool{},
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { h.accept(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		h.mu.Lock()
		for conn := range h.open {
			conn.Close()
		}
		h.mu.Unlock()
		all.Wait()
	})
	return h
}

func (h *Hostile) accept(conn net.Conn) {
	h.mu.Lock()
	client := &Client{Conn: conn, Number: h.connections, hostile: h}
	h.connections++
	h.open[conn] = true
	h.mu.Unlock()
	h.serve(client)
	conn.Close()
	h.mu.Lock()
	delete(h.open, conn)
	h.mu.Unlock()
}

// Heard returns what the clients sent, all connections together, without TLS.
func (h *Hostile) Heard() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]byte(nil), h.heard...)
}

// Connections returns how many connections there were.
func (h *Hostile) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.connections
}

func (c *Client) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.hostile.mu.Lock()
	if len(c.hostile.heard) < heardLimit {
		c.hostile.heard = append(c.hostile.heard, p[:n]...)
	}
	c.hostile.mu.Unlock()
	return n, err
}

// sslRequest and cancelRequest are the protocol versions that mean something else.
const (
	sslRequest    = 80877103
	cancelRequest = 80877102
)

// Begin reads up to the startup message, and returns that message whole. With encrypt, a client
// that asks for TLS gets it; otherwise the server declines TLS.
func (c *Client) Begin(encrypt bool) (startup []byte, err error) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return nil, err
		}
		switch code := binary.BigEndian.Uint32(head[4:]); code {
		case cancelRequest:
			return nil, errors.New("the client asks to cancel a request")
		case sslRequest:
			if !encrypt {
				if _, err := c.Write([]byte{'N'}); err != nil {
					return nil, err
				}
				continue
			}
			if err := c.StartTLS(); err != nil {
				return nil, err
			}
		default:
			body, err := c.rest(binary.BigEndian.Uint32(head[:]), 8)
			return append(head[:], body...), err
		}
	}
}

// StartTLS accepts a client's request for TLS, and continues within TLS.
func (c *Client) StartTLS() error {
	if _, err := c.Write([]byte{'S'}); err != nil {
		return err
	}
	encrypted := tls.Server(c.Conn, &tls.Config{Certificates: []tls.Certificate{c.hostile.certificate}}) //nolint:gosec // a test's server
	if err := encrypted.Handshake(); err != nil {
		return err
	}
	c.Conn = encrypted
	return nil
}

// Hear reads the client's next message.
func (c *Client) Hear() (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	body, err = c.rest(binary.BigEndian.Uint32(head[1:]), 4)
	return head[0], body, err
}

// rest reads the remainder of a message, after the part of its length that was read.
func (c *Client) rest(length uint32, read int) ([]byte, error) {
	if length < uint32(read) || length > heardLimit {
		return nil, fmt.Errorf("the client's message has the length %d", length)
	}
	body := make([]byte, int(length)-read)
	_, err := io.ReadFull(c, body)
	return body, err
}

// Say sends a message.
func (c *Client) Say(kind byte, body ...byte) error {
	_, err := c.Write(append(Header(kind, int64(len(body))), body...))
	return err
}

// Header is the beginning of a message whose body has, or claims to have, that length.
func Header(kind byte, body int64) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(body+4))
}

// Wait reads until the client hangs up.
func (c *Client) Wait() { _, _ = io.Copy(io.Discard, c) }
