package sshclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// The shells that receive programs. Each announces itself first, and receives no program before
// that: until then, standard input belongs to sudo.
const (
	ready        = "terraform-provider-stitch: ready"
	prompt       = "terraform-provider-stitch: password of sudo: "
	plainShell   = `/bin/sh -c 'echo "terraform-provider-stitch: ready"; exec /bin/sh -s'`
	sudoShell    = `env LC_ALL=C sudo -n -- ` + plainShell
	sudoAskShell = `env LC_ALL=C sudo -S -k -p 'terraform-provider-stitch: password of sudo: ' -- ` + plainShell
)

// A conversation is one command: a shell, its input, and its output.
type conversation struct {
	channel        ssh.Channel
	stdout, stderr *written
	ended          chan struct{} // closed when the host has ended it and all its output was read
	ending         ending        // valid once ended is closed
}

// An ending is what a host reports about the end of a command.
type ending struct {
	known  bool // the host reported something
	status int
	signal string // the signal that ended it, or ""
}

func (e ending) String() string {
	switch {
	case e.signal != "":
		return fmt.Sprintf("signal %q", e.signal)
	case e.known:
		return fmt.Sprintf("exit status %d", e.status)
	}
	return "no exit status"
}

// note reads what a request of the host reports about the ending. It ignores a truncated report.
func (e *ending) note(kind string, payload []byte) {
	switch kind {
	case "exit-status":
		if len(payload) >= 4 {
			*e = ending{known: true, status: int(binary.BigEndian.Uint32(payload))}
		}
	case "exit-signal":
		var said struct {
			Signal string
			Rest   []byte `ssh:"rest"`
		}
		if ssh.Unmarshal(payload, &said) == nil && said.Signal != "" {
			*e = ending{known: true, signal: said.Signal}
		}
	}
}

// newConversation opens a session. It does not use a Session of the ssh package, which stops
// reading the host's requests at a malformed one, and thereby everything that arrives over the
// connection.
func newConversation(c *connection) (*conversation, error) {
	channel, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		return nil, err
	}
	s := &conversation{channel: channel, stdout: newWritten(maxOutput, ready), stderr: newWritten(maxStderr, prompt), ended: make(chan struct{})}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(s.stdout, channel) }) // an error is the end of the connection
	both.Go(func() { _, _ = io.Copy(s.stderr, channel.Stderr()) })
	go func() {
		for r := range requests {
			s.ending.note(r.Type, r.Payload)
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
		both.Wait()
		close(s.ended)
	}()
	return s, nil
}

// start asks the host to run a command.
func (s *conversation) start(command string) error {
	ok, err := s.channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
	if err == nil && !ok {
		err = errNotRun
	}
	return err
}

var errNotRun = errors.New("the host refuses to run any command")

// end ends the session. It does not wait: the host may not answer.
func (s *conversation) end() {
	s.stdout.drop()
	s.stderr.drop()
	go s.channel.Close()
}

// begin starts a shell, and returns once the shell waits for a program. No part of a command has
// run before that.
func (h *Host) begin(ctx context.Context, s *conversation, asRoot bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.limits.shell, errNoShellYet)
	defer cancel()
	shell, sudo, password := plainShell, asRoot && h.config.Username != "root", ""
	switch {
	case sudo && h.config.SudoPassword != "":
		shell, password = sudoAskShell, h.config.SudoPassword
	case sudo:
		shell = sudoShell
	}
	if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, s.start(shell) }, func(struct{}) {}); err != nil {
		return h.notBegun(ctx, s, sudo, err)
	}
	asked := s.stderr.seen
	if password == "" {
		asked = nil // this prompt is not sudo's
	}
	for {
		select {
		case <-s.stdout.seen:
			return nil
		case n := <-asked:
			if n > 1 {
				return &RootError{fmt.Sprintf("sudo on SSH host %q did not accept sudo_password of ssh_hosts.%s", h.name, h.name)}
			}
			if _, err := within(ctx, func() (int, error) { return io.WriteString(s.channel, password+"\n") }, func(int) {}); err != nil {
				return h.notBegun(ctx, s, sudo, err)
			}
		case <-s.stdout.noisy:
			return h.notBegun(ctx, s, sudo, errNoise)
		case <-s.ended: // after all its output, which may have arrived at the same time
			switch marked, noisy := s.stdout.began(); {
			case marked:
				return nil
			case noisy:
				return h.notBegun(ctx, s, sudo, errNoise)
			}
			return h.notBegun(ctx, s, sudo, nil)
		case <-ctx.Done():
			return h.notBegun(ctx, s, sudo, ctx.Err())
		}
	}
}

var (
	errNoShellYet = errors.New("it did not start in time")
	errNoise      = fmt.Errorf("the host wrote more than %d KiB of other output", maxNoise>>10)
)

// withoutPrompts removes the prompts of sudo, and those that sudo-rs wraps around them.
var withoutPrompts = strings.NewReplacer("[sudo: "+prompt+"] Password: ", "", prompt, "")

// notBegun explains why there is no shell. If err is nil, the process that was to become the shell
// has ended.
func (h *Host) notBegun(ctx context.Context, s *conversation, sudo bool, err error) error {
	complaint := strings.TrimSpace(withoutPrompts.Replace(s.stderr.String()))
	none := &ShellError{Host: h.name, Username: h.config.Username, Said: h.quote(strings.TrimSpace(complaint + "\n" + s.stdout.String()))}
	switch {
	case errors.Is(context.Cause(ctx), errNoShellYet):
		none.Err = fmt.Errorf("no shell started within %s", h.limits.shell)
		return none
	case ctx.Err() != nil:
		return fmt.Errorf("wait for a shell of SSH host %q: %w", h.name, ctx.Err())
	case err != nil:
		none.Err = h.said(err)
		return none
	}
	none.Err = h.said(fmt.Errorf("the program that the host ran instead ended with %s", s.ending))
	if !sudo || complaint == "" { // a login shell such as nologin, or a forced command: not sudo's doing
		return none
	}
	advice := fmt.Sprintf(". Allow %q to use sudo on that host, or log in as root", h.config.Username)
	switch {
	case strings.Contains(complaint, "password is required"), strings.Contains(complaint, "authentication is required"): // sudo; sudo-rs
		advice = fmt.Sprintf(". Set sudo_password of ssh_hosts.%s, or allow %s to use sudo without a password (NOPASSWD)", h.name, h.config.Username)
	case strings.Contains(complaint, "a tty"):
		advice = ". Its sudoers file has requiretty, which no program can satisfy: add Defaults:" + h.config.Username + " !requiretty"
	}
	return &RootError{fmt.Sprintf("%q of SSH host %q (ssh_hosts.%s) cannot become root by sudo: %s%s", h.config.Username, h.name, h.name, h.quote(complaint), advice)}
}

// Bounds of the output that is kept of a command.
const (
	maxOutput = 8 << 20
	maxStderr = 64 << 10
	maxNoise  = 64 << 10 // before a mark
)

// A written is the writing end of a pipe. It keeps what arrives, up to a limit, and notices each
// mark.
type written struct {
	mark string

	mu    sync.Mutex
	limit int
	text  bytes.Buffer
	full  bool
	late  bool
	marks int
	seen  chan int      // the number of marks so far
	noisy chan struct{} // closed when so much arrived without a mark that the search ends
	over  chan struct{} // closed when more than limit arrived
}

func newWritten(limit int, mark string) *written {
	return &written{limit: limit, mark: mark, seen: make(chan int, 8), noisy: make(chan struct{}), over: make(chan struct{})}
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	if room := w.limit - w.text.Len(); n > room {
		if !w.full {
			w.full = true
			close(w.over)
		}
		p = p[:room]
	}
	w.text.Write(p)
	if w.marks < cap(w.seen) && !w.late {
		w.lookForMarks()
	}
	return n, nil
}

func (w *written) lookForMarks() {
	begun := w.text.Bytes()
	begun = begun[:min(len(begun), maxNoise)]
	if marks := bytes.Count(begun, []byte(w.mark)); marks > w.marks {
		w.marks = min(marks, cap(w.seen))
		select {
		case w.seen <- w.marks:
		default:
		}
	}
	if len(begun) < maxNoise {
		return
	}
	w.late = true
	if w.marks == 0 {
		close(w.noisy)
	}
}

// began reports whether mark has come, and whether too much came without it.
func (w *written) began() (marked, noisy bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks > 0, w.marks == 0 && w.late
}

// overflowed reports whether more than limit arrived.
func (w *written) overflowed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.full
}

// drop discards everything, because it is no longer needed.
func (w *written) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit, w.text, w.late, w.full = 0, bytes.Buffer{}, true, true
}

// bytes returns what has arrived, for use once nothing more will.
func (w *written) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Bytes()
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
