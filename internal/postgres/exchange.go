package postgres

import (
	"encoding/binary"
	"io"
	"sync"
)

// An exchange is what was asked of a server and is not answered yet. pgconn counts
// on a server to be ready exactly once for each request, and after its answer: one
// that says so too often makes it panic, and one that says so too early makes it
// read on for ever, also when it is cancelled.
type exchange struct {
	mu      sync.Mutex
	pending []bool // by request, the oldest first: whether something is executed, and so concluded
}

// expect notes a request.
func (e *exchange) expect(executes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = append(e.pending, executes)
}

// ready returns whether the oldest request has executed something. ok is false if
// there is none.
func (e *exchange) ready() (executes, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending) == 0 {
		return false, false
	}
	executes, e.pending = e.pending[0], e.pending[1:]
	return executes, true
}

// An askingWriter notes what is asked of a server. pgconn's frontend writes whole
// messages, the startup message first, and all that are part of a request: only
// ExecBatch, which the modes of executing queries that are used here do not use,
// goes another way.
type askingWriter struct {
	to       io.Writer
	exchange *exchange
	started  bool
	executes bool // in the request under way
}

func (w *askingWriter) Write(p []byte) (int, error) {
	if !w.started {
		w.started = true
		w.exchange.expect(false) // to be ready when the login is complete
		return w.to.Write(p)
	}
	for rest := p; len(rest) >= 5; {
		switch rest[0] {
		case 'Q':
			w.exchange.expect(true)
		case 'E':
			w.executes = true
		case 'S':
			w.exchange.expect(w.executes)
			w.executes = false
		}
		rest = rest[min(len(rest), 1+int(binary.BigEndian.Uint32(rest[1:]))):]
	}
	return w.to.Write(p)
}
