package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// A delay is a proxy that makes a server seem further away: whatever is sent arrives that much
// later, in either direction, and as fast as it was sent.
type delay struct {
	listener net.Listener
	address  string
	oneWay   time.Duration
}

// newDelay starts a proxy to an address, on a port of the loopback interface.
func newDelay(ctx context.Context, address string, oneWay time.Duration) (*delay, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &delay{listener, address, oneWay}
	go d.accept()
	return d, nil
}

// stop accepts no more connections. Open connections end when either of their ends closes.
func (d *delay) stop() { _ = d.listener.Close() }

func (d *delay) port() int { return d.listener.Addr().(*net.TCPAddr).Port }

func (d *delay) accept() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return
		}
		go d.serve(client.(*net.TCPConn))
	}
}

// serve connects the two ends. For a client, connecting takes a round trip; the proxy accepts at
// once, so serve adds that delay.
func (d *delay) serve(client *net.TCPConn) {
	defer client.Close()
	time.Sleep(2 * d.oneWay)
	conn, err := net.Dial("tcp", d.address)
	if err != nil {
		return
	}
	defer conn.Close()
	server := conn.(*net.TCPConn)
	var both sync.WaitGroup
	both.Go(func() { d.relay(server, client) })
	both.Go(func() { d.relay(client, server) })
	both.Wait()
}

// A packet is what one read returned, and when it arrives.
type packet struct {
	bytes []byte
	due   time.Time
}

// relay passes on what one end sends until that end closes.
func (d *delay) relay(to, from *net.TCPConn) {
	const packets = 1 << 10 // in flight, at most
	way := make(chan packet, packets)
	go func() {
		defer close(way)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			way <- packet{buffer[:n], time.Now().Add(d.oneWay)}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.Close() // the reader is gone
		}
	}
	_ = to.CloseWrite()
}
