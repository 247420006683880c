package sshclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// A host is asked every interval whether it is there, and has patience to
// answer: what is silent is noticed within 15 seconds.
const (
	interval = 5 * time.Second
	patience = 10 * time.Second
)

var errSilent = errors.New("it did not answer for 10 seconds")

// A connection is one to a host, with those to the jump hosts that lead there.
type connection struct {
	*ssh.Client
	host string
	raw  io.Closer     // what the SSH connection runs over
	via  *connection   // nil without a jump host
	lost chan struct{} // closed when the connection has ended, why then says why
	why  error
}

// watch notices the end of the connection, and makes an end of a silent one.
func (c *connection) watch() {
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	go func() {
		defer close(c.lost)
		for {
			answered := make(chan struct{})
			select {
			case err := <-ended:
				c.ended(err)
				return
			case <-time.After(interval):
			}
			go func() {
				defer close(answered)
				_, _, _ = c.SendRequest("keepalive@openssh.com", true, nil) // hosts say no to it, which is an answer
			}()
			select {
			case <-answered:
			case err := <-ended:
				c.ended(err)
				return
			case <-time.After(patience):
				_ = c.raw.Close() // frees all that waits
				<-ended
				c.ended(errSilent)
				return
			}
		}
	}()
}

func (c *connection) ended(err error) {
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("the host, or what is between, closed it")
	}
	c.why = fmt.Errorf("the SSH connection to host %q was lost: %w", c.host, err)
	_ = c.raw.Close()
	if c.via != nil {
		c.via.close()
	}
}

// isLost returns why the connection has ended, or nil if it has not.
func (c *connection) isLost() error {
	select {
	case <-c.lost:
		return c.why
	default:
		return nil
	}
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

// close ends the connection, and those that lead to it.
func (c *connection) close() {
	_ = c.Client.Close()
	<-c.lost
}
