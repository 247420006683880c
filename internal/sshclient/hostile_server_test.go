package sshclient

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// A recorder keeps the beginning of what clients sent.
type recorder struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.text.Len() < 1<<20 {
		r.text.Write(p)
	}
	return len(p), nil
}

func (r *recorder) holds(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.text.Bytes(), []byte(text))
}

// A behaviour says how a host behaves; where it is not set, the host behaves correctly.
type behaviour struct {
	raw     func(*rawPeer)          // instead of all below
	config  func(*ssh.ServerConfig) // of the login
	greet   func(*ssh.ServerConn)   // runs in addition once a client is logged in
	global  func(*ssh.Request)
	open    func(ssh.NewChannel) bool       // reports whether it has handled the channel
	exec    func(ssh.Channel, *ssh.Request) // answers the request for a shell
	shell   func(*hostShell)                // acts as the shell, until it ends
	forward func(ssh.Channel)               // is the other end of a tunnel
	slow    func(net.Conn) net.Conn         // wraps the transport
}

// A hostileHost is an SSH server that behaves as a test wants.
type hostileHost struct {
	behaviour
	*stage
	listener net.Listener
	key      ssh.Signer
	heard    recorder // all that clients sent, except their logins
	logins   recorder // passwords and answers

	lock  sync.Mutex
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

// A stage is where a host misbehaves: it has a source of random numbers, and an end.
type stage struct {
	mu     sync.Mutex
	random *rand.Rand
	over   chan struct{}
}

func (s *stage) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// pause waits, but not beyond the end.
func (s *stage) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.over:
	}
}

func startHostile(key ssh.Signer, s *stage, b behaviour) (*hostileHost, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hostileHost{behaviour: b, stage: s, listener: listener, key: key, conns: map[net.Conn]bool{}}
	h.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			h.lock.Lock()
			h.conns[conn] = true
			h.lock.Unlock()
			h.all.Go(func() {
				defer conn.Close()
				h.serve(conn)
			})
		}
	})
	return h, nil
}

// stop returns once nothing of the host is left.
func (h *hostileHost) stop() {
	close(h.over) // the end of the misbehaviour's stage
	h.listener.Close()
	h.lock.Lock()
	for conn := range h.conns {
		conn.Close()
	}
	h.lock.Unlock()
	h.all.Wait()
}

func (h *hostileHost) port() int { return h.listener.Addr().(*net.TCPAddr).Port }

func (h *hostileHost) serve(conn net.Conn) {
	if h.raw != nil {
		h.raw(newRawPeer(conn, h))
		return
	}
	if h.slow != nil {
		conn = h.slow(conn)
	}
	c, channels, requests, err := ssh.NewServerConn(conn, h.serverConfig())
	if err != nil {
		return
	}
	defer c.Close()
	if h.greet != nil {
		h.all.Go(func() { h.greet(c) })
	}
	h.all.Go(func() {
		for r := range requests {
			if h.global != nil {
				h.global(r)
			} else {
				_ = r.Reply(false, nil)
			}
		}
	})
	for channel := range channels {
		if h.open != nil && h.open(channel) {
			continue
		}
		opened, requests, err := channel.Accept()
		if err != nil {
			return
		}
		if channel.ChannelType() == "session" {
			h.all.Go(func() { h.session(opened, requests) })
			continue
		}
		h.all.Go(func() {
			h.all.Go(func() { ssh.DiscardRequests(requests) })
			defer opened.Close()
			if h.forward != nil {
				h.forward(opened)
			} else {
				pong(opened)
			}
		})
	}
}

// pong is the far end of a tunnel.
func pong(c ssh.Channel) {
	ping := make([]byte, 4)
	if _, err := io.ReadFull(c, ping); err == nil && string(ping) == "ping" {
		_, _ = c.Write([]byte("pong"))
	}
}

func (h *hostileHost) serverConfig() *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil },
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			_, err := h.logins.Write(password)
			return nil, err
		},
	}
	if h.config != nil {
		h.config(c)
	}
	c.AddHostKey(h.key)
	return c
}

func (h *hostileHost) session(c ssh.Channel, requests <-chan *ssh.Request) {
	defer c.Close()
	for r := range requests {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		h.all.Go(func() { ssh.DiscardRequests(requests) })
		if h.exec != nil {
			h.exec(c, r)
		} else {
			_ = r.Reply(true, nil)
		}
		var command struct{ Command string }
		_ = ssh.Unmarshal(r.Payload, &command)
		s := &hostShell{Channel: c, host: h, command: command.Command}
		if h.shell != nil {
			h.shell(s)
		} else {
			s.speak()
		}
		return
	}
}

// A hostShell is the host's end of a command.
type hostShell struct {
	ssh.Channel
	host    *hostileHost
	command string
	nonce   string
}

func (s *hostShell) write(text string)    { _, _ = io.WriteString(s.Channel, text) }
func (s *hostShell) complain(text string) { _, _ = io.WriteString(s.Stderr(), text) }
func (s *hostShell) ready()               { s.write(ready + "\n") }

// program reads what the client sends, to its end.
func (s *hostShell) program() {
	text, _ := io.ReadAll(io.TeeReader(s.Channel, &s.host.heard))
	_, after, _ := strings.Cut(string(text), "'begin ")
	s.nonce, _, _ = strings.Cut(after, "'")
}

func (s *hostShell) begin()            { s.write("\nbegin " + s.nonce + "\n") }
func (s *hostShell) end(status string) { s.write("\nend " + s.nonce + " " + status + "\n") }

// exit reports how the command ended.
func (s *hostShell) exit(status int) {
	_, _ = s.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(status)))
}

func (s *hostShell) signal(name, message string) {
	_, _ = s.SendRequest("exit-signal", false, ssh.Marshal(struct {
		Name    string
		Core    bool
		Message string
		Lang    string
	}{name, false, message, ""}))
}

// hear only reads from the client, to the end.
func (s *hostShell) hear() {
	_, _ = io.Copy(&s.host.heard, s.Channel)
	<-s.host.over
}

const rightAnswer = "right\n"

// speak sends what a shell should send.
func (s *hostShell) speak() {
	s.login()
	s.answer()
	s.exit(0)
}

// login sends what comes before the program.
func (s *hostShell) login() {
	if s.command == sudoAskShell {
		s.complain(prompt)
		password := make([]byte, len(hostileSudo)+1)
		_, _ = io.ReadFull(s.Channel, password)
	}
	s.ready()
}

func (s *hostShell) answer() {
	s.program()
	s.begin()
	s.write(rightAnswer)
	s.end("0")
}
