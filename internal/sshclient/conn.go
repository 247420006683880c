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
	chunkSize = 64 << 10        // more than an SSH packet holds
	chunks    = 4               // how many may be read ahead
	linger    = 2 * time.Second // how long to wait for data written before Close
)

// A conn is a connection through a tunnel. An SSH channel has no deadlines. Therefore writes go
// through a pipe, which has them, and reads through a queue of chunks: a pipe would wait until each
// chunk is read, which halves the speed of large results.
type conn struct {
	net.Conn // of the pipe
	over     *connection
	remote   net.Addr
	settle   func()        // ends the channel once all written data is sent
	deadline *deadline     // of Read
	received chan []byte   // received chunks, closed at the end
	free     chan []byte   // chunks to fill
	turn     chan partial  // held by the reader
	closed   chan struct{} // closed by Close
	close    func()
}

// A partial is the unread rest of a chunk.
type partial struct {
	chunk []byte
	read  int
}

// A remote is the dialled address, as the caller wrote it.
type remote struct{ network, address string }

func (r remote) Network() string { return r.network }
func (r remote) String() string  { return r.address }

// newConn calls done once, after the connection has ended on both sides.
func newConn(channel net.Conn, over *connection, to net.Addr, done func()) net.Conn {
	ours, theirs := net.Pipe()
	c := &conn{
		Conn: ours, over: over, remote: to, deadline: &deadline{over: make(chan struct{})},
		received: make(chan []byte, chunks), free: make(chan []byte, chunks+1), turn: make(chan partial, 1), closed: make(chan struct{}),
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
		_, _ = io.CopyBuffer(onlyWriter{channel}, onlyReader{theirs}, make([]byte, chunkSize)) // the writer meets the error
		end()
	})
	ended := make(chan struct{})
	go func() {
		both.Wait()
		close(ended)
		done()
	}()
	c.settle = sync.OnceFunc(func() {
		go func() { // the other side confirms that it has everything, unless it does not read
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

// receive reads to the end. After Close it drops what it reads.
func (c *conn) receive(channel net.Conn) {
	defer close(c.received)
	for made := 0; ; {
		var chunk []byte
		select {
		case chunk = <-c.free:
		default:
			if made <= chunks { // a chunk is made only when it is needed
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
		if err != nil { // a channel returns its data before the error
			return
		}
		select {
		case c.received <- chunk[:n]:
		case <-c.closed:
		}
	}
}

// Without these types, io.CopyBuffer would use the methods of one side instead of its buffer.
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
	select { // has precedence over available data
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
		case chunk, ok := <-c.received:
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
	return c.SetWriteDeadline(t) // the pipe's
}

// explain adds that the connection ended because its tunnel did.
func (c *conn) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		if why := c.over.isLost(); why != nil && !errors.Is(why, errClosed) {
			return why
		}
	}
	return err
}
