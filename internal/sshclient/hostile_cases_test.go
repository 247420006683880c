package sshclient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// What clients hold, and may be tricked into telling.
const (
	hostilePassword   = "the-password"
	hostileSudo       = "the-password-of-sudo"
	hostilePassphrase = "the-passphrase"
)

// A misbehaviour is what a host does wrong, or merely oddly.
type misbehaviour struct {
	name  string
	makes func(*stage) behaviour
	as    string // what clients do: "root", "sudo", "tunnel", "jump", "password", "all"; "" is any of the first three
	works bool   // it is odd, but what the client wants is there
	asks  bool   // it asks for sudo's password as sudo does, and so is told
	early bool   // it begins before the login has ended
	waits bool   // clients have to give up
}

// The names of those for which clients have to give up end with an ellipsis.

// nasty is text that a host may say, of such a length.
func nasty(size int) string {
	const text = "\x1b[2J\x1b[1;1HApply complete!\r\n\x00\u202e\xff"
	return strings.Repeat(text, size/len(text)+1)[:size]
}

// still is for a host that does nothing more; its end comes from outside.
func still(c io.Reader) { _, _ = io.Copy(io.Discard, c) }

func misbehaviours() []misbehaviour {
	return append(append(append(shellCases(), channelCases()...), loginCases()...), rawCases()...)
}

func shells(name string, works bool, shell func(*hostShell)) misbehaviour {
	return misbehaviour{name: name, works: works, waits: strings.HasSuffix(name, "…"), makes: func(*stage) behaviour { return behaviour{shell: shell} }}
}

// rooted is shells for clients that do not use sudo.
func rooted(name string, works bool, shell func(*hostShell)) misbehaviour {
	m := shells(name, works, shell)
	m.as = "root"
	return m
}

func shellCases() []misbehaviour {
	forced := func(said string, end func(*hostShell)) func(*hostShell) {
		return func(s *hostShell) {
			s.write(said)
			end(s)
		}
	}
	return []misbehaviour{
		rooted("nothing odd", true, (*hostShell).speak),
		rooted("status 0 at once", false, forced("", func(s *hostShell) { s.exit(0) })),
		rooted("status 0, a message", false, forced("use the bastion\n", func(s *hostShell) { s.exit(0) })),
		rooted("status 0, a long message", false, forced(nasty(7<<20), func(s *hostShell) { s.exit(0) })),
		rooted("any status", false, func(s *hostShell) { s.exit(s.host.n(256)) }),
		rooted("a status of 32 bits", false, func(s *hostShell) { s.exit(0xffffffff) }),
		rooted("no status", false, forced(nasty(100), func(*hostShell) {})),
		rooted("a signal", false, func(s *hostShell) { s.signal("KILL", nasty(100_000)) }),
		rooted("an unknown signal", false, func(s *hostShell) { s.signal(nasty(1000), "") }),
		rooted("a status and a signal", false, func(s *hostShell) { s.exit(0); s.signal("KILL", ""); s.exit(1) }),
		rooted("a status that is cut", false, func(s *hostShell) {
			_, _ = s.SendRequest("exit-status", false, make([]byte, s.host.n(4)))
		}),
		rooted("a status that is cut, and then many requests …", false, func(s *hostShell) {
			_, _ = s.SendRequest("exit-status", false, nil)
			for range 200 {
				if _, err := s.SendRequest("xon-xoff", false, []byte{1}); err != nil {
					return
				}
			}
			still(s)
		}),
		rooted("a signal that is cut, and then many requests …", false, func(s *hostShell) {
			_, _ = s.SendRequest("exit-signal", false, []byte{0, 0, 0, 9})
			for range 200 {
				if _, err := s.SendRequest("xon-xoff", false, []byte{1}); err != nil {
					return
				}
			}
			still(s)
		}),
		rooted("many requests", true, func(s *hostShell) {
			s.host.all.Go(func() {
				for range 300 {
					if _, err := s.SendRequest("keepalive@openssh.com", true, nil); err != nil {
						return
					}
				}
			})
			s.speak()
		}),
		rooted("a message before", true, func(s *hostShell) {
			s.write(nasty(s.host.n(60_000)))
			s.complain(nasty(s.host.n(200_000)))
			s.speak()
		}),
		rooted("a long message before", false, func(s *hostShell) { s.write(nasty(100_000)); s.speak() }),
		rooted("a message after", true, func(s *hostShell) { s.login(); s.answer(); s.write(nasty(10_000)); s.exit(0) }),
		rooted("many marks", true, func(s *hostShell) {
			for range s.host.n(100) {
				s.ready()
			}
			s.speak()
		}),
		rooted("byte by byte", true, func(s *hostShell) {
			text := nasty(1000) + ready + "\n"
			for i := range text {
				s.write(text[i : i+1])
			}
			s.answer()
			s.exit(0)
		}),
		rooted("slow, without end …", false, func(s *hostShell) { drip(s, s) }),
		rooted("slow complaints, without end …", false, func(s *hostShell) { drip(s, s.Stderr()) }),
		rooted("silent …", false, func(s *hostShell) { s.hear() }),
		rooted("output without end", false, func(s *hostShell) { s.host.flood(s) }),
		rooted("complaints without end …", false, func(s *hostShell) { s.host.flood(s.Stderr()) }),
		rooted("asks for the password of sudo unasked …", false, func(s *hostShell) {
			for range 1 + s.host.n(3) {
				s.complain(prompt)
			}
			s.hear()
		}),
		{name: "asks for the password of sudo again and again", as: "sudo", asks: true, makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) {
				for range 100 {
					s.complain(prompt)
				}
				s.hear()
			}}
		}},
		{name: "refuses the password of sudo", as: "sudo", asks: true, makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) {
				s.complain(prompt)
				_, _ = io.ReadFull(s, make([]byte, len(hostileSudo)+1))
				s.complain(nasty(100_000))
				s.exit(1)
			}}
		}},
		{name: "sudo, nothing odd", as: "sudo", works: true, makes: func(*stage) behaviour { return behaviour{} }},
		{name: "sudo ends well, silently", as: "sudo", makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) { s.exit(0) }}
		}},
		{name: "sudo ends well, complaining", as: "sudo", makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) { s.complain(nasty(70_000)); s.exit(0) }}
		}},
		rooted("ends after the mark, status 0", false, func(s *hostShell) { s.ready(); s.exit(0) }),
		rooted("ends after the mark, a status that means something", false, func(s *hostShell) { s.ready(); s.exit(80 + s.host.n(7)) }),
		rooted("ends after the mark, no status", false, func(s *hostShell) { s.ready() }),
		rooted("silent after the mark …", false, func(s *hostShell) { s.ready(); s.hear() }),
		rooted("slow after the mark, without end …", false, func(s *hostShell) { s.ready(); s.program(); drip(s, s) }),
		rooted("output after the mark, without end", false, func(s *hostShell) { s.ready(); s.program(); s.begin(); s.host.flood(s) }),
		rooted("complaints after the mark, without end …", false, func(s *hostShell) { s.ready(); s.program(); s.begin(); s.host.flood(s.Stderr()) }),
		rooted("an answer without its end", false, func(s *hostShell) { s.ready(); s.program(); s.begin(); s.write(rightAnswer); s.exit(0) }),
		rooted("an answer without its beginning", false, func(s *hostShell) { s.ready(); s.program(); s.write(rightAnswer); s.end("0"); s.exit(0) }),
		rooted("the end before the beginning", false, func(s *hostShell) { s.ready(); s.program(); s.end("0"); s.begin(); s.exit(0) }),
		rooted("an answer with an odd status", false, func(s *hostShell) {
			s.ready()
			s.program()
			s.begin()
			s.end([]string{"", "x", "1e9", "-1", "99999999999999999999999", nasty(300), "0x0", "256"}[s.host.n(8)])
			s.exit(0)
		}),
		rooted("an answer, and a status of the shell", true, func(s *hostShell) { s.login(); s.answer(); s.exit(3) }),
		rooted("an answer, and no status", true, func(s *hostShell) { s.login(); s.answer() }),
		rooted("an answer, and no end of the session …", false, func(s *hostShell) { s.login(); s.answer(); s.exit(0); s.hear() }),
		rooted("fails with a long complaint", false, func(s *hostShell) {
			s.ready()
			s.program()
			s.begin()
			s.end("1")
			s.complain(nasty(200_000))
			s.exit(0)
		}),
		rooted("does not read …", false, func(s *hostShell) { s.ready(); <-s.host.over }),
	}
}

// drip writes a byte now and then until the client is gone.
func drip(s *hostShell, w io.Writer) {
	s.host.all.Go(func() {
		for {
			if _, err := io.WriteString(w, "."); err != nil {
				return
			}
			s.host.pause(50 * time.Millisecond)
		}
	})
	s.hear()
}

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

func channelCases() []misbehaviour {
	reasons := []ssh.RejectionReason{ssh.Prohibited, ssh.ConnectionFailed, ssh.UnknownChannelType, ssh.ResourceShortage, 0, 5, 0xffffffff}
	refuses := func(as string, size int) func(*stage) behaviour {
		return func(r *stage) behaviour {
			return behaviour{open: func(c ssh.NewChannel) bool { return c.Reject(reasons[r.n(len(reasons))], nasty(size)) == nil }}
		}
	}
	holds := func(*stage) behaviour {
		return behaviour{open: func(ssh.NewChannel) bool { return true }}
	}
	return []misbehaviour{
		{name: "refuses sessions", as: "root", makes: refuses("root", 200)},
		{name: "refuses sessions at length", as: "root", makes: refuses("root", 200_000)},
		{name: "refuses tunnels", as: "tunnel", makes: refuses("tunnel", 200)},
		{name: "refuses tunnels at length", as: "tunnel", makes: refuses("tunnel", 200_000)},
		{name: "refuses the way to a host behind", as: "jump", early: true, makes: refuses("jump", 200_000)},
		{name: "never opens a session …", waits: true, as: "root", makes: holds},
		{name: "never opens a tunnel …", waits: true, as: "tunnel", makes: holds},
		{name: "never opens the way to a host behind …", waits: true, as: "jump", early: true, makes: holds},
		{name: "trickles, and never opens a session …", waits: true, as: "root", makes: func(r *stage) behaviour {
			return behaviour{open: func(ssh.NewChannel) bool { return true }, greet: r.trickle}
		}},
		{name: "trickles, and never opens a tunnel …", waits: true, as: "tunnel", makes: func(r *stage) behaviour {
			return behaviour{open: func(ssh.NewChannel) bool { return true }, greet: r.trickle}
		}},
		{name: "refuses to run anything …", waits: true, as: "root", makes: func(*stage) behaviour {
			return behaviour{exec: func(_ ssh.Channel, r *ssh.Request) { _ = r.Reply(false, nil) }, shell: func(s *hostShell) { s.hear() }}
		}},
		{name: "refuses to run anything, and ends the session", as: "root", makes: func(*stage) behaviour {
			return behaviour{exec: func(c ssh.Channel, r *ssh.Request) { _ = r.Reply(false, nil); c.Close() }}
		}},
		{name: "never says whether it runs anything …", waits: true, as: "root", makes: func(*stage) behaviour {
			return behaviour{exec: func(ssh.Channel, *ssh.Request) {}, shell: func(s *hostShell) { s.hear() }}
		}},
		{name: "answers no question whether it is there …", waits: true, as: "root", makes: func(*stage) behaviour {
			return behaviour{global: func(*ssh.Request) {}, shell: func(s *hostShell) { s.ready(); s.hear() }}
		}},
		{name: "answers no question, and trickles …", waits: true, as: "root", makes: func(*stage) behaviour {
			return behaviour{global: func(*ssh.Request) {}, shell: func(s *hostShell) { s.ready(); drip(s, s) }}
		}},
		{name: "asks for all kinds of channels", works: true, makes: func(*stage) behaviour {
			return behaviour{greet: func(c *ssh.ServerConn) {
				for range 50 {
					for _, kind := range []string{"x11", "auth-agent@openssh.com", "forwarded-tcpip", "session", "direct-tcpip", nasty(1000)} {
						if channel, _, err := c.OpenChannel(kind, []byte(nasty(100))); err == nil {
							channel.Close()
							return
						}
					}
				}
			}}
		}},
		{name: "asks for all kinds of things", works: true, makes: func(*stage) behaviour {
			return behaviour{greet: func(c *ssh.ServerConn) {
				for range 100 {
					for _, kind := range []string{"hostkeys-00@openssh.com", "tcpip-forward", "keepalive@openssh.com", nasty(1000)} {
						if _, _, err := c.SendRequest(kind, true, []byte(nasty(10_000))); err != nil {
							return
						}
					}
				}
			}}
		}},
		{name: "tells much that nobody wants to know", works: true, makes: func(*stage) behaviour {
			return behaviour{greet: func(c *ssh.ServerConn) {
				for range 200 {
					if _, _, err := c.SendRequest(nasty(100), false, []byte(nasty(100_000))); err != nil {
						return
					}
				}
			}}
		}},
		{name: "closes after the login", makes: func(*stage) behaviour {
			return behaviour{greet: func(c *ssh.ServerConn) { c.Close() }, open: func(ssh.NewChannel) bool { return true }}
		}},
		{name: "ends a tunnel at once", as: "tunnel", makes: func(*stage) behaviour {
			return behaviour{forward: func(ssh.Channel) {}}
		}},
		{name: "complains in a tunnel …", waits: true, as: "tunnel", makes: func(r *stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { r.flood(c.Stderr()) }}
		}},
		{name: "floods a tunnel", as: "tunnel", makes: func(r *stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { r.flood(c) }}
		}},
		{name: "is silent in a tunnel …", waits: true, as: "tunnel", makes: func(*stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { still(c) }}
		}},
		{name: "ends a tunnel with requests", as: "tunnel", works: true, makes: func(*stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) {
				for range 100 {
					_, _ = c.SendRequest("exit-status", false, nil)
				}
				pong(c)
			}}
		}},
		{name: "is no SSH host behind", as: "jump", early: true, makes: func(r *stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { r.flood(c) }}
		}},
		{name: "echoes instead of a host behind", as: "jump", early: true, makes: func(*stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { _, _ = io.Copy(c, c) }}
		}},
		{name: "is silent instead of a host behind …", waits: true, as: "jump", early: true, makes: func(*stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { still(c) }}
		}},
	}
}

// trickle shows that the host is there, which is all that it does.
func (s *stage) trickle(c *ssh.ServerConn) {
	for {
		if _, _, err := c.SendRequest("x", false, nil); err != nil {
			return
		}
		s.pause(20 * time.Millisecond)
	}
}

var errNo = errors.New("no")

func logins(name, as string, works bool, change func(*stage, *ssh.ServerConfig)) misbehaviour {
	return misbehaviour{name: name, as: as, works: works, early: true, waits: strings.HasSuffix(name, "…"), makes: func(r *stage) behaviour {
		return behaviour{config: func(c *ssh.ServerConfig) { change(r, c) }}
	}}
}

func loginCases() []misbehaviour {
	asks := func(c *ssh.ServerConfig, ask func(ssh.KeyboardInteractiveChallenge) error) {
		c.PasswordCallback, c.PublicKeyCallback = nil, nil
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, challenge ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			return nil, ask(challenge)
		}
	}
	return []misbehaviour{
		logins("refuses every login", "", false, func(_ *stage, c *ssh.ServerConfig) {
			c.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errNo }
			c.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errNo }
		}),
		logins("wants more and more keys", "root", false, func(_ *stage, c *ssh.ServerConfig) {
			var again func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error)
			again = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PublicKeyCallback: again}}
			}
			c.PublicKeyCallback = again
		}),
		logins("wants more and more passwords", "password", false, func(_ *stage, c *ssh.ServerConfig) {
			var again func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error)
			again = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
				return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PasswordCallback: again}}
			}
			c.PasswordCallback = again
		}),
		logins("asks a thousand questions", "password", false, func(_ *stage, c *ssh.ServerConfig) {
			asks(c, func(challenge ssh.KeyboardInteractiveChallenge) error {
				_, err := challenge("", "", make([]string, 1000), make([]bool, 1000))
				return err
			})
		}),
		logins("asks a huge question", "password", false, func(r *stage, c *ssh.ServerConfig) {
			asks(c, func(challenge ssh.KeyboardInteractiveChallenge) error {
				_, err := challenge(nasty(1000), nasty(1000), []string{nasty(200_000)}, []bool{true})
				return err
			})
		}),
		logins("asks nothing, without end …", "password", false, func(_ *stage, c *ssh.ServerConfig) {
			asks(c, func(challenge ssh.KeyboardInteractiveChallenge) error {
				for {
					if _, err := challenge("", "", nil, nil); err != nil {
						return err
					}
				}
			})
		}),
		logins("asks for another secret after the password", "all", false, func(_ *stage, c *ssh.ServerConfig) {
			asks(c, func(challenge ssh.KeyboardInteractiveChallenge) error {
				for _, question := range []string{"Password: ", prompt, "Enter passphrase for key: "} {
					if _, err := challenge("", "", []string{question}, []bool{false}); err != nil {
						return err
					}
				}
				return errNo
			})
		}),
		logins("a huge banner", "", true, func(_ *stage, c *ssh.ServerConfig) {
			c.BannerCallback = func(ssh.ConnMetadata) string { return nasty(200_000) }
		}),
		logins("banners without end", "", false, func(_ *stage, c *ssh.ServerConfig) {
			c.PreAuthConnCallback = func(conn ssh.ServerPreAuthConn) {
				for {
					if err := conn.SendAuthBanner(nasty(30_000)); err != nil {
						return
					}
				}
			}
		}),
		logins("takes its time for a login …", "", false, func(r *stage, c *ssh.ServerConfig) {
			c.BannerCallback = func(ssh.ConnMetadata) string { <-r.over; return "" }
		}),
		{name: "writes byte by byte", works: true, makes: func(*stage) behaviour {
			return behaviour{slow: func(c net.Conn) net.Conn { return bitwise{c} }}
		}},
		{name: "closes after any number of bytes", makes: func(r *stage) behaviour {
			return behaviour{slow: func(c net.Conn) net.Conn { return &short{Conn: c, left: r.n(1500)} }}
		}},
	}
}

// A bitwise connection writes byte by byte.
type bitwise struct{ net.Conn }

func (c bitwise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// A short connection ends after some bytes.
type short struct {
	net.Conn
	left int
}

func (c *short) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		n, _ := c.Conn.Write(p[:len(p)+c.left])
		c.Conn.Close()
		return n, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func raws(name, as string, serve func(*rawPeer, *stage)) misbehaviour {
	return misbehaviour{name: name, as: as, early: true, waits: strings.HasSuffix(name, "…"), makes: func(r *stage) behaviour {
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

// inSession is loggedIn once there is a session, which has the number id at the client.
func inSession(name string, serve func(p *rawPeer, r *stage, id uint32)) misbehaviour {
	return loggedIn(name, "root", func(p *rawPeer, r *stage) {
		id := p.openSession(1<<20, 1<<15)
		p.shell(id)
		serve(p, r, id)
	})
}

// rest listens until the client is gone.
func (p *rawPeer) rest() {
	for {
		p.receive()
	}
}

func (p *rawPeer) repeat(packet []byte) {
	for sent := 0; ; sent++ {
		p.send(packet)
		p.breathe(sent * max(len(packet), 2000)) // small ones take time as well
	}
}

func rawCases() []misbehaviour {
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
		raws("says nothing …", "", func(p *rawPeer, _ *stage) { still(p.conn) }),
		raws("is no SSH server …", "", func(p *rawPeer, r *stage) { p.write([]byte(nasty(r.n(100_000)))); still(p.conn) }),
		raws("talks without end", "", func(p *rawPeer, _ *stage) { p.flood(p.conn) }),
		raws("talks without end, in lines", "", func(p *rawPeer, _ *stage) { p.flood(liner{p.conn}) }),
		raws("talks slowly …", "", func(p *rawPeer, _ *stage) {
			for {
				p.write([]byte("x"))
				p.pause(20 * time.Millisecond)
			}
		}),
		raws("sends nonsense after its version …", "", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			text := make([]byte, r.n(5000))
			for i := range text {
				text[i] = byte(r.n(256))
			}
			p.write(text)
			still(p.in)
		}),
		raws("sends a packet of any length …", "", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			lengths := []uint32{0, 1, 3, 4, 255, 1 << 18, 1 << 20, 1 << 31, 0xffffffff}
			p.write(append(binary.BigEndian.AppendUint32(nil, lengths[r.n(len(lengths))]), byte(r.n(256)), 0, 0, 0))
			still(p.in)
		}),
		raws("knows no algorithm of ours", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			many := strings.Split(strings.Repeat(nasty(100)+",", 300), ",")
			p.send(ssh.Marshal(kexInit{Kex: []string{"curve25519-sha256"}, HostKey: many, CipherC: many, CipherS: many, MACC: many, MACS: many, CompC: many, CompS: many}))
			still(p.in)
		}),
		raws("stops in the key exchange …", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(false)
			p.rest()
		}),
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
		raws("stops before the login …", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.rest()
		}),
		raws("ignores without end before the login …", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.repeat(append([]byte{msgIgnore}, ssh.Marshal(struct{ Data string }{nasty(30_000)})...))
		}),
		raws("bids farewell instead of the login", "", func(p *rawPeer, _ *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.send(disconnect)
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
		raws("questions without end …", "password", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			p.receiveOne(msgAuthRequest)
			p.send(failure("keyboard-interactive", false))
			for {
				p.receiveOne([]byte{msgAuthRequest, 61}[min(1, r.n(2))])
				p.send(append([]byte{msgInfoRequest}, ssh.Marshal(struct {
					Name, Instruction, Lang string
					N                       uint32
				}{nasty(100), nasty(100), "", []uint32{0, 1, 1000, 0xffffffff}[r.n(4)]})...))
			}
		}),
		raws("any message before the login …", "", func(p *rawPeer, r *stage) {
			p.exchangeVersions()
			p.exchangeKeys(true)
			p.acceptService()
			for sent := 0; ; sent += 2000 {
				p.send(anything(r, 0))
				p.breathe(sent)
			}
		}),
		loggedIn("bids farewell after the login", "", func(p *rawPeer, _ *stage) { p.send(disconnect); still(p.in) }),
		loggedIn("no window for the password of sudo …", "sudo", func(p *rawPeer, _ *stage) {
			id := p.openSession(0, 1<<15)
			p.shell(id)
			p.send(to(msgExtendedData, id, struct {
				Kind uint32
				Data string
			}{1, prompt}))
			p.rest()
		}),
		loggedIn("no window for a command …", "root", func(p *rawPeer, _ *stage) {
			id := p.openSession(0, 1<<15)
			p.shell(id)
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			p.rest()
		}),
		loggedIn("no window for a tunnel …", "tunnel", func(p *rawPeer, _ *stage) { p.openSession(0, 1<<15); p.rest() }),
		loggedIn("packets of any size …", "root", func(p *rawPeer, r *stage) {
			sizes := []uint32{0, 1, 8, 9, 10, 1 << 31, 0xffffffff}
			id := p.openSession(1<<20, sizes[r.n(len(sizes))])
			p.shell(id)
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			p.rest()
		}),
		loggedIn("opens a session twice …", "root", func(p *rawPeer, _ *stage) {
			id := p.openSession(1<<20, 1<<15)
			p.confirm(id, 1<<20, 1<<15)
			p.rest()
		}),
		loggedIn("opens what nobody asked for …", "root", func(p *rawPeer, _ *stage) { p.confirm(4711, 1<<20, 1<<15); p.rest() }),
		loggedIn("answers what nobody asked …", "root", func(p *rawPeer, _ *stage) { p.repeat([]byte{msgGlobalSuccess}) }),
		loggedIn("pings without end …", "root", func(p *rawPeer, _ *stage) {
			p.repeat(append([]byte{msgPing}, ssh.Marshal(channelData{[]byte(nasty(1000))})...))
		}),
		loggedIn("asks without end, and does not listen …", "root", func(p *rawPeer, _ *stage) {
			p.repeat(append([]byte{msgGlobalRequest}, ssh.Marshal(channelRequest{"x", true, []byte(nasty(1000))})...))
		}),
		loggedIn("opens channels without end, and does not listen …", "root", func(p *rawPeer, _ *stage) {
			p.repeat(append([]byte{msgChannelOpen}, ssh.Marshal(struct {
				Type               string
				ID, Window, Packet uint32
			}{"session", 1, 0, 1 << 15})...))
		}),
		loggedIn("exchanges keys without end …", "root", func(p *rawPeer, _ *stage) {
			for sent := 0; ; sent += 100_000 {
				p.exchangeKeys(true)
				p.breathe(sent)
			}
		}),
		loggedIn("begins to exchange keys, and stops …", "root", func(p *rawPeer, _ *stage) { p.exchangeKeys(false); p.rest() }),
		loggedIn("begins a packet, and drips …", "root", func(p *rawPeer, _ *stage) {
			p.write([]byte{0, 0, 0x40, 0})
			for {
				p.write([]byte{0})
				p.pause(20 * time.Millisecond)
			}
		}),
		inSession("answers requests that were not made …", func(p *rawPeer, _ *stage, id uint32) {
			for range 1000 {
				p.send(to(msgFailure, id, nil))
			}
			p.rest()
		}),
		inSession("a status that is cut, and requests without end …", func(p *rawPeer, _ *stage, id uint32) {
			p.send(to(msgRequest, id, exitStatus(nil)))
			p.repeat(to(msgRequest, id, channelRequest{"x", true, nil}))
		}),
		inSession("a status that is cut, requests, and silence …", func(p *rawPeer, r *stage, id uint32) {
			p.send(to(msgRequest, id, exitStatus([]byte{0, 0, 0}[:r.n(4)])))
			for range 100 {
				p.send(to(msgRequest, id, channelRequest{"x", false, nil}))
			}
			p.rest()
		}),
		inSession("more than the window holds", func(p *rawPeer, _ *stage, id uint32) {
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			p.repeat(to(msgData, id, channelData{[]byte(nasty(32 << 10))}))
		}),
		inSession("a window that overflows …", func(p *rawPeer, _ *stage, id uint32) {
			p.repeat(to(msgWindowAdjust, id, struct{ N uint32 }{0xffffffff}))
		}),
		inSession("closes a session twice …", func(p *rawPeer, _ *stage, id uint32) {
			for range 3 {
				p.send(to(msgEOF, id, nil))
				p.send(to(msgClose, id, nil))
			}
			p.rest()
		}),
		inSession("the end of the output, and silence …", func(p *rawPeer, _ *stage, id uint32) { p.send(to(msgEOF, id, nil)); p.rest() }),
		inSession("data for other sessions …", func(p *rawPeer, r *stage, id uint32) {
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			for sent := 0; ; sent += 2000 {
				p.send(to(msgData, uint32(r.n(10)), channelData{[]byte(nasty(r.n(1000)))}))
				p.breathe(sent)
			}
		}),
		inSession("any message …", func(p *rawPeer, r *stage, id uint32) {
			for sent := 0; ; sent += 2000 {
				p.send(anything(r, id))
				p.breathe(sent)
			}
		}),
		inSession("any message after the mark …", func(p *rawPeer, r *stage, id uint32) {
			p.send(to(msgData, id, channelData{[]byte(ready + "\n")}))
			for sent := 0; ; sent += 2000 {
				p.send(anything(r, id))
				p.breathe(sent)
			}
		}),
	}
}

// anything is a message of any kind, rather one that means something.
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

// A liner writes lines that are short.
type liner struct{ io.Writer }

func (l liner) Write(p []byte) (int, error) {
	return l.Writer.Write(bytes.Repeat([]byte("welcome\n"), len(p)/8))
}

// An impostor shows a key that is not its own.
type impostor struct {
	ssh.Signer
	shows ssh.PublicKey
}

func (i impostor) PublicKey() ssh.PublicKey { return i.shows }
