package pgclient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What a server may send. During a login, PostgreSQL sends about twenty messages of at most some
// hundred bytes. After the login, the largest messages are what _stitch holds about thousands of
// tables, and a schema's names in one array; the largest answer in all is the columns of a
// structure sync. Replicated rows do not count: they pass through package replication, which
// keeps none.
const (
	maxLoginMessage = 64 << 10  // one message until the login is complete
	maxLogin        = 1 << 20   // all of them
	maxMessage      = 64 << 20  // one message after that
	maxControl      = 1 << 20   // a message that informs rather than answers: an error, a notice
	maxAnswer       = 256 << 20 // all messages that answer one request
	messageCost     = 256       // what a message counts in addition to its bytes: about what it takes in memory
	maxNotices      = 1 << 30   // notices while one request is answered: none are kept, and a function may raise one for each row
	maxParameters   = 200       // that the server reports; PostgreSQL 18 reports 15
)

// SameLength returns an error unless the arrays that a server sent in one row are equally long:
// each array describes the same items.
func SameLength(lengths ...int) error {
	if slices.Min(lengths) != slices.Max(lengths) {
		return &protocolError{"the server sent arrays of different lengths for the same items"}
	}
	return nil
}

// A protocolError says that a server sent more than it may, or a message that PostgreSQL does
// not send.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return e.text }

// A limitedReader passes on what a server sends, and fails on a message that exceeds a limit
// before pgconn allocates memory for it. It reads message after message: a byte for the kind,
// four bytes for the length, which includes them, and a body.
type limitedReader struct {
	from     io.Reader
	backlog  *backlog
	exchange *exchange
	strict   bool  // whether SCRAM must have leastIterations
	err      error // the error that the reader failed with, permanently
	lost     error // the error that the connection ended with

	header     []byte // of the current message, up to 5 bytes
	rest       int    // bytes of its body still to come
	kept       []byte // its body, for the kinds that are inspected
	ready      bool   // the login is complete
	spent      int    // by messages since the server was last ready
	noticed    int    // by notices since then, which are not part of spent
	concluded  bool   // whether, since then, the last execution was concluded
	parameters map[string]bool
}

func (r *limitedReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.backlog.bytes.Store(0)
	n, err := r.from.Read(p)
	if r.err = r.follow(p[:n]); r.err != nil {
		return 0, r.err
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		r.lost = err
	}
	return n, err
}

// readerKey is the key under which a connection of pgconn keeps its limitedReader.
const readerKey = "limitedReader"

// explainClosed adds to the error of a closed conn why it was closed: pgconn may forget the
// cause.
func explainClosed(conn *pgx.Conn, err error) error {
	r, ok := conn.PgConn().CustomData()[readerKey].(*limitedReader)
	if !ok || !errors.Is(err, pgconn.ErrConnClosed) {
		return err
	}
	cause := r.err
	if cause == nil {
		cause = r.lost
	}
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// follow advances through messages.
func (r *limitedReader) follow(data []byte) error {
	for len(data) > 0 {
		if missing := 5 - len(r.header); missing > 0 {
			taken := min(missing, len(data))
			r.header, data = append(r.header, data[:taken]...), data[taken:]
			if len(r.header) < 5 {
				return nil
			}
			if err := r.begin(); err != nil {
				return err
			}
		}
		taken := min(r.rest, len(data))
		if r.keeps() {
			r.kept = append(r.kept, data[:taken]...)
		}
		r.rest, data = r.rest-taken, data[taken:]
		if r.rest > 0 {
			return nil
		}
		if err := r.end(); err != nil {
			return err
		}
		r.header, r.kept = r.header[:0], r.kept[:0]
	}
	return nil
}

// keeps reports whether the body of the current message is inspected.
func (r *limitedReader) keeps() bool { return r.header[0] == 'R' || r.header[0] == 'S' }

func (r *limitedReader) begin() error {
	length := int32(binary.BigEndian.Uint32(r.header[1:])) //nolint:gosec // what is beyond is negative, and refused
	if length < 4 {
		return &protocolError{fmt.Sprintf("a message from the server has the impossible length %d", length)}
	}
	r.rest = int(length) - 4
	most, all, when := maxMessage, maxAnswer, "in answer to one request"
	switch kind := r.header[0]; {
	case !r.ready:
		most, all, when = maxLoginMessage, maxLogin, "before the login was complete"
	case kind == 'S':
		most = maxLoginMessage
	case kind == 'E' || kind == 'N' || kind == 'A' || kind == 'R':
		most = maxControl
	}
	if r.rest > most {
		return &protocolError{fmt.Sprintf("the server sent a message of %d bytes %s: at most %d are expected", r.rest, when, most)}
	}
	if r.ready && r.header[0] == 'N' {
		if r.noticed += r.rest + len(r.header); r.noticed > maxNotices {
			return &protocolError{fmt.Sprintf("the server sent more than %d MiB of notices %s", maxNotices>>20, when)}
		}
		return nil
	}
	if r.spent += r.rest + messageCost; r.spent > all {
		return &protocolError{fmt.Sprintf("the server sent more than %d MiB %s", all>>20, when)}
	}
	return nil
}

func (r *limitedReader) end() error {
	switch r.header[0] {
	case 'T', 'D':
		r.concluded = false
	case 'C', 'I', 's', 'E':
		r.concluded = true
	case 'Z':
		executes, asked := r.exchange.ready()
		if !asked || executes && !r.concluded {
			return &protocolError{"the server reported that it is ready for a query without a request, or in the middle of an answer"}
		}
		r.ready, r.concluded, r.spent, r.noticed = true, false, 0, 0
	case 'R':
		if r.strict && len(r.kept) > 4 && binary.BigEndian.Uint32(r.kept) == saslContinue {
			return checkIterations(r.kept[4:])
		}
	case 'S': // pgconn keeps them all
		name, _, _ := bytes.Cut(r.kept, []byte{0})
		r.parameters[string(name)] = true
		if len(r.parameters) > maxParameters {
			return &protocolError{fmt.Sprintf("the server reported more than %d parameters", maxParameters)}
		}
	}
	return nil
}

// saslContinue is the type of the message AuthenticationSASLContinue.
const saslContinue = 11

// A backlog counts what a server sends while the client writes and the server does not read:
// pgconn buffers it, so that the two do not wait for each other.
type backlog struct{ bytes atomic.Int64 }

// limit makes a connection count towards the backlog.
func (b *backlog) limit(conn net.Conn) net.Conn { return &backlogConn{Conn: conn, backlog: b} }

// A backlogConn is a connection as it was dialled, beneath TLS.
type backlogConn struct {
	net.Conn
	backlog *backlog
	writing atomic.Int32
}

func (c *backlogConn) Write(p []byte) (int, error) {
	c.writing.Add(1)
	defer c.writing.Add(-1)
	return c.Conn.Write(p)
}

func (c *backlogConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.writing.Load() > 0 && c.backlog.bytes.Add(int64(n)) > maxAnswer {
		_ = c.Close() // otherwise the write would go on
		return 0, &protocolError{fmt.Sprintf("the server sent more than %d MiB without reading what the client sent", maxAnswer>>20)}
	}
	return n, err
}

// An exchange holds the requests that the server has not answered yet. pgconn relies on a server
// to report readiness exactly once for each request, after its answer: a server that reports it
// too often makes pgconn panic, and one that reports it too early makes pgconn read on for ever,
// even when it is cancelled.
type exchange struct {
	mu      sync.Mutex
	pending []bool // for each request, the oldest first: whether it executes something, and so must be concluded
}

// expect notes a request.
func (e *exchange) expect(executes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = append(e.pending, executes)
}

// ready returns whether the oldest request has executed something. ok is false if there is no
// request.
func (e *exchange) ready() (executes, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending) == 0 {
		return false, false
	}
	executes, e.pending = e.pending[0], e.pending[1:]
	return executes, true
}

// An askingWriter notes the requests to a server. pgconn's frontend writes whole messages, the
// startup message first, and all messages of a request: only ExecBatch, which the query
// execution modes in use here do not use, writes in another way.
type askingWriter struct {
	to       io.Writer
	exchange *exchange
	started  bool
	executes bool // whether the current request executes something
}

func (w *askingWriter) Write(p []byte) (int, error) {
	if !w.started {
		w.started = true
		w.exchange.expect(false) // the server reports readiness when the login is complete
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
