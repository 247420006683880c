package sshclient

import (
	"io"
	"slices"
	"strings"
	"time"
)

// What clients hold, and may be tricked into telling.
const (
	hostilePassword   = "secret-of-the-login"
	hostileSudo       = "secret-of-sudo"
	hostilePassphrase = "secret-of-the-key"
)

// A misbehaviour is what a host does wrong, or merely oddly.
type misbehaviour struct {
	name  string
	makes func(*stage) behaviour
	as    string // what clients do: "root", "sudo", "tunnel", "jump", "password", "all"; "" is any of the first three
	works bool   // it is odd, but what the client wants is there
	may   bool   // it may work, or not
	asks  bool   // it asks for sudo's password as sudo does, and so is told
	early bool   // it begins before the login has ended
	waits bool   // clients have to give up
}

// misbehaviours are all that are tried.
func misbehaviours() []misbehaviour {
	return slices.Concat(shellCases(), channelCases(), loginCases(), packetCases())
}

// waiting is for one that clients have to give up on.
func waiting(m misbehaviour) misbehaviour {
	m.waits = true
	return m
}

// maybe is for one that may work: the whole answer counts also if the connection is lost.
func maybe(m misbehaviour) misbehaviour {
	m.may = true
	return m
}

// nasty is text that a host may say, of such a length.
func nasty(size int) string {
	const text = "\x1b[2J\x1b[1;1HApply complete!\r\n\x00\u202e\xff"
	return strings.Repeat(text, size/len(text)+1)[:size]
}

// still is for a host that does nothing more; its end comes from outside.
func still(c io.Reader) { _, _ = io.Copy(io.Discard, c) }

// flood writes without end, though no longer as fast as it can once it has
// written more than anybody should keep.
func (s *stage) flood(w io.Writer) {
	text := []byte(nasty(32 << 10))
	for written := 0; ; written += len(text) {
		if _, err := w.Write(text); err != nil {
			return
		}
		s.breathe(written)
	}
}

// breathe pauses after so many bytes.
func (s *stage) breathe(bytes int) {
	if bytes > 32<<20 {
		s.pause(10 * time.Millisecond)
	}
}
