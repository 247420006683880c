package sshclient

import (
	"io"
	"slices"
	"strings"
	"time"
)

// The secrets of clients, which a host may try to obtain.
const (
	hostilePassword   = "secret-of-the-login"
	hostileSudo       = "secret-of-sudo"
	hostilePassphrase = "secret-of-the-key"
)

// A misbehaviour is what a host does wrong, or merely in an odd way.
type misbehaviour struct {
	name  string
	makes func(*stage) behaviour
	as    string // what clients do: "root", "sudo", "tunnel", "jump", "password", "all"; "" is any of the first three
	works bool   // it is odd, but the client gets what it wants
	may   bool   // it may or may not work
	asks  bool   // it asks for sudo's password as sudo does, and so gets it
	early bool   // it begins before the login ends
	waits bool   // clients have to give up
}

// misbehaviours returns all that are tried.
func misbehaviours() []misbehaviour {
	return slices.Concat(shellCases(), channelCases(), loginCases(), packetCases())
}

// waiting marks a misbehaviour on which clients must give up.
func waiting(m misbehaviour) misbehaviour {
	m.waits = true
	return m
}

// maybe marks a misbehaviour that may work: a complete answer counts even if the connection is
// lost.
func maybe(m misbehaviour) misbehaviour {
	m.may = true
	return m
}

// nasty returns text of a given size that a host may send.
func nasty(size int) string {
	const text = "\x1b[2J\x1b[1;1HApply complete!\r\n\x00\u202e\xff"
	return strings.Repeat(text, size/len(text)+1)[:size]
}

// still is for a host that does nothing more; its end comes from outside.
func still(c io.Reader) { _, _ = io.Copy(io.Discard, c) }

// flood writes without end. It slows down once it has written more than any client should keep.
func (s *stage) flood(w io.Writer) {
	text := []byte(nasty(32 << 10))
	for written := 0; ; written += len(text) {
		if _, err := w.Write(text); err != nil {
			return
		}
		s.breathe(written)
	}
}

// breathe pauses after every so many bytes.
func (s *stage) breathe(bytes int) {
	if bytes > 32<<20 {
		s.pause(10 * time.Millisecond)
	}
}
