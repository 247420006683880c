package sshclient

import (
	"errors"
	"io"
	"net"
	"sync"
)

// copyBuffer is more than a packet of SSH holds, so that each goes on at once.
const copyBuffer = 64 << 10

// A conn is a connection through a tunnel. A channel of SSH knows no deadlines,
// so it is pumped into one end of a pipe that does, and this is the other end.
type conn struct {
	net.Conn
	over   *connection
	remote net.Addr
}

// A remote is what was dialled, as it was written.
type remote struct{ network, address string }

func (r remote) Network() string { return r.network }
func (r remote) String() string  { return r.address }

// newConn calls closed once nothing goes through channel any more.
func newConn(channel net.Conn, over *connection, to net.Addr, closed func()) net.Conn {
	ours, theirs := net.Pipe()
	var pumps sync.WaitGroup
	pump := func(to, from net.Conn) {
		defer pumps.Done()
		_, _ = io.CopyBuffer(onlyWriter{to}, onlyReader{from}, make([]byte, copyBuffer)) // whoever uses the conn meets the error
		_ = channel.Close()
		_ = theirs.Close()
	}
	pumps.Add(2)
	go pump(theirs, channel)
	go pump(channel, theirs)
	go func() {
		pumps.Wait()
		closed()
	}()
	return &conn{Conn: ours, over: over, remote: to}
}

// io.CopyBuffer would leave its buffer alone if one side had a way of its own.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.explain(err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

// explain says that a connection ended because its tunnel did.
func (c *conn) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		if why := c.over.isLost(); why != nil {
			return why
		}
	}
	return err
}
