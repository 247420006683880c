package sshclient

import (
	"context"
	"net"
)

// A Tunnel leads through a host. It has its own SSH connection, which is made when it is first
// needed and ends with the last connection through it.
type Tunnel struct {
	host  *Host
	state chan tunnelState // holds the state while it is not in use: the goroutine that connects takes it, and others give up waiting when their contexts end
}

type tunnelState struct {
	connection *connection // nil if there is none
	open       int         // connections through it, including those being opened
}

// Tunnel returns a tunnel through the host. It is not open yet.
func (h *Host) Tunnel() *Tunnel {
	t := &Tunnel{host: h, state: make(chan tunnelState, 1)}
	t.state <- tunnelState{}
	return t
}

// DialContext connects to an address as the host sees it: network is "tcp", or "unix" for a socket
// there. Deadlines of the connection work. Its remote address is the requested one, so that a
// caller that dials it again through the tunnel reaches the same server. Errors are a *ConnectError
// if the host was not reached, and a *ForwardError if the host did not reach the address.
func (t *Tunnel) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	channel, err := c.DialContext(ctx, network, address)
	if err != nil {
		if why := c.isLost(); why != nil {
			err = why
		}
		t.release(c)
		return nil, t.host.forwardError(address, err)
	}
	return newConn(channel, c, remote{network, address}, func() { t.release(c) }), nil
}

func (t *Tunnel) acquire(ctx context.Context) (*connection, error) {
	var s tunnelState
	select {
	case s = <-t.state:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { t.state <- s }()
	if s.connection == nil || s.connection.isLost() != nil {
		c, err := t.host.connect(ctx)
		if err != nil {
			return nil, err
		}
		s = tunnelState{connection: c}
	}
	s.open++
	return s.connection, nil
}

// release closes the SSH connection if it carries nothing any more. A connection that was lost and
// replaced has nothing to close.
func (t *Tunnel) release(c *connection) {
	s := <-t.state
	if s.connection != c {
		t.state <- s
		return
	}
	if s.open--; s.open == 0 {
		s.connection = nil
		defer c.close()
	}
	t.state <- s
}
