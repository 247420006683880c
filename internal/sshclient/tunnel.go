package sshclient

import (
	"context"
	"net"
	"sync"
)

// A Tunnel is a way through a host: an SSH connection of its own, which is made
// when it is first needed, and ends with the last connection through it.
type Tunnel struct {
	host *Host

	mu         sync.Mutex // held while connecting, which has a deadline
	connection *connection
	open       int // connections through it, and those that are being opened
}

// Tunnel returns a tunnel through the host, which is not opened yet.
func (h *Host) Tunnel() *Tunnel { return &Tunnel{host: h} }

// DialContext connects to an address as the host sees it: network is "tcp", or
// "unix" for a socket there. Deadlines of the connection work; its remote
// address is the one that was asked for, so that whoever dials that again
// through the tunnel reaches the same.
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
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.connection == nil || t.connection.isLost() != nil {
		c, err := t.host.connect(ctx)
		if err != nil {
			return nil, err
		}
		t.connection, t.open = c, 0
	}
	t.open++
	return t.connection, nil
}

// release closes the SSH connection if nothing goes through it any more. One
// that was lost, and replaced meanwhile, has nothing to close.
func (t *Tunnel) release(c *connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.connection != c {
		return
	}
	if t.open--; t.open == 0 {
		t.connection = nil
		c.close()
	}
}
