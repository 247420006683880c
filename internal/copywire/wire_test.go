package copywire

import (
	"bytes"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"testing"
)

// saying is a connection whose other end sends some bytes and hangs up, and accepts anything.
type saying struct {
	net.Conn
	said  *bytes.Reader
	heard *bytes.Buffer
}

func (s saying) Read(p []byte) (int, error) { return s.said.Read(p) }

func (s saying) Write(p []byte) (int, error) { return s.heard.Write(p) }

func wireThatSays(said []byte) (*wire, *bytes.Buffer) {
	heard := &bytes.Buffer{}
	return newWire(saying{said: bytes.NewReader(said), heard: heard}), heard
}

func message(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))) + body
}

// Whatever a server sends, it costs no more memory than a message may have, and the engine
// passes on exactly the rows that the server sent.
func FuzzWire(f *testing.F) {
	for _, seed := range []string{
		message('d', "row") + message('N', "notice") + message('d', "another") + message('c', "") + message('C', "COPY 2\x00") + message('Z', "I"),
		message('d', "row") + message('E', "SERROR\x00C22012\x00Mdivision by zero\x00\x00") + message('Z', "E"),
		message('d', "x") + message('c', "") + message('C', "") + message('Z', "I"), message('G', "\x01\x00\x00") + message('C', ""), "d\x00\x00\x00\x03", "E\xff\xff\xff\xff", "d\xff\xff\xff\xffx", message('E', "no end"),
		message('d', strings.Repeat("x", 300000)) + message('c', ""),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		source, _ := wireThatSays(said)
		destination, heard := wireThatSays(nil)
		r := relaying{source: source, destination: destination}
		passed, err := r.forward()
		r.source.outcome()
		asked, _ := wireThatSays(said)
		if asked.query("COPY t FROM STDIN", 'G') == nil {
			asked.outcome()
		}
		runtime.ReadMemStats(&after)
		if cost, limit := after.TotalAlloc-before.TotalAlloc, uint64(8*maxControl+20*len(said)); cost > limit {
			t.Errorf("%d bytes cost %d bytes of memory", len(said), cost)
		}
		if err != nil {
			return
		}
		if sent, got := rowData(said), rowData(heard.Bytes()); sent != got || passed != int64(len(sent)) {
			t.Errorf("the source sent %d bytes, %d are said to have passed, and %d did", len(sent), passed, len(got))
		}
	})
}

// rowData joins the bodies of messages of row data, up to the end of the COPY.
func rowData(said []byte) string {
	var b strings.Builder
	for len(said) >= 5 && said[0] != 'c' {
		length := int(binary.BigEndian.Uint32(said[1:])) + 1
		if said[0] == 'd' {
			b.Write(said[5:length])
		}
		said = said[length:]
	}
	return b.String()
}
