package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// A delay is a proxy that makes a server be further away: whatever is sent
// arrives so much later, in either direction, and as fast as it was sent.
type delay struct {
	listener net.Listener
	address  string
	oneWay   time.Duration
}

// newDelay starts a proxy before an address, on a port of the loopback interface.
func newDelay(ctx context.Context, address string, oneWay time.Duration) (*delay, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &delay{listener, address, oneWay}
	go d.accept()
	return d, nil
}

// stop lets no more connections in. Those that are open end with one of their ends.
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

// serve connects the two ends. A client waits for the server to accept it, which
// takes a way there and back; it was accepted here at once.
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

// A packet is what was read at once, and when it arrives.
type packet struct {
	bytes []byte
	due   time.Time
}

// relay passes on what one end says until it has nothing more to say.
func (d *delay) relay(to, from *net.TCPConn) {
	const packets = 1 << 10 // that are on their way, at most
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
			_ = from.Close() // nobody is there to listen
		}
	}
	_ = to.CloseWrite()
}
