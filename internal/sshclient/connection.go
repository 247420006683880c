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

// A keepalive request goes to the host every interval. A host that sent nothing in an interval is
// silent; the connection is lost after maxSilentIntervals silent ones in a row, at most 15 seconds
// after the host last sent anything.
const maxSilentIntervals = 2

// maxBeforeLogin is how much a host may send before it accepts the login. Some thousand bytes are
// normal. Some of what it sends right after the login is also counted, because it is read before
// this side has seen that the login succeeded.
const maxBeforeLogin = 8 << 20

var (
	errSilent   = errors.New("the host sent nothing for 10 seconds")
	errDeaf     = errors.New("the host sends data, but has not answered a keepalive request for minutes")
	errClosed   = errors.New("the provider closed it")
	errEnded    = errors.New("the host, or a device on the network path, closed it")
	errTooMuch  = fmt.Errorf("the host sent more than %d MiB before the login", maxBeforeLogin>>20)
	errProtocol = errors.New("the host violated the SSH protocol")
)

// A wire is the transport of an SSH connection. It counts received bytes, because a busy host
// answers late, and it learns of the connection's end before the readers do.
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
	if err != nil && !errors.Is(err, net.ErrClosed) { // the caller of Close knows the reason
		w.fail(err)
	}
	return n, err
}

// fail notes the reason of the end, unless one is known.
func (w *wire) fail(err error) { w.broken.CompareAndSwap(nil, &err) }

// A connection is an SSH connection to a host, together with those to the jump hosts that lead
// there.
type connection struct {
	*ssh.Client
	of   *shared
	wire *wire
	via  *connection   // nil without a jump host
	over chan struct{} // closed when nothing more arrives
	lost chan struct{} // closed when the reason is known
}

// newConnection returns a connection that is not logged in yet.
func (h *Host) newConnection(conn net.Conn, via *connection) *connection {
	return &connection{of: h.shared, wire: newWire(conn), via: via, over: make(chan struct{}), lost: make(chan struct{})}
}

// use starts the work of a connection that is logged in.
func (c *connection) use(conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.wire.loggedIn.Store(true)
	none := make(chan *ssh.Request) // all requests are handled below, and their end is that of the connection
	close(none)
	c.Client = ssh.NewClient(conn, channels, none)
	go func() {
		ssh.DiscardRequests(requests)
		close(c.over)
	}()
	go c.watch()
}

// watch notices the end of the connection. It ends a connection whose host is silent or does not
// answer.
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
		// The ssh package deadlocks if a host goes on sending after it has broken the protocol: the
		// last packets of this connection are never freed.
		c.wire.fail(errProtocol)
		c.of.violations.Add(1)
	}
}

// untilOver returns nil when the connection has ended, or the reason why it must end.
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
		} else if silent++; silent == maxSilentIntervals {
			return errSilent
		}
		select {
		case <-answered:
			asked = time.Now()
			go func() {
				_ = c.sendKeepalive()
				answered <- struct{}{}
			}()
		default:
			if time.Since(asked) > c.of.limits.answer {
				return errDeaf
			}
		}
	}
}

// sendKeepalive sends a keepalive request. Hosts refuse it, which is an answer.
func (c *connection) sendKeepalive() error {
	_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// abort ends the connection, and releases everything that waits for it. It closes the transport
// first: closing a channel of a silent jump host might itself block.
func (c *connection) abort() {
	if c.via != nil {
		c.via.abort()
	}
	_ = c.wire.Close()
}

// close ends the connection, and those of the jump hosts that lead to it.
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
			<-c.lost // closed shortly
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

// hasEnded is isLost for a caller with an error that may come from the end of the connection before
// that end is known. It asks the host.
func (c *connection) hasEnded(ctx context.Context) error {
	if why := c.isLost(); why != nil {
		return why
	}
	ctx, cancel := context.WithTimeout(ctx, c.of.limits.interval)
	defer cancel()
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, c.sendKeepalive() }, func(struct{}) {})
	if err == nil || ctx.Err() != nil {
		return nil
	}
	c.abort()
	<-c.lost
	return c.isLost()
}

// within calls f, which waits for the host's answer, and returns when ctx is done even if f has
// not. f then ends at the latest with the connection, and drop gets its result.
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
