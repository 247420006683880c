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
const patience = 2

// maxBeforeLogin is how much a host may send before it lets us in. Some thousand
// bytes are normal; of what it sends right after the login, some is read before
// we know that we are in.
const maxBeforeLogin = 8 << 20

var (
	errSilent   = errors.New("nothing came from it for 10 seconds")
	errDeaf     = errors.New("it sends, but has not answered for minutes whether it is there")
	errClosed   = errors.New("it was closed here")
	errEnded    = errors.New("the host, or what is between, closed it")
	errTooMuch  = fmt.Errorf("it sent more than %d MiB before the login", maxBeforeLogin>>20)
	errProtocol = errors.New("the host broke the rules of the SSH protocol")
)

// A wire is what an SSH connection runs over. It counts what comes, as a host
// that is busy sending answers late, and knows of its end before those who wait
// for data learn that there is no more.
type wire struct {
	net.Conn
	reader   *bufio.Reader // packets are many and small
	received atomic.Uint64
	loggedIn atomic.Bool
	broken   atomic.Pointer[error]
}

func newWire(conn net.Conn) *wire {
	return &wire{Conn: conn, reader: bufio.NewReaderSize(conn, 128<<10)}
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.reader.Read(p)
	received := w.received.Add(uint64(n)) //nolint:gosec // never negative
	if err == nil && received > maxBeforeLogin && !w.loggedIn.Load() {
		n, err = 0, errTooMuch
	}
	if err != nil && !errors.Is(err, net.ErrClosed) { // whoever closed it knows why
		w.fail(err)
	}
	return n, err
}

// fail notes why it has ended, unless that is known.
func (w *wire) fail(err error) { w.broken.CompareAndSwap(nil, &err) }

// A connection is one to a host, with those to the jump hosts that lead there.
type connection struct {
	*ssh.Client
	of   *shared
	wire *wire
	via  *connection   // nil without a jump host
	over chan struct{} // closed when nothing comes over it any more
	lost chan struct{} // closed when it is known why
}

// newConnection returns a connection that is not logged in yet.
func (h *Host) newConnection(conn net.Conn, via *connection) *connection {
	return &connection{of: h.shared, wire: newWire(conn), via: via, over: make(chan struct{}), lost: make(chan struct{})}
}

// use begins to use a connection that is logged in.
func (c *connection) use(conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.wire.loggedIn.Store(true)
	none := make(chan *ssh.Request) // of all requests, whose end is that of the connection, we take care
	close(none)
	c.Client = ssh.NewClient(conn, channels, none)
	go func() {
		ssh.DiscardRequests(requests)
		close(c.over)
	}()
	go c.watch()
}

// watch notices the end of the connection, and makes an end of one whose host is
// silent, or answers nothing.
func (c *connection) watch() {
	defer close(c.lost)
	if err := c.untilOver(); err != nil {
		c.wire.fail(err)
	}
	c.abort()
	why := make(chan error, 1)
	go func() { why <- c.Wait() }()
	timer := time.NewTimer(c.of.limits.settle)
	defer timer.Stop()
	select {
	case err := <-why:
		c.wire.fail(err)
	case <-timer.C:
		// The ssh package waits for itself where a host goes on sending after it
		// has broken the protocol: this connection's last packets are not freed.
		c.wire.fail(errProtocol)
		c.of.violations.Add(1)
	}
}

// untilOver returns nil when the connection has ended, or why it is to.
func (c *connection) untilOver() error {
	tick := time.NewTicker(c.of.limits.interval)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	answered <- struct{}{}
	received, silent, asked := c.wire.received.Load(), 0, time.Now()
	for {
		select {
		case <-c.over:
			return nil
		case <-tick.C:
		}
		if now := c.wire.received.Load(); now != received {
			received, silent = now, 0
		} else if silent++; silent == patience {
			return errSilent
		}
		select {
		case <-answered:
			asked = time.Now()
			go func() {
				_ = c.ask()
				answered <- struct{}{}
			}()
		default:
			if time.Since(asked) > c.of.limits.answer {
				return errDeaf
			}
		}
	}
}

// ask asks the host whether it is there. Hosts say no to the question, which is an answer.
func (c *connection) ask() error {
	_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
	return err
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
	c.wire.fail(errClosed)
	c.abort()
	<-c.lost
}

// isLost returns why the connection has ended, or nil if it has not.
func (c *connection) isLost() error {
	broken := c.wire.broken.Load()
	if broken == nil {
		select {
		case <-c.over:
			<-c.lost // in a moment
			broken = c.wire.broken.Load()
		default:
			return nil
		}
	}
	err := *broken
	if err == nil || errors.Is(err, io.EOF) {
		err = errEnded
		if c.via != nil {
			if why := c.via.isLost(); why != nil {
				err = why
			}
		}
	}
	return fmt.Errorf("the SSH connection to %q was lost: %w", c.of.name, c.of.said(err))
}

// hasEnded is isLost for whoever met an error that may stand for the end of the
// connection before that is known. It asks the host.
func (c *connection) hasEnded(ctx context.Context) error {
	if why := c.isLost(); why != nil {
		return why
	}
	ctx, cancel := context.WithTimeout(ctx, c.of.limits.interval)
	defer cancel()
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, c.ask() }, func(struct{}) {})
	if err == nil || ctx.Err() != nil {
		return nil
	}
	c.abort()
	<-c.lost
	return c.isLost()
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
