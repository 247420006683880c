package sshclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// attempts is how often connecting is tried: sshd drops some of many that come
// at once (MaxStartups), and a host that starts refuses for a moment.
const attempts = 4

var errTooLate = errors.New("connect_timeout was over")

// connect opens a connection of its own, through jump hosts if there are any. It
// takes connect_timeout at most, all attempts together.
func (h *Host) connect(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.config.ConnectTimeout, errTooLate)
	defer cancel()
	for attempt := 1; ; attempt++ {
		c, err := h.dial(ctx)
		if err == nil {
			return c, nil
		}
		if attempt == attempts || ctx.Err() != nil || !mayRetry(err) {
			return nil, err
		}
		pause := time.Duration(attempt) * (200 + time.Duration(rand.IntN(300))) * time.Millisecond //nolint:gosec // spreads attempts
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// mayRetry reports whether err may be gone in a moment: nothing of a login or of
// a host key is.
func mayRetry(err error) bool {
	var key *HostKeyError
	var forward *ForwardError
	var algorithms *ssh.AlgorithmNegotiationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &key), errors.As(err, &algorithms), strings.Contains(err.Error(), "unable to authenticate"):
		return false
	case errors.As(err, &forward):
		return !forward.Refused
	case errors.As(err, &dns):
		return dns.IsTemporary
	}
	var network net.Error
	return errors.As(err, &network) || strings.Contains(err.Error(), "handshake failed: EOF")
}

// dial connects once.
func (h *Host) dial(ctx context.Context) (*connection, error) {
	failed := func(err error) (*connection, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, &ConnectError{Host: h.name, Address: h.config.address(), Username: h.config.Username, Via: h.config.JumpHost, Err: err}
	}
	check, algorithms, err := h.verification()
	if err != nil {
		return failed(err)
	}
	login, err := h.newLogin()
	if err != nil {
		return failed(err)
	}
	defer login.close()
	raw, via, err := h.reach(ctx)
	if err != nil {
		return failed(err)
	}
	c := &connection{host: h.name, raw: raw, via: via, lost: make(chan struct{})}
	release := context.AfterFunc(ctx, func() { _ = raw.Close() }) // the only deadline that channels of a jump host know
	client, channels, requests, err := ssh.NewClientConn(raw, h.config.address(), &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: ciphers()},
		User:              h.config.Username,
		Auth:              login.methods,
		HostKeyCallback:   check,
		HostKeyAlgorithms: algorithms,
		ClientVersion:     "SSH-2.0-terraform-provider-stitch",
	})
	if err == nil && !release() {
		_ = client.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		release()
		_ = raw.Close()
		if via != nil {
			via.close()
		}
		return failed(err)
	}
	c.Client = ssh.NewClient(client, channels, requests)
	c.watch()
	h.mu.Lock()
	h.failure, h.login = nil, login.used
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
		return nil, nil, errors.New("its jump_host is not there")
	}
	via, err := jump.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	conn, err := via.DialContext(ctx, "tcp", h.config.address())
	if err != nil {
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
