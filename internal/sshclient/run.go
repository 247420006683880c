package sshclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxSessions is how many commands run at a time: by default, sshd allows 10 sessions per
// connection (MaxSessions).
const maxSessions = 4

// Run runs a command and returns what it wrote to standard output. Errors are a *ConnectError, a
// *RootError or a *ShellError if that kept the command from starting, an *ExitError if it failed,
// and an *OutcomeError if the outcome is unknown.
func (h *Host) Run(ctx context.Context, c Command) ([]byte, error) {
	p, asRoot, err := h.program(c)
	if err != nil {
		return nil, err
	}
	if err := h.sessions.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for one of %d sessions of SSH host %q: %w", maxSessions, h.name, err)
	}
	defer h.sessions.Release(1)
	conversation, connection, err := h.converse(ctx, asRoot)
	if err != nil {
		return nil, err
	}
	h.open.Add(1)
	defer h.open.Add(-1)
	defer conversation.end()
	answer, err := h.finish(ctx, p, conversation, connection, cmp.Or(c.Limit, h.limits.command))
	var none *ShellError
	if errors.As(err, &none) && c.User != "root" && c.User != h.config.Username {
		none.Other = c.User
	}
	return answer, err
}

// program returns the program for a command, and whether root must run it.
func (h *Host) program(c Command) (p program, asRoot bool, err error) {
	if p, err = newProgram(c.Script, c.Data); err != nil {
		return program{}, false, err
	}
	if strings.HasPrefix(c.User, "-") || strings.ContainsAny(c.User, "\n\r:") {
		return program{}, false, fmt.Errorf("%q is not a user name", c.User)
	}
	if c.User != "" && c.User == h.config.Username {
		return p, false, nil
	}
	if h.config.Username != "root" && !h.config.Sudo {
		whom := "root"
		if c.User != "" {
			whom = fmt.Sprintf("%q, which only root can do", c.User)
		}
		return program{}, false, &RootError{fmt.Sprintf("%q of SSH host %q cannot become %s: set sudo = true in ssh_hosts.%s if this user is allowed to use sudo, or log in as root", h.config.Username, h.name, whom, h.name)}
	}
	if c.User != "" && c.User != "root" {
		p, err = p.as(c.User)
	}
	return p, true, err
}

// converse opens a shell that waits for a program. Because the shell has received no program yet,
// converse replaces, once, a shared connection that turns out to be lost.
func (h *Host) converse(ctx context.Context, asRoot bool) (*conversation, *connection, error) {
	for {
		c, fresh, err := h.commands(ctx)
		if err != nil {
			return nil, nil, err
		}
		shell, err := h.newSession(ctx, c)
		if err == nil {
			if err = h.begin(ctx, shell, asRoot); err == nil {
				return shell, c, nil
			}
			shell.end()
		}
		lost := c.hasEnded(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("wait for a shell of SSH host %q: %w", h.name, ctx.Err())
		case lost == nil:
			return nil, nil, err
		case fresh:
			return nil, nil, h.connectError(lost)
		}
		c.close()
	}
}

// newSession opens a session. A host that allows few at a time refuses more: newSession then waits
// until other commands of this process have ended theirs.
func (h *Host) newSession(ctx context.Context, c *connection) (*conversation, error) {
	for alone := 0; ; {
		others := h.open.Load()
		s, err := h.openSession(ctx, c)
		var refused *ssh.OpenChannelError
		if err == nil || !errors.As(err, &refused) {
			return s, err
		}
		if others == 0 { // though the host may not have noticed that the last one has ended
			alone++
		}
		if alone == 40 {
			return nil, fmt.Errorf("SSH host %q does not let %q open a session (check MaxSessions in its sshd_config): %w", h.name, h.config.Username, h.said(err))
		}
		select {
		case <-time.After(time.Duration(20+rand.IntN(60)) * time.Millisecond): //nolint:gosec // spreads attempts
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (h *Host) openSession(ctx context.Context, c *connection) (*conversation, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.limits.shell, errNoShellYet)
	defer cancel()
	s, err := within(ctx, func() (*conversation, error) { return newConversation(c) }, (*conversation).end)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil, errors.As(err, &refused):
		return s, err
	case errors.Is(context.Cause(ctx), errNoShellYet):
		err = fmt.Errorf("the host opened no session within %s", h.limits.shell)
	}
	return nil, &ShellError{Host: h.name, Username: h.config.Username, Err: h.said(err)}
}

// commands returns the connection that commands share, and whether this call made it.
func (h *Host) commands(ctx context.Context) (c *connection, fresh bool, err error) {
	select {
	case h.connects <- struct{}{}:
		defer func() { <-h.connects }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	h.mu.Lock()
	c = h.connection
	h.mu.Unlock()
	if c != nil && c.isLost() == nil {
		return c, false, nil
	}
	if c, err = h.connect(ctx); err != nil {
		return nil, false, err
	}
	h.mu.Lock()
	h.connection = c
	h.mu.Unlock()
	return c, true, nil
}

// finish sends the program and returns its answer. From here on the program may have run.
func (h *Host) finish(ctx context.Context, p program, c *conversation, connection *connection, limit time.Duration) ([]byte, error) {
	go func() {
		_, _ = io.WriteString(c.channel, p.text) // the reader of the answer learns that it did not arrive
		_ = c.channel.CloseWrite()
	}()
	unknown := func(err error) ([]byte, error) { return nil, &OutcomeError{Host: h.name, Err: err} }
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-ctx.Done():
		return unknown(context.Cause(ctx))
	case <-timer.C:
		return unknown(fmt.Errorf("it ran for more than %s, and the provider stopped waiting for it", limit))
	case <-c.stdout.over:
	}
	if c.stdout.overflowed() {
		return unknown(fmt.Errorf("it wrote more than %d MiB, and the provider stopped waiting for it", maxOutput>>20))
	}
	answer, status, begun, complete := p.answer(c.stdout.bytes())
	lost := connection.isLost()
	switch {
	case complete && status == 0 && h.repeats(answer):
		return unknown(fmt.Errorf("its output contains password or sudo_password of ssh_hosts.%s, and the provider discarded it. "+
			"Either the host repeats what it receives, and an attacker may control it, or the password is a word that hosts print anyway: choose another password", h.name))
	case complete && status == 0:
		return answer, nil
	case complete:
		return nil, &ExitError{Status: status, Stderr: h.quote(c.stderr.String())}
	case lost != nil:
		return unknown(lost)
	case begun || !c.ending.known || c.ending.signal != "":
		return unknown(h.said(fmt.Errorf("its shell ended before the command was complete, with %s", c.ending)))
	}
	// For example, runuser or su did not start the shell of another user.
	return nil, &ShellError{
		Host: h.name, Username: h.config.Username, Said: h.quote(strings.TrimSpace(c.stderr.String())),
		Err: h.said(fmt.Errorf("the shell ended with %s before the command began", c.ending)),
	}
}

// HostKey returns the fingerprint of the key with which the host proved its identity. For a
// certificate, it is the fingerprint of the certified key.
func (h *Host) HostKey(ctx context.Context) (string, error) {
	if _, _, err := h.commands(ctx); err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := h.hostKey
	if certificate, ok := key.(*ssh.Certificate); ok {
		key = certificate.Key
	}
	return ssh.FingerprintSHA256(key), nil
}

// LoginKey returns the public key of the login, in the form of authorized_keys, or "" if the login
// was by password.
func (h *Host) LoginKey(ctx context.Context) (string, error) {
	if _, _, err := h.commands(ctx); err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.login == nil {
		return "", nil
	}
	return string(ssh.MarshalAuthorizedKey(h.login)), nil
}
