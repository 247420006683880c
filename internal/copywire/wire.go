package copywire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// relayBuffer is how much row data is gathered into one message and one write.
const relayBuffer = 256 << 10

// maxControl is the greatest length of a message without row data.
const maxControl = 1 << 20

// A wire is a connection on which the engine reads and writes messages itself, as the
// frontend of PostgreSQL's protocol. A message is a byte for its kind, four bytes for its
// length, which includes these four, and a body.
type wire struct {
	conn   net.Conn
	reader *bufio.Reader
	broken atomic.Bool // the connection is of no more use: an exchange on it failed, or was not understood
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, reader: bufio.NewReaderSize(conn, relayBuffer)}
}

func (w *wire) fail(err error) error {
	w.broken.Store(true)
	return err
}

// header reads the kind of the next message and the length of its body.
func (w *wire) header() (kind byte, length int, err error) {
	var header [5]byte
	if _, err := io.ReadFull(w.reader, header[:]); err != nil {
		return 0, 0, w.fail(err)
	}
	counted := int32(binary.BigEndian.Uint32(header[1:])) //nolint:gosec // what is beyond is negative, and refused
	if counted < 4 {
		return 0, 0, w.fail(fmt.Errorf("a message from the server has the impossible length %d", counted))
	}
	return header[0], int(counted) - 4, nil
}

func (w *wire) skip(length int) error {
	if _, err := w.reader.Discard(length); err != nil {
		return w.fail(err)
	}
	return nil
}

// other reads a message without row data. If that is an error of the server, other returns it
// after it has read the rest of the answer.
func (w *wire) other(kind byte, length int) error {
	switch kind {
	case 'E':
		failure, err := w.failure(length)
		if err != nil {
			return err
		}
		w.outcome()
		return failure
	case 'N', 'S', 'A': // a notice, a parameter, a notification: the server may send these at any time
		return w.skip(length)
	}
	return w.fail(fmt.Errorf("the server sent an unexpected message %q in the middle of COPY", kind))
}

func (w *wire) failure(length int) (failure, err error) {
	body, err := w.body(length)
	if err != nil {
		return nil, err
	}
	var response pgproto3.ErrorResponse
	if err := response.Decode(body); err != nil {
		return nil, w.fail(err)
	}
	return pgconn.ErrorResponseToPgError(&response), nil
}

func (w *wire) body(length int) ([]byte, error) {
	if length > maxControl {
		return nil, w.fail(fmt.Errorf("the server sent a message of %d bytes: at most %d are expected", length, maxControl))
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(w.reader, body); err != nil {
		return nil, w.fail(err)
	}
	return body, nil
}

// query sends a COPY and reads until the server answers with want.
func (w *wire) query(sql string, want byte) error {
	if err := w.send('Q', append([]byte(sql), 0)); err != nil {
		return err
	}
	for {
		kind, length, err := w.header()
		if err != nil {
			return err
		}
		if kind == want {
			return w.skip(length)
		}
		if err := w.other(kind, length); err != nil {
			return err
		}
	}
}

func (w *wire) send(kind byte, body []byte) error {
	message := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)) // a few bytes
	if _, err := w.conn.Write(append(message, body...)); err != nil {
		return w.fail(err)
	}
	return nil
}

// An outcome is how a server says that a COPY ended.
type outcome struct {
	rows int64
	err  error // of the server, or of the connection
}

// outcome reads until the server is ready for another query.
func (w *wire) outcome() (out outcome) {
	for {
		kind, length, err := w.header()
		if err != nil && out.err != nil {
			return out // the server reported why before it hung up
		}
		if err != nil {
			return outcome{err: err}
		}
		switch kind {
		case 'Z':
			if err := w.skip(length); err != nil {
				return outcome{err: err}
			}
			if w.reader.Buffered() > 0 {
				return outcome{err: w.fail(errors.New("the server sent more data after the end of its answer"))}
			}
			return out
		case 'C':
			body, err := w.body(length)
			if err != nil {
				return outcome{err: err}
			}
			out.rows = pgconn.NewCommandTag(string(body[:max(len(body)-1, 0)])).RowsAffected()
		case 'E':
			failure, err := w.failure(length)
			if err != nil {
				return outcome{err: err}
			}
			out.err = failure
		default:
			if err := w.other(kind, length); err != nil {
				return outcome{err: err}
			}
		}
	}
}

// A copyData gathers row data into messages of relayBuffer. Where one message ends and the
// next begins has no meaning to COPY.
type copyData struct {
	to     *wire
	buffer []byte
	used   int
}

func newCopyData(to *wire) *copyData {
	c := &copyData{to: to, buffer: make([]byte, relayBuffer), used: 5}
	c.buffer[0] = 'd'
	return c
}

// from takes length bytes of what another connection sends.
func (c *copyData) from(source *wire, length int) error {
	for length > 0 {
		n := min(length, len(c.buffer)-c.used)
		if _, err := io.ReadFull(source.reader, c.buffer[c.used:c.used+n]); err != nil {
			return source.fail(err)
		}
		c.used += n
		length -= n
		if c.used == len(c.buffer) {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *copyData) flush() error {
	if c.used == 5 {
		return nil
	}
	binary.BigEndian.PutUint32(c.buffer[1:], uint32(c.used-1)) // at most relayBuffer
	_, err := c.to.conn.Write(c.buffer[:c.used])
	c.used = 5
	if err != nil {
		return c.to.fail(err)
	}
	return nil
}
