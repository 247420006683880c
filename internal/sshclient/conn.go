package sshclient

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	chunkSize = 64 << 10        // more than a packet of SSH holds
	chunks    = 4               // how many may be read ahead
	linger    = 2 * time.Second // how long what was written before Close may take to leave
)

// A conn is a connection through a tunnel. A channel of SSH knows no deadlines.
// So what is written goes through a pipe, which does, and what is read through a
// queue of chunks: a pipe would wait for each of them to be taken, which halves
// the speed of large results.
type conn struct {
	net.Conn // of the pipe
	over     *connection
	remote   net.Addr
	settle   func()        // ends the channel once what was written has left
	deadline *deadline     // of Read
	come     chan []byte   // chunks that have come, closed at the end
	free     chan []byte   // chunks to fill
	turn     chan partial  // whoever reads holds it
	closed   chan struct{} // by Close
	close    func()
}

// A partial is a chunk of which some was read.
type partial struct {
	chunk []byte
	read  int
}

// A remote is what was dialled, as it was written.
type remote struct{ network, address string }

func (r remote) Network() string { return r.network }
func (r remote) String() string  { return r.address }

// newConn calls done once, when the connection has ended on both sides.
func newConn(channel net.Conn, over *connection, to net.Addr, done func()) net.Conn {
	ours, theirs := net.Pipe()
	c := &conn{
		Conn: ours, over: over, remote: to, deadline: &deadline{over: make(chan struct{})},
		come: make(chan []byte, chunks), free: make(chan []byte, chunks+1), turn: make(chan partial, 1), closed: make(chan struct{}),
	}
	c.close = sync.OnceFunc(func() { close(c.closed) })
	c.turn <- partial{}
	done = sync.OnceFunc(done)
	end := func() {
		_ = theirs.Close()
		_ = channel.Close()
	}
	var both sync.WaitGroup
	both.Go(func() {
		c.receive(channel)
		end()
	})
	both.Go(func() {
		_, _ = io.CopyBuffer(onlyWriter{channel}, onlyReader{theirs}, make([]byte, chunkSize)) // whoever writes meets the error
		end()
	})
	ended := make(chan struct{})
	go func() {
		both.Wait()
		close(ended)
		done()
	}()
	c.settle = sync.OnceFunc(func() {
		go func() { // the other side confirms that it has all, unless it does not read
			timer := time.NewTimer(linger)
			defer timer.Stop()
			select {
			case <-ended:
			case <-timer.C:
				done()
				_ = channel.Close()
			}
		}()
	})
	return c
}

// receive reads to the end. After Close it drops what comes.
func (c *conn) receive(channel net.Conn) {
	defer close(c.come)
	for made := 0; ; {
		var chunk []byte
		select {
		case chunk = <-c.free:
		default:
			if made <= chunks { // what is not used is not made
				chunk = make([]byte, chunkSize)
				made++
				break
			}
			select {
			case chunk = <-c.free:
			case <-c.closed:
				_, _ = io.Copy(io.Discard, onlyReader{channel})
				return
			}
		}
		n, err := channel.Read(chunk)
		if err != nil { // a channel gives what it has first
			return
		}
		select {
		case c.come <- chunk[:n]:
		case <-c.closed:
		}
	}
}

// io.CopyBuffer would leave its buffer alone if one side had a way of its own.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	return n, c.explain(err)
}

func (c *conn) read(p []byte) (int, error) {
	over := c.deadline.passed()
	select { // which goes before data that is there
	case <-c.closed:
		return 0, io.ErrClosedPipe
	case <-over:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	var now partial
	select {
	case now = <-c.turn:
	case <-c.closed:
		return 0, io.ErrClosedPipe
	case <-over:
		return 0, os.ErrDeadlineExceeded
	}
	defer func() { c.turn <- now }()
	if now.chunk == nil && len(p) > 0 {
		select {
		case chunk, ok := <-c.come:
			if !ok {
				return 0, io.EOF
			}
			now = partial{chunk: chunk}
		case <-c.closed:
			return 0, io.ErrClosedPipe
		case <-over:
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(p, now.chunk[now.read:])
	if now.read += n; now.chunk != nil && now.read == len(now.chunk) {
		c.free <- now.chunk[:chunkSize]
		now = partial{}
	}
	return n, nil
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

func (c *conn) Close() error {
	c.close()
	err := c.Conn.Close()
	c.settle()
	return err
}

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.deadline.set(t)
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.deadline.set(t)
	return c.SetWriteDeadline(t) // of the pipe
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
