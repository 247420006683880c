package sshclient

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	copyBuffer = 64 << 10        // more than a packet of SSH holds, so that each goes on at once
	linger     = 2 * time.Second // how long what was written before Close may take to leave
)

// A conn is a connection through a tunnel. A channel of SSH knows no deadlines,
// so it is pumped into one end of a pipe that does, and this is the other end.
type conn struct {
	net.Conn
	over   *connection
	remote net.Addr
	settle func() // ends the channel once what was written has left
}

// A remote is what was dialled, as it was written.
type remote struct{ network, address string }

func (r remote) Network() string { return r.network }
func (r remote) String() string  { return r.address }

// newConn calls closed once, when the connection has ended on both sides.
func newConn(channel net.Conn, over *connection, to net.Addr, closed func()) net.Conn {
	ours, theirs := net.Pipe()
	closed = sync.OnceFunc(closed)
	var pumps sync.WaitGroup
	pump := func(to, from net.Conn) {
		_, _ = io.CopyBuffer(onlyWriter{to}, onlyReader{from}, make([]byte, copyBuffer)) // whoever uses the conn meets the error
		_ = theirs.Close()
		_ = channel.Close()
	}
	pumps.Go(func() { pump(theirs, channel) })
	pumps.Go(func() { pump(channel, theirs) })
	ended := make(chan struct{})
	go func() {
		pumps.Wait()
		close(ended)
		closed()
	}()
	settle := sync.OnceFunc(func() {
		go func() { // the other side confirms that it has all, unless it does not read
			timer := time.NewTimer(linger)
			defer timer.Stop()
			select {
			case <-ended:
			case <-timer.C:
				closed()
				_ = channel.Close()
			}
		}()
	})
	return &conn{Conn: ours, over: over, remote: to, settle: settle}
}

// io.CopyBuffer would leave its buffer alone if one side had a way of its own.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.settle()
	return err
}

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
		if why := c.over.isLost(); why != nil && !errors.Is(why, errClosed) {
			return why
		}
	}
	return err
}
