package sshclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// attempts is how often connecting is tried: sshd drops some of many that come
// at once (MaxStartups), and a host that starts refuses for a moment.
const attempts = 4

// maxViolations is after how many connections on which a host broke the protocol
// it is not connected to again, as each may leave some megabytes in use.
const maxViolations = 8

var errViolations = fmt.Errorf("it broke the rules of the SSH protocol on %d connections, and is not connected to again", maxViolations)

var errTooLate = errors.New("connect_timeout was over")

// connect opens a connection of its own, through jump hosts if there are any. It
// takes connect_timeout at most, all attempts together.
func (h *Host) connect(ctx context.Context) (*connection, error) {
	if failure := h.plannedFailure(); failure != nil {
		return nil, failure
	}
	if h.violations.Load() >= maxViolations {
		return nil, h.connectError(errViolations)
	}
	limited, cancel := context.WithTimeoutCause(ctx, h.config.ConnectTimeout, errTooLate)
	defer cancel()
	c, err := h.dialAgain(limited)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.failure = nil
	case h.planning && ctx.Err() == nil:
		h.failure = err
	}
	return c, err
}

// plannedFailure returns what connecting for planning met before.
func (h *Host) plannedFailure() error {
	if !h.planning {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failure
}

func (h *Host) dialAgain(ctx context.Context) (*connection, error) {
	for attempt := 1; ; attempt++ {
		c, err := h.dial(ctx)
		if err == nil || attempt == attempts || ctx.Err() != nil || !mayRetry(err) {
			return c, err
		}
		pause := time.Duration(attempt) * (200 + time.Duration(rand.IntN(300))) * time.Millisecond //nolint:gosec // spreads attempts
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// mayRetry reports whether err may be gone in a moment. It never is what came
// after the host was known: a login that was refused counts on the other side.
func mayRetry(err error) bool {
	var setting *settingError
	var login *loginError
	var key *HostKeyError
	var forward *ForwardError
	var dns *net.DNSError
	var network *net.OpError
	switch {
	case errors.As(err, &setting), errors.As(err, &login), errors.As(err, &key):
		return false
	case errors.As(err, &forward):
		return !forward.Refused
	case errors.As(err, &dns):
		return dns.IsTemporary
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF)
}

// dial connects once.
func (h *Host) dial(ctx context.Context) (*connection, error) {
	failed := func(err error) (*connection, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, h.connectError(err)
	}
	check, algorithms, err := h.verification()
	if err != nil {
		return failed(&settingError{err})
	}
	login, err := h.newLogin(ctx)
	if err != nil {
		return failed(&settingError{err})
	}
	defer login.close()
	raw, via, err := h.reach(ctx)
	if err != nil {
		return failed(err)
	}
	c := h.newConnection(raw, via)
	release := context.AfterFunc(ctx, c.abort) // the only deadline that channels of a jump host know
	// The callback runs again when keys are exchanged again.
	var known atomic.Bool
	var hostKey atomic.Pointer[ssh.PublicKey]
	client, channels, requests, err := ssh.NewClientConn(c.wire, h.knownAs(), &ssh.ClientConfig{
		Config:       ssh.Config{Ciphers: ciphers()},
		User:         h.config.Username,
		Auth:         login.methods,
		AuthCallback: login.next,
		HostKeyCallback: func(hostname string, remote net.Addr, key ssh.PublicKey) error {
			err := check(hostname, remote, key)
			if known.Store(err == nil); err == nil {
				hostKey.Store(&key)
			}
			return err
		},
		HostKeyAlgorithms: algorithms,
		ClientVersion:     "SSH-2.0-terraform-provider-stitch",
	})
	if err != nil {
		release()
		c.abort()
		if err = h.said(err); known.Load() {
			err = h.refused(login, err)
		}
		return failed(err)
	}
	c.use(client, channels, requests) // also to end it: somebody has to read what comes until then
	if !release() {
		c.close()
		return failed(context.Cause(ctx))
	}
	h.mu.Lock()
	h.login, h.hostKey = login.used, *hostKey.Load()
	h.mu.Unlock()
	return c, nil
}

// reach opens what the SSH connection runs over: a TCP connection, or a channel
// of one to the jump host.
func (h *Host) reach(ctx context.Context) (net.Conn, *connection, error) {
	if h.config.JumpHost == "" {
		conn, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", h.config.address())
		return conn, nil, err
	}
	jump, ok := h.siblings.Host(h.config.JumpHost)
	if !ok {
		return nil, nil, &settingError{errors.New("its jump_host is no entry of ssh_hosts")}
	}
	via, err := jump.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	conn, err := via.DialContext(ctx, "tcp", h.config.address())
	if err != nil {
		if why := via.isLost(); why != nil {
			err = why
		}
		via.close()
		return nil, nil, jump.forwardError(h.config.address(), err)
	}
	return conn, via, nil
}

// ciphers are the modern ones, the fastest first where the processor helps with
// AES, as those of servers and notebooks do.
func ciphers() []string {
	return []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR}
}
