package sshclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// A host is asked every interval whether it is there. One of which nothing came
// in the meantime is silent; it is lost when it was for that many in a row, which
// is 15 seconds after its last word at the latest.
const (
	interval = 5 * time.Second
	patience = 2
)

var (
	errSilent = errors.New("nothing came from it for 10 seconds")
	errClosed = errors.New("it was closed here")
)

// A wire is what an SSH connection runs over. It counts what comes, as a host
// that is busy sending answers late, and knows of its end before those who wait
// for data learn that there is no more.
type wire struct {
	net.Conn
	reader   *bufio.Reader // packets are many and small
	received atomic.Uint64
	broken   atomic.Pointer[error]
}

func newWire(conn net.Conn) *wire {
	return &wire{Conn: conn, reader: bufio.NewReaderSize(conn, 128<<10)}
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.reader.Read(p)
	w.received.Add(uint64(n)) //nolint:gosec // never negative
	if err != nil {
		w.broken.CompareAndSwap(nil, &err)
	}
	return n, err
}

// A connection is one to a host, with those to the jump hosts that lead there.
type connection struct {
	*ssh.Client
	host string
	wire *wire
	via  *connection   // nil without a jump host
	lost chan struct{} // closed when the connection has ended
}

// watch notices the end of the connection, and makes an end of a silent one.
func (c *connection) watch() {
	ended := make(chan struct{})
	go func() {
		err := c.Wait()
		c.wire.broken.CompareAndSwap(nil, &err)
		close(ended)
	}()
	go func() {
		defer close(c.lost)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		answered := make(chan struct{}, 1)
		answered <- struct{}{}
		received, silent := c.wire.received.Load(), 0
		for silent < patience {
			select {
			case <-ended:
				c.abort()
				return
			case <-tick.C:
			}
			if now := c.wire.received.Load(); now != received {
				received, silent = now, 0
			} else {
				silent++
			}
			select {
			case <-answered:
				go func() {
					_, _, _ = c.SendRequest("keepalive@openssh.com", true, nil) // hosts say no to it, which is an answer
					answered <- struct{}{}
				}()
			default:
			}
		}
		err := errSilent
		c.wire.broken.CompareAndSwap(nil, &err)
		c.abort()
		<-ended
	}()
}

// abort ends the connection, and frees all that waits for it. What it runs over
// goes first: to close a channel of a jump host that is silent might wait itself.
func (c *connection) abort() {
	if c.via != nil {
		c.via.abort()
	}
	_ = c.wire.Close()
}

// close ends the connection, and those that lead to it.
func (c *connection) close() {
	err := errClosed
	c.wire.broken.CompareAndSwap(nil, &err)
	c.abort()
	<-c.lost
}

// isLost returns why the connection has ended, or nil if it has not.
func (c *connection) isLost() error {
	broken := c.wire.broken.Load()
	if broken == nil {
		return nil
	}
	err := *broken
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("the host, or what is between, closed it")
		if c.via != nil {
			if why := c.via.isLost(); why != nil {
				err = why
			}
		}
	}
	return fmt.Errorf("the SSH connection to %s was lost: %w", c.host, err)
}

// within calls f, which waits for the host's answer, and returns when ctx is
// done although f has not: it ends at the latest when the connection does, and
// drop is then given what it returned.
func within[T any](ctx context.Context, f func() (T, error), drop func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := f()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		go func() {
			if a := <-answers; a.err == nil {
				drop(a.value)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}
