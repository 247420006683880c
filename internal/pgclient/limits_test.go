package pgclient

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgproto3"
)

// said are messages as a server sends them.
func said(t *testing.T, messages ...pgproto3.BackendMessage) []byte {
	t.Helper()
	var all []byte
	for _, m := range messages {
		var err error
		if all, err = m.Encode(all); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// asked are messages as pgconn's frontend writes them.
func asked(t *testing.T, to *askingWriter, messages ...pgproto3.FrontendMessage) {
	t.Helper()
	var all []byte
	for _, m := range messages {
		var err error
		if all, err = m.Encode(all); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := to.Write(all); err != nil {
		t.Fatal(err)
	}
}

// What a server sends passes unchanged, however it is cut into pieces, up to the first message
// that the server may not send.
func TestLimitedReader(t *testing.T) {
	t.Parallel()
	ready, done := &pgproto3.ReadyForQuery{TxStatus: 'I'}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}
	described, row := &pgproto3.RowDescription{}, &pgproto3.DataRow{Values: [][]byte{[]byte("x")}}
	login := slices.Clip(said(t, &pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "n", Value: "v"}, &pgproto3.BackendKeyData{SecretKey: []byte("1234")}, ready))
	startup := &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30}
	query := []pgproto3.FrontendMessage{&pgproto3.Query{String: "SELECT 1"}}
	header := func(kind byte, length uint32) []byte {
		return []byte{kind, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}
	}
	few := said(t, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=abc,s=c2FsdA==,i=4095")})
	for name, tt := range map[string]struct {
		asked  []pgproto3.FrontendMessage // after the startup message
		said   []byte
		strict bool
		err    string // "" if everything passes
	}{
		"a login":                        {nil, login, true, ""},
		"a query":                        {query, append(login, said(t, described, row, done, ready)...), true, ""},
		"an empty query":                 {query, append(login, said(t, &pgproto3.EmptyQueryResponse{}, ready)...), true, ""},
		"an error":                       {query, append(login, said(t, described, row, &pgproto3.ErrorResponse{}, ready)...), true, ""},
		"two statements":                 {query, append(login, said(t, done, described, row, done, ready)...), true, ""},
		"a description":                  {[]pgproto3.FrontendMessage{&pgproto3.Parse{}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Sync{}}, append(login, said(t, &pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, described, ready)...), true, ""},
		"a description, then a query":    {[]pgproto3.FrontendMessage{&pgproto3.Parse{}, &pgproto3.Sync{}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}, append(login, said(t, &pgproto3.ParseComplete{}, ready, &pgproto3.BindComplete{}, row, done, ready)...), true, ""},
		"an error between":               {[]pgproto3.FrontendMessage{&pgproto3.Parse{}, &pgproto3.Sync{}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}, append(login, said(t, &pgproto3.ErrorResponse{}, ready, &pgproto3.ErrorResponse{}, ready)...), true, ""},
		"few iterations":                 {nil, few, false, ""},
		"few iterations, not verified":   {nil, few, true, "SCRAM with 4095 iterations"},
		"enough iterations":              {nil, said(t, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=abc,s=c2FsdA==,i=4096")}), true, ""},
		"a large notice before the end":  {nil, header('N', 64<<10+5), true, "before the login was complete"},
		"a large row":                    {query, append(login, header('D', 1<<20)...), true, ""},
		"a row that is too large":        {query, append(login, header('D', 64<<20+5)...), true, "in answer to one request"},
		"a large error":                  {query, append(login, header('E', 1<<20+5)...), true, "in answer to one request"},
		"the greatest length":            {nil, header('N', 1<<31-1), true, "before the login was complete"},
		"a negative length":              {nil, header('N', 1<<31), true, "length -2147483648"},
		"a length without itself":        {nil, header('N', 3), true, "length 3"},
		"ready twice":                    {query, append(login, said(t, done, ready, ready)...), true, "without a request"},
		"ready without a query":          {nil, append(login, said(t, ready)...), true, "without a request"},
		"ready without an answer":        {query, append(login, said(t, ready)...), true, "in the middle of an answer"},
		"ready between rows":             {query, append(login, said(t, described, row, ready)...), true, "in the middle of an answer"},
		"ready before the second result": {query, append(login, said(t, done, described, ready)...), true, "in the middle of an answer"},
	} {
		for cut, pieces := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "in halves": iotest.HalfReader,
		} {
			e := &exchange{}
			w := &askingWriter{to: io.Discard, exchange: e}
			asked(t, w, startup)
			asked(t, w, tt.asked...)
			r := &limitedReader{from: pieces(bytes.NewReader(tt.said)), backlog: &backlog{}, exchange: e, strict: tt.strict, parameters: map[string]bool{}}
			got, err := io.ReadAll(r)
			switch {
			case tt.err == "" && (err != nil || !bytes.Equal(got, tt.said)):
				t.Errorf("%s, %s: %d of %d bytes passed, %v", name, cut, len(got), len(tt.said), err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("%s, %s: got %v, want %q", name, cut, err, tt.err)
			}
			if _, again := r.Read(make([]byte, 1)); tt.err != "" && !errors.Is(again, err) {
				t.Errorf("%s, %s: after %v it goes on with %v", name, cut, err, again)
			}
		}
	}
}

// A repeater repeats its bytes without end.
type repeater struct {
	message []byte
	at      int
}

func (r *repeater) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		copied := copy(p[n:], r.message[r.at:])
		n, r.at = n+copied, (r.at+copied)%len(r.message)
	}
	return n, nil
}

// A server that sends without end is cut off.
func TestLimitedReaderWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		message  pgproto3.BackendMessage
		loggedIn bool
		most     int64 // bytes that may pass
	}{
		"notices before the end of the login": {&pgproto3.NoticeResponse{Message: "hello"}, false, maxLogin},
		"rows":                                {&pgproto3.DataRow{Values: [][]byte{[]byte("x")}}, true, maxAnswer},
		"large rows":                          {&pgproto3.DataRow{Values: [][]byte{make([]byte, 1<<20)}}, true, maxAnswer},
		"notices":                             {&pgproto3.NoticeResponse{Message: strings.Repeat("x", 10_000)}, true, maxNotices},
		"notifications":                       {&pgproto3.NotificationResponse{Channel: "c"}, true, maxAnswer},
		"one parameter":                       {&pgproto3.ParameterStatus{Name: "n", Value: "v"}, true, maxAnswer},
	} {
		r := &limitedReader{from: &repeater{message: said(t, tt.message)}, backlog: &backlog{}, exchange: &exchange{}, ready: tt.loggedIn, parameters: map[string]bool{}}
		n, err := io.Copy(io.Discard, r)
		var protocol *protocolError
		if !errors.As(err, &protocol) || n > tt.most {
			t.Errorf("%s: %d bytes passed, %v", name, n, err)
		}
	}
}

// A deaf connection accepts nothing that is written to it, and sends all the time.
type deaf struct {
	net.Conn
	written, closed chan struct{}
}

func (d deaf) Write([]byte) (int, error) {
	close(d.written)
	<-d.closed
	return 0, net.ErrClosed
}

func (d deaf) Read(p []byte) (int, error) { return len(p), nil }

func (d deaf) Close() error { close(d.closed); return nil }

// A server that keeps sending while it reads nothing is cut off: pgconn would keep all of it.
func TestBacklog(t *testing.T) {
	t.Parallel()
	b, silent := &backlog{}, deaf{written: make(chan struct{}), closed: make(chan struct{})}
	conn := b.limit(silent)
	p := make([]byte, 1<<20)
	for range 2 * maxAnswer / len(p) { // no write is in progress
		if _, err := conn.Read(p); err != nil {
			t.Fatal(err)
		}
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(p)
		written <- err
	}()
	<-silent.written
	read := 0
	for range 2 * maxAnswer / len(p) {
		if _, err := conn.Read(p); err != nil {
			break
		}
		read += len(p)
	}
	if read > maxAnswer {
		t.Errorf("%d MiB were read", read>>20)
	}
	if err := <-written; err == nil {
		t.Error("what was not read was written")
	}
}
