package sshclient

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

func raws(name, as string, serve func(*rawPeer, *stage)) misbehaviour {
	return misbehaviour{name: name, as: as, early: true, makes: func(r *stage) behaviour {
		return behaviour{raw: func(p *rawPeer) { serve(p, r) }}
	}}
}

// loggedIn is raws once the client is in.
func loggedIn(name, as string, serve func(*rawPeer, *stage)) misbehaviour {
	m := raws(name, as, func(p *rawPeer, r *stage) {
		p.login()
		serve(p, r)
	})
	m.early = false
	return m
}

// inSession is loggedIn once a session is open; id is its number at the client.
func inSession(name string, serve func(p *rawPeer, r *stage, id uint32)) misbehaviour {
	return loggedIn(name, "root", func(p *rawPeer, r *stage) {
		id := p.openSession(1<<20, 1<<15)
		p.shell(id)
		serve(p, r, id)
	})
}

// rest reads until the client is gone.
func (p *rawPeer) rest() {
	for {
		p.receive()
	}
}

func (p *rawPeer) repeat(packet []byte) {
	for sent := 0; ; sent++ {
		p.send(packet)
		p.breathe(sent * max(len(packet), 2000)) // small packets take time, too
	}
}

// packetCases are about packets that no server of the ssh package would send.
func packetCases() []misbehaviour {
	disconnect := append([]byte{msgDisconnect}, ssh.Marshal(struct {
		Reason        uint32
		Message, Lang string
	}{11, nasty(100_000), ""})...)
	banner := append([]byte{msgAuthBanner}, ssh.Marshal(struct{ Message, Lang string }{nasty(2000), ""})...)
	failure := func(methods string, partial bool) []byte {
		return append([]byte{msgAuthFailure}, ssh.Marshal(struct {
			Methods string
			Partial bool
		}{methods, partial})...)
	}
	exitStatus := func(payload []byte) channelRequest { return channelRequest{Name: "exit-status", Rest: payload} }
	return []misbehaviour{
		raws("closes at once", "", func(p *rawPeer, _ *stage) {}),
		waiting(raws("says nothing", "", func(p *rawPeer, _ *stage) { still(p.conn) })),
		waiting(raws("is no SSH server", "", func(p *rawPeer, r *stage) { p.write([]byte(nasty(r.n(100_000)))); still(p.conn) })),
		raws("talks without end", "", func(p *rawPeer, _ *stage) { p.flood(p.conn) }),
		raws("talks without end, in lines", "", func(p *rawPeer, _ *stage) { p.flood(liner{p.conn}) }),
		waiting(raws("talks slowly", "", func(p *rawPeer, _ *stage) {
			for {
				p.write([]byte("x"))
				p.pause(20 * time.Millisecond)
			}
		})),
		waiting(raws("sends nonsense after its version", "", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			text := make([]byte, r.n(5000))
			for i := range text {
				text[i] = byte(r.n(256))
			}
			p.write(text)
			still(p.in)
		})),
		waiting(raws("sends a packet of any length", "", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			lengths := []uint32{0, 1, 3, 4, 255, 1 << 18, 1 << 20, 1 << 31, 0xffffffff}
			p.write(append(binary.BigEndian.AppendUint32(nil, lengths[r.n(len(lengths))]), byte(r.n(256)), 0, 0, 0))
			still(p.in)
		})),
		raws("knows no algorithm of ours", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			many := strings.Split(strings.Repeat(nasty(100)+",", 300), ",")
			p.send(ssh.Marshal(kexInit{Kex: []string{"curve25519-sha256"}, HostKey: many, CipherC: many, CipherS: many, MACC: many, MACS: many, CompC: many, CompS: many}))
			still(p.in)
		}),
		waiting(raws("stops in the key exchange", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(false)
			p.rest()
		})),
		raws("has another key", "", func(p *rawPeer, _ *stage) {
			p.key = p.another()
			p.login()
			p.rest()
		}),
		raws("does not have the key that it shows", "", func(p *rawPeer, _ *stage) {
			p.key = impostor{p.another(), p.key.PublicKey()}
			p.login()
			p.rest()
		}),
		waiting(raws("stops before the login", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.rest()
		})),
		waiting(raws("ignores without end before the login", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.repeat(append([]byte{msgIgnore}, ssh.Marshal(struct{ Data string }{nasty(30_000)})...))
		})),
		raws("bids farewell instead of the login", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.send(disconnect)
			still(p.in)
		}),
		raws("bids farewell with the password", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			p.receiveOne(msgAuthRequest)
			p.send(failure("password,"+hostilePassword, false))
			p.receiveOne(msgAuthRequest)
			p.send(append([]byte{msgDisconnect}, ssh.Marshal(struct {
				Reason        uint32
				Message, Lang string
			}{11, hostilePassword, ""})...))
			still(p.in)
		}),
		raws("small banners without end", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			p.repeat(banner)
		}),
		raws("partial successes without end", "", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			for {
				p.receiveOne(msgAuthRequest)
				p.send(failure([]string{"publickey", "password", "publickey,password,keyboard-interactive"}[r.n(3)], true))
			}
		}),
		raws("accepts many methods, and none", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			for {
				p.receiveOne(msgAuthRequest)
				p.send(failure(strings.Repeat(nasty(50)+",", 4000), false))
			}
		}),
		raws("questions without end", "password", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			p.receiveOne(msgAuthRequest)
			p.send(failure("keyboard-interactive", false))
			p.receiveOne(msgAuthRequest)
			for sent := 0; ; sent += 2000 {
				p.send(append([]byte{msgInfoRequest}, ssh.Marshal(struct {
					Name, Instruction, Lang string
					N                       uint32
				}{nasty(100), nasty(100), "", []uint32{0, 1, 1000, 0xffffffff}[r.n(4)]})...))
				p.breathe(sent)
			}
		}),
		waiting(raws("any message before the login", "", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			for sent := 0; ; sent += 2000 {
				p.send(anything(r, 0))
				p.breathe(sent)
			}
		})),
		loggedIn("bids farewell after the login", "", func(p *rawPeer, _ *stage) { p.send(disconnect); still(p.in) }),
		waiting(loggedIn("no window for the password of sudo", "sudo", func(p *rawPeer, _ *stage) {
			id := p.openSession(0, 1<<15)
			p.shell(id)
			p.send(to(msgExtendedData, id, struct {
				Kind uint32
				Data string
			}{1, prompt}))
			p.rest()
		})),
		waiting(loggedIn("no window for a command", "root", func(p *rawPeer, _ *stage) {
			id := p.openSession(0, 1<<15)
			p.shell(id)
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			p.rest()
		})),
		waiting(loggedIn("no window for a tunnel", "tunnel", func(p *rawPeer, _ *stage) { p.openSession(0, 1<<15); p.rest() })),
		waiting(loggedIn("packets of any size", "root", func(p *rawPeer, r *stage) {
			sizes := []uint32{0, 1, 8, 9, 10, 1 << 31, 0xffffffff}
			id := p.openSession(1<<20, sizes[r.n(len(sizes))])
			p.shell(id)
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			p.rest()
		})),
		waiting(loggedIn("opens a session twice", "root", func(p *rawPeer, _ *stage) {
			id := p.openSession(1<<20, 1<<15)
			p.confirm(id, 1<<20, 1<<15)
			p.rest()
		})),
		waiting(loggedIn("opens what nobody asked for", "root", func(p *rawPeer, _ *stage) { p.confirm(4711, 1<<20, 1<<15); p.rest() })),
		waiting(loggedIn("answers what nobody asked", "root", func(p *rawPeer, _ *stage) { p.repeat([]byte{msgGlobalSuccess}) })),
		waiting(loggedIn("pings without end", "root", func(p *rawPeer, _ *stage) {
			p.repeat(append([]byte{msgPing}, ssh.Marshal(channelData{[]byte(nasty(1000))})...))
		})),
		waiting(loggedIn("asks without end, and does not listen", "root", func(p *rawPeer, _ *stage) {
			p.repeat(append([]byte{msgGlobalRequest}, ssh.Marshal(channelRequest{"x", true, []byte(nasty(1000))})...))
		})),
		waiting(loggedIn("opens channels without end, and does not listen", "root", func(p *rawPeer, _ *stage) {
			p.repeat(append([]byte{msgChannelOpen}, ssh.Marshal(struct {
				Type               string
				ID, Window, Packet uint32
			}{"session", 1, 0, 1 << 15})...))
		})),
		waiting(loggedIn("exchanges keys without end", "root", func(p *rawPeer, _ *stage) {
			for sent := 0; ; sent += 100_000 {
				p.exchangeKeys(true)
				p.breathe(sent)
			}
		})),
		waiting(loggedIn("begins to exchange keys, and stops", "root", func(p *rawPeer, _ *stage) { p.exchangeKeys(false); p.rest() })),
		waiting(loggedIn("begins a packet, and drips", "root", func(p *rawPeer, _ *stage) {
			p.write([]byte{0, 0, 0x40, 0})
			for {
				p.write([]byte{0})
				p.pause(20 * time.Millisecond)
			}
		})),
		waiting(inSession("answers requests that were not made", func(p *rawPeer, _ *stage, id uint32) {
			for range 1000 {
				p.send(to(msgFailure, id, nil))
			}
			p.rest()
		})),
		waiting(inSession("a status that is cut, and requests without end", func(p *rawPeer, _ *stage, id uint32) {
			p.send(to(msgRequest, id, exitStatus(nil)))
			p.repeat(to(msgRequest, id, channelRequest{"x", true, nil}))
		})),
		waiting(inSession("a status that is cut, requests, and silence", func(p *rawPeer, r *stage, id uint32) {
			p.send(to(msgRequest, id, exitStatus([]byte{0, 0, 0}[:r.n(4)])))
			for range 100 {
				p.send(to(msgRequest, id, channelRequest{"x", false, nil}))
			}
			p.rest()
		})),
		inSession("more than the window holds", func(p *rawPeer, _ *stage, id uint32) {
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			p.repeat(to(msgData, id, channelData{[]byte(nasty(32 << 10))}))
		}),
		waiting(inSession("a window that overflows", func(p *rawPeer, _ *stage, id uint32) {
			p.repeat(to(msgWindowAdjust, id, struct{ N uint32 }{0xffffffff}))
		})),
		waiting(inSession("closes a session twice", func(p *rawPeer, _ *stage, id uint32) {
			for range 3 {
				p.send(to(msgEOF, id, nil))
				p.send(to(msgClose, id, nil))
			}
			p.rest()
		})),
		waiting(inSession("the end of the output, and silence", func(p *rawPeer, _ *stage, id uint32) { p.send(to(msgEOF, id, nil)); p.rest() })),
		waiting(inSession("data for other sessions", func(p *rawPeer, r *stage, id uint32) {
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			for sent := 0; ; sent += 2000 {
				p.send(to(msgData, uint32(r.n(10)), channelData{[]byte(nasty(r.n(1000)))}))
				p.breathe(sent)
			}
		})),
		waiting(inSession("any message", func(p *rawPeer, r *stage, id uint32) {
			for sent := 0; ; sent += 2000 {
				p.send(anything(r, id))
				p.breathe(sent)
			}
		})),
		waiting(inSession("any message after the mark", func(p *rawPeer, r *stage, id uint32) {
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			for sent := 0; ; sent += 2000 {
				p.send(anything(r, id))
				p.breathe(sent)
			}
		})),
	}
}

// anything is a message of any kind, preferably a meaningful one.
func anything(r *stage, id uint32) []byte {
	kinds := []byte{
		msgDisconnect, msgIgnore, 3, msgDebug, msgServiceRequest, msgServiceAccept, 7, msgKexInit, msgNewKeys, 30, msgKexReply, msgAuthRequest, msgAuthFailure, msgAuthSuccess,
		msgAuthBanner, msgInfoRequest, 61, msgGlobalRequest, msgGlobalSuccess, 82, msgChannelOpen, msgOpenConfirm, msgOpenFailure, msgWindowAdjust, msgData, msgExtendedData,
		msgEOF, msgClose, msgRequest, msgSuccess, msgFailure, msgPing, 255, 0,
	}
	kind := kinds[r.n(len(kinds))]
	rest := make([]byte, r.n(60))
	if r.n(2) == 0 {
		rest = bytes.Repeat([]byte{0, 0, 0, byte(r.n(5))}, r.n(10))
	}
	for i := range rest {
		if r.n(4) == 0 {
			rest[i] = byte(r.n(256))
		}
	}
	switch {
	case kind == msgRequest:
		names := []string{"exit-status", "exit-signal", "keepalive@openssh.com", "x"}
		return to(kind, id, channelRequest{names[r.n(len(names))], r.n(2) == 0, rest})
	case kind >= msgOpenConfirm && kind <= msgFailure && r.n(4) > 0:
		return append(to(kind, id, nil), rest...)
	}
	return append([]byte{kind}, rest...)
}

// A liner writes short lines.
type liner struct{ io.Writer }

func (l liner) Write(p []byte) (int, error) {
	return l.Writer.Write(bytes.Repeat([]byte("welcome\n"), len(p)/8))
}

// An impostor presents a key that is not its own.
type impostor struct {
	ssh.Signer
	shows ssh.PublicKey
}

func (i impostor) PublicKey() ssh.PublicKey { return i.shows }
