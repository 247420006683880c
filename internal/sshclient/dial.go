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

// attempts bounds how often to try to connect: sshd drops some of many simultaneous connections
// (MaxStartups), and a starting host refuses connections for a moment.
const attempts = 4

// maxViolations is the number of protocol violations after which a host is not connected to again,
// because each may leave some megabytes in use.
const maxViolations = 8

var errViolations = fmt.Errorf("the host violated the SSH protocol on %d connections, and the provider does not connect to it again", maxViolations)

var errTooLate = errors.New("connect_timeout has expired")

// connect opens a new connection, through jump hosts if there are any. All attempts together take
// at most connect_timeout.
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

// plannedFailure returns the earlier error of connecting for planning.
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

// mayRetry reports whether err may be gone in a moment. Errors after the host key was verified
// never are: the host counts refused logins.
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

// dial tries once to connect.
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
	release := context.AfterFunc(ctx, c.abort) // channels of a jump host have no other deadline
	// The callback runs again at each key re-exchange.
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
	c.use(client, channels, requests) // also to end it: its input must be read until then
	if !release() {
		c.close()
		return failed(context.Cause(ctx))
	}
	h.mu.Lock()
	h.login, h.hostKey = login.used, *hostKey.Load()
	h.mu.Unlock()
	return c, nil
}

// reach opens the transport of the SSH connection: a TCP connection, or a channel of a connection
// to the jump host.
func (h *Host) reach(ctx context.Context) (net.Conn, *connection, error) {
	if h.config.JumpHost == "" {
		conn, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", h.config.address())
		return conn, nil, err
	}
	jump, ok := h.siblings.Host(h.config.JumpHost)
	if !ok {
		return nil, nil, &settingError{errors.New("its jump_host is not an entry of ssh_hosts")}
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

// ciphers are the modern ciphers. The fastest come first where the processor has AES instructions,
// as those of servers and notebooks do.
func ciphers() []string {
	return []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR}
}
