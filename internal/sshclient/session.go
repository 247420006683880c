package sshclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Shells that programs are sent to. Each says that it is there before it is sent
// any: until then, standard input is sudo's.
const (
	ready        = "terraform-provider-stitch: ready"
	prompt       = "terraform-provider-stitch: password of sudo: "
	plainShell   = `/bin/sh -c 'echo "terraform-provider-stitch: ready"; exec /bin/sh -s'`
	sudoShell    = `env LC_ALL=C sudo -n -- ` + plainShell
	sudoAskShell = `env LC_ALL=C sudo -S -k -p 'terraform-provider-stitch: password of sudo: ' -- ` + plainShell
)

// Bounds of what is kept of a command's output, and of the time that a shell may
// take to be there, which is sudo's to look up who may what.
const (
	shellTimeout = 30 * time.Second
	maxOutput    = 8 << 20
	maxStderr    = 64 << 10
)

// A written is the end of a pipe that keeps what comes, up to a limit, and
// notices each time that mark has come once more.
type written struct {
	limit int
	mark  string

	mu    sync.Mutex
	text  bytes.Buffer
	full  bool
	marks int
	seen  chan int      // how often mark has come
	over  chan struct{} // closed when there was more than limit
}

func newWritten(limit int, mark string) *written {
	return &written{limit: limit, mark: mark, seen: make(chan int, 8), over: make(chan struct{})}
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
	if w.marks >= cap(w.seen) || w.text.Len() > maxStderr {
		return n, nil
	}
	if marks := bytes.Count(w.text.Bytes(), []byte(w.mark)); marks > w.marks {
		w.marks = min(marks, cap(w.seen))
		select {
		case w.seen <- w.marks:
		default:
		}
	}
	return n, nil
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// A conversation is one command: a shell, what it is sent, and what it says.
type conversation struct {
	session        *ssh.Session
	stdin          io.WriteCloser
	stdout, stderr *written
	ended          chan error // what the session's Wait returned
}

// A sudoError says that sudo did not let the login become root.
type sudoError struct{ text string }

func (e *sudoError) Error() string { return e.text }

// begin starts a shell, and returns once it waits for a program. Nothing of a
// command has run before that.
func (h *Host) begin(ctx context.Context, session *ssh.Session, asRoot bool) (*conversation, error) {
	shell, sudo := plainShell, asRoot && h.config.Username != "root"
	switch {
	case sudo && h.config.SudoPassword != "":
		shell = sudoAskShell
	case sudo:
		shell = sudoShell
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	c := &conversation{session: session, stdin: stdin, stdout: newWritten(maxOutput, ready), stderr: newWritten(maxStderr, prompt), ended: make(chan error, 1)}
	session.Stdout, session.Stderr = c.stdout, c.stderr
	if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, session.Start(shell) }, func(struct{}) {}); err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	go func() { c.ended <- session.Wait() }()
	timer := time.NewTimer(shellTimeout)
	defer timer.Stop()
	for {
		select {
		case <-c.stdout.seen:
			return c, nil
		case n := <-c.stderr.seen:
			if n > 1 {
				return nil, &sudoError{fmt.Sprintf("sudo on SSH host %q did not accept sudo_password", h.name)}
			}
			if _, err := io.WriteString(stdin, h.config.SudoPassword+"\n"); err != nil {
				return nil, err
			}
		case err := <-c.ended:
			return nil, h.noShell(sudo, c, err)
		case <-timer.C:
			return nil, fmt.Errorf("SSH host %q gave %q no shell within %s. What came was: %.200q", h.name, h.config.Username, shellTimeout, c.stderr.String()+c.stdout.String())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// noShell explains that the shell ended before it began.
func (h *Host) noShell(sudo bool, c *conversation, err error) error {
	said := strings.TrimSpace(strings.ReplaceAll(c.stderr.String(), prompt, ""))
	var exit *ssh.ExitError
	switch {
	case !errors.As(err, &exit):
		return err
	case !sudo || said == "": // a login shell such as nologin, or a command that is forced, which sudo has no part in
		return fmt.Errorf("SSH host %q gives %q no shell (exit status %d): %s%s", h.name, h.config.Username, exit.ExitStatus(), said, strings.TrimSpace(c.stdout.String()))
	case strings.Contains(said, "password is required"):
		said += fmt.Sprintf(". Set sudo_password of ssh_hosts.%s, or let %s use sudo without (NOPASSWD)", h.name, h.config.Username)
	case strings.Contains(said, "a tty"):
		said += ". Its sudoers file has requiretty, which no program can satisfy: add Defaults:" + h.config.Username + " !requiretty"
	}
	return &sudoError{fmt.Sprintf("%q of SSH host %q can not become root by sudo: %s", h.config.Username, h.name, said)}
}
