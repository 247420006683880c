package sshclient

import (
	"errors"
	"net"

	"golang.org/x/crypto/ssh"
)

var errNo = errors.New("no")

func logins(name, as string, works bool, change func(*stage, *ssh.ServerConfig)) misbehaviour {
	return misbehaviour{name: name, as: as, works: works, early: true, makes: func(r *stage) behaviour {
		return behaviour{config: func(c *ssh.ServerConfig) { change(r, c) }}
	}}
}

// An insatiable host asks for more, whatever it gets.
type insatiable struct{}

func (i insatiable) key(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
	return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PublicKeyCallback: i.key}}
}

func (i insatiable) password(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
	return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PasswordCallback: i.password}}
}

// loginCases are about how a host lets clients in.
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
			c.PublicKeyCallback = insatiable{}.key
		}),
		logins("wants more and more passwords", "password", false, func(_ *stage, c *ssh.ServerConfig) {
			c.PasswordCallback = insatiable{}.password
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
		logins("asks nothing, without end", "password", false, func(_ *stage, c *ssh.ServerConfig) {
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
		logins("asks for the password by that password", "password", false, func(_ *stage, c *ssh.ServerConfig) {
			asks(c, func(challenge ssh.KeyboardInteractiveChallenge) error {
				for range 2 {
					if _, err := challenge("", "", []string{hostilePassword + "?"}, []bool{false}); err != nil {
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
		waiting(logins("takes its time for a login", "", false, func(r *stage, c *ssh.ServerConfig) {
			c.BannerCallback = func(ssh.ConnMetadata) string { <-r.over; return "" }
		})),
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
