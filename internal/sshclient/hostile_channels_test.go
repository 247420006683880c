package sshclient

import (
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// channelCases are about channels, requests, and the traffic of a tunnel.
func channelCases() []misbehaviour {
	reasons := []ssh.RejectionReason{ssh.Prohibited, ssh.ConnectionFailed, ssh.UnknownChannelType, ssh.ResourceShortage, 0, 5, 0xffffffff}
	refuses := func(size int) func(*stage) behaviour {
		return func(r *stage) behaviour {
			return behaviour{open: func(c ssh.NewChannel) bool { return c.Reject(reasons[r.n(len(reasons))], nasty(size)) == nil }}
		}
	}
	holds := func(*stage) behaviour {
		return behaviour{open: func(ssh.NewChannel) bool { return true }}
	}
	return []misbehaviour{
		{name: "refuses sessions", as: "root", makes: refuses(200)},
		{name: "refuses sessions at length", as: "root", makes: refuses(200_000)},
		{name: "refuses tunnels, and repeats the password", as: "tunnel", makes: func(*stage) behaviour {
			return behaviour{open: func(c ssh.NewChannel) bool { return c.Reject(ssh.ConnectionFailed, hostilePassword) == nil }}
		}},
		{name: "refuses tunnels", as: "tunnel", makes: refuses(200)},
		{name: "refuses tunnels at length", as: "tunnel", makes: refuses(200_000)},
		{name: "refuses the way to a host behind", as: "jump", early: true, makes: refuses(200_000)},
		{name: "never opens a session", waits: true, as: "root", makes: holds},
		{name: "never opens a tunnel", waits: true, as: "tunnel", makes: holds},
		{name: "never opens the way to a host behind", waits: true, as: "jump", early: true, makes: holds},
		{name: "trickles, and never opens a session", waits: true, as: "root", makes: func(r *stage) behaviour {
			return behaviour{open: func(ssh.NewChannel) bool { return true }, greet: r.trickle}
		}},
		{name: "trickles, and never opens a tunnel", waits: true, as: "tunnel", makes: func(r *stage) behaviour {
			return behaviour{open: func(ssh.NewChannel) bool { return true }, greet: r.trickle}
		}},
		{name: "refuses to run anything", waits: true, as: "root", makes: func(*stage) behaviour {
			return behaviour{exec: func(_ ssh.Channel, r *ssh.Request) { _ = r.Reply(false, nil) }, shell: func(s *hostShell) { s.hear() }}
		}},
		{name: "refuses to run anything, and ends the session", as: "root", makes: func(*stage) behaviour {
			return behaviour{exec: func(c ssh.Channel, r *ssh.Request) { _ = r.Reply(false, nil); c.Close() }}
		}},
		{name: "never says whether it runs anything", waits: true, as: "root", makes: func(*stage) behaviour {
			return behaviour{exec: func(ssh.Channel, *ssh.Request) {}, shell: func(s *hostShell) { s.hear() }}
		}},
		{name: "answers no question whether it is there", waits: true, as: "root", makes: func(*stage) behaviour {
			return behaviour{global: func(*ssh.Request) {}, shell: func(s *hostShell) { s.ready(); s.hear() }}
		}},
		{name: "answers no question, and trickles", waits: true, as: "root", makes: func(*stage) behaviour {
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
		{name: "complains in a tunnel", waits: true, as: "tunnel", makes: func(r *stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { r.flood(c.Stderr()) }}
		}},
		{name: "floods a tunnel", as: "tunnel", makes: func(r *stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { r.flood(c) }}
		}},
		{name: "is silent in a tunnel", waits: true, as: "tunnel", makes: func(*stage) behaviour {
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
		{name: "is silent instead of a host behind", waits: true, as: "jump", early: true, makes: func(*stage) behaviour {
			return behaviour{forward: func(c ssh.Channel) { still(c) }}
		}},
	}
}

// trickle shows that the host is alive, and does nothing else.
func (s *stage) trickle(c *ssh.ServerConn) {
	for {
		if _, _, err := c.SendRequest("x", false, nil); err != nil {
			return
		}
		s.pause(20 * time.Millisecond)
	}
}
