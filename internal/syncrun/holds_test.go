package syncrun

import (
	"bytes"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// longestMarker is how many bytes a marker may have.
const longestMarker = 32

// holds stop what a server sends on its way through a proxy. A marker is a text that a row
// holds: the proxy holds each connection in which it crosses, in the middle of the row, until
// the marker is released. The server may have sent its whole answer by then, and be idle in
// its transaction.
type holds struct {
	guard   sync.Mutex
	markers map[string]chan struct{} // of the markers that hold, closed when they are released
	held    map[net.Conn]string      // connections of the engine, and the marker that holds each
}

// hold makes markers hold connections.
func (h *holds) hold(t *testing.T, markers ...string) {
	t.Helper()
	h.guard.Lock()
	defer h.guard.Unlock()
	if h.markers == nil {
		h.markers, h.held = map[string]chan struct{}{}, map[net.Conn]string{}
	}
	for _, marker := range markers {
		if len(marker) == 0 || len(marker) > longestMarker || h.markers[marker] != nil {
			t.Fatalf("%q cannot be a marker", marker)
		}
		h.markers[marker] = make(chan struct{})
	}
}

// awaitHeld waits until that many connections are held, and returns their markers.
func (h *holds) awaitHeld(t *testing.T, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		h.guard.Lock()
		markers := slices.Sorted(maps.Values(h.held))
		h.guard.Unlock()
		if len(markers) == n {
			return markers
		}
		if time.Now().After(deadline) {
			t.Fatalf("connections are held at %q, want %d", markers, n)
		}
	}
}

// release lets connections at these markers pass, now and later.
func (h *holds) release(t *testing.T, markers ...string) {
	t.Helper()
	h.guard.Lock()
	defer h.guard.Unlock()
	for _, marker := range markers {
		if h.markers[marker] == nil {
			t.Fatalf("%q holds nothing", marker)
		}
		close(h.markers[marker])
		delete(h.markers, marker)
		maps.DeleteFunc(h.held, func(_ net.Conn, at string) bool { return at == marker })
	}
}

// releaseAll is release for all markers.
func (h *holds) releaseAll(t *testing.T) {
	t.Helper()
	h.guard.Lock()
	markers := slices.Collect(maps.Keys(h.markers))
	h.guard.Unlock()
	h.release(t, markers...)
}

// cutHeld cuts the connections that are held at a marker. There must be some. Later
// connections are held as before.
func (h *holds) cutHeld(t *testing.T, marker string) {
	t.Helper()
	h.guard.Lock()
	defer h.guard.Unlock()
	before := len(h.held)
	maps.DeleteFunc(h.held, func(client net.Conn, at string) bool { return at == marker && client.Close() == nil })
	if len(h.held) == before {
		t.Fatalf("no connection is held at %q", marker)
	}
}

// forward passes on to the engine what the server sends, and waits where that is held, until
// one of the two hangs up; gone is closed when the engine has.
func (h *holds) forward(client, server net.Conn, gone <-chan struct{}) {
	defer client.Close()
	var text []byte // with the end of what has passed, where a marker may have begun
	buffer := make([]byte, 64<<10)
	for {
		n, readErr := server.Read(buffer)
		passed := min(len(text), longestMarker)
		text = append(text[len(text)-passed:], buffer[:n]...)
		for passed < len(text) {
			marker, end := h.next(text, passed)
			if _, err := client.Write(text[passed:end]); err != nil {
				return
			}
			passed = end
			if marker != "" && !h.wait(client, marker, gone) {
				return
			}
		}
		if readErr != nil {
			return
		}
	}
}

// next returns the end of the part of text that may pass, of which some bytes have passed
// already, and the marker that begins or continues there, if there is one.
func (h *holds) next(text []byte, passed int) (marker string, end int) {
	h.guard.Lock()
	defer h.guard.Unlock()
	end = len(text)
	for m := range h.markers {
		from := max(0, passed-len(m)+1) // a marker that has passed does not count
		at := bytes.Index(text[from:], []byte(m))
		if at >= 0 && max(from+at, passed) < end {
			marker, end = m, max(from+at, passed)
		}
	}
	return marker, end
}

// wait returns when the marker is released, or false when the engine is gone.
func (h *holds) wait(client net.Conn, marker string, gone <-chan struct{}) bool {
	h.guard.Lock()
	released := h.markers[marker]
	if released == nil {
		h.guard.Unlock()
		return true
	}
	h.held[client] = marker
	h.guard.Unlock()
	select {
	case <-released:
		return true
	case <-gone:
		h.guard.Lock()
		defer h.guard.Unlock()
		delete(h.held, client)
		return false
	}
}

// A marker holds however the data is cut into pieces, and the data that has passed it is
// complete.
func TestHolds(t *testing.T) {
	t.Parallel()
	const sent = "a held 1 held 2held 1, hel"
	for size := 1; size <= len(sent); size++ {
		var h holds
		h.hold(t, "held 1", "held 2", "held 3")
		engine, client := net.Pipe()
		proxy, server := net.Pipe()
		go h.forward(client, proxy, nil)
		go func() {
			for piece := range slices.Chunk([]byte(sent), size) {
				_, _ = server.Write(piece)
			}
			_ = server.Close()
		}()
		var guard sync.Mutex
		var got []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			buffer := make([]byte, 64)
			for {
				n, err := engine.Read(buffer)
				guard.Lock()
				got = append(got, buffer[:n]...)
				guard.Unlock()
				if err != nil {
					return
				}
			}
		}()
		for _, marker := range []string{"held 1", "held 2"} {
			at := h.awaitHeld(t, 1)
			guard.Lock()
			if at[0] != marker || bytes.Contains(got, []byte(marker)) || !bytes.HasPrefix([]byte(sent), got) {
				t.Errorf("in pieces of %d, held at %q after %q, want %q", size, at, got, marker)
			}
			guard.Unlock()
			h.release(t, marker)
		}
		<-done
		if string(got) != sent {
			t.Errorf("in pieces of %d, %q arrived", size, got)
		}
	}
}
