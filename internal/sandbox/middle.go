package sandbox

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
)

// A Message is one message of a server.
type Message struct {
	Kind  byte
	Body  []byte
	Ready int // how often the server was ready for a query before: 0 while the client logs in
}

// Bytes returns the message as it is sent.
func (m Message) Bytes() []byte { return append(Header(m.Kind, int64(len(m.Body))), m.Body...) }

// A Meddler gets each message of a server and passes it on to the client, or does something else.
// After an error, the connection ends.
type Meddler func(Message) error

// StartMiddle starts a Hostile between its clients and a real server. It passes on what the clients
// send; what the server sends goes through the Meddler of the connection. With encrypt, both sides
// use TLS, the clients' side with the Hostile's own certificate; otherwise neither side does.
func StartMiddle(t testing.TB, s *Server, encrypt bool, meddle func(*Client) Meddler) *Hostile {
	t.Helper()
	return StartHostile(t, func(c *Client) {
		startup, err := c.Begin(encrypt)
		if err != nil {
			return
		}
		server, err := dialServer(s, encrypt)
		if err != nil {
			return
		}
		defer server.Close()
		if _, err := server.Write(startup); err != nil {
			return
		}
		c.gone = make(chan struct{})
		go func() {
			defer close(c.gone)
			_, _ = io.Copy(server, onlyReader{c})
			server.Close()
		}()
		_ = passOn(server, meddle(c)) // whatever the reason, both sides are closed now
		c.Close()
		<-c.gone
	})
}

// onlyReader hides from io.Copy the ways of reading that would not be remembered.
type onlyReader struct{ io.Reader }

// Gone is closed when the client of a middle has hung up.
func (c *Client) Gone() <-chan struct{} { return c.gone }

func dialServer(s *Server, encrypt bool) (net.Conn, error) {
	conn, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil || !encrypt {
		return conn, err
	}
	request := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), sslRequest)
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
		conn.Close()
		return nil, errors.Join(err, errors.New("the server has no TLS"))
	}
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), nil //nolint:gosec // whoever stands in the middle does not mind
}

func passOn(server net.Conn, meddle Meddler) error {
	for ready := 0; ; {
		var head [5]byte
		if _, err := io.ReadFull(server, head[:]); err != nil {
			return err
		}
		m := Message{Kind: head[0], Body: make([]byte, binary.BigEndian.Uint32(head[1:])-4), Ready: ready}
		if _, err := io.ReadFull(server, m.Body); err != nil {
			return err
		}
		if m.Kind == 'Z' {
			ready++
		}
		if err := meddle(m); err != nil {
			return err
		}
	}
}
