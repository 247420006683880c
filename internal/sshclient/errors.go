package sshclient

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// A ConnectError says that a host could not be reached or refused the login. It
// holds no secret.
type ConnectError struct {
	Host     string // the entry in the provider block
	Address  string // host:port
	Username string
	Via      string // the jump host, or ""
	Err      error
}

func (e *ConnectError) Error() string {
	way := e.Address
	if e.Via != "" {
		way += fmt.Sprintf(" through SSH host %q", e.Via)
	}
	text := fmt.Sprintf("connect to SSH host %q (%s, username %q): %v", e.Host, way, e.Username, e.Err)
	if advice := e.advice(); advice != "" {
		text += ". " + advice
	}
	return text
}

func (e *ConnectError) Unwrap() error { return e.Err }

// advice says what to do, unless the cause does so itself.
func (e *ConnectError) advice() string {
	var key *HostKeyError
	var login *loginError
	var forward *ForwardError
	var setting *settingError
	var other *ConnectError
	var algorithms *ssh.AlgorithmNegotiationError
	var network *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(e.Err, &key), errors.As(e.Err, &other), errors.As(e.Err, &forward), errors.As(e.Err, &setting):
		return ""
	case errors.As(e.Err, &algorithms) && algorithms.What == "host key":
		return fmt.Sprintf("The host has no key of the kind that host_key or known_hosts of ssh_hosts.%s holds: pin one of a kind that it has", e.Host)
	case errors.As(e.Err, &login) && strings.Contains(e.Err.Error(), "Too many authentication failures"):
		return fmt.Sprintf("The host lets few keys be tried (MaxAuthTries): set private_key of ssh_hosts.%s rather than agent, or remove keys from the agent", e.Host)
	case errors.As(e.Err, &login):
		return fmt.Sprintf("Check username and the private_key, certificate, agent or password of ssh_hosts.%s; the host's log says why it refused", e.Host)
	case errors.As(e.Err, &dns):
		return fmt.Sprintf("Check host of ssh_hosts.%s: this machine resolves it", e.Host)
	case errors.As(e.Err, &network), errors.Is(e.Err, errTooLate), errors.Is(e.Err, io.EOF):
		return fmt.Sprintf("Check host and port of ssh_hosts.%s, that sshd is running, and that a firewall lets this machine reach it", e.Host)
	}
	return ""
}

func (h *Host) connectError(err error) *ConnectError {
	return &ConnectError{Host: h.name, Address: h.config.address(), Username: h.config.Username, Via: h.config.JumpHost, Err: err}
}

// A settingError says that a Config can not be used, wherever the host is.
type settingError struct{ err error }

func (e *settingError) Error() string { return e.err.Error() }
func (e *settingError) Unwrap() error { return e.err }

// A loginError says that a host, which proved to be the one that was meant, did
// not let us in.
type loginError struct {
	offered []string // what was tried, without secrets
	accepts []string // methods, as the host said; nil if it said nothing
	err     error
}

func (e *loginError) Error() string {
	text := fmt.Sprintf("the login failed: %v. Offered were: %s", e.err, strings.Join(e.offered, ", "))
	if len(e.accepts) > 0 {
		text += "; the host accepts: " + strings.Join(e.accepts, ", ")
	}
	return text
}

func (e *loginError) Unwrap() error { return e.err }

// IsUnreachable reports whether err means that nothing could be asked of the
// host, as opposed to an answer from it.
func IsUnreachable(err error) bool {
	var connect *ConnectError
	return errors.As(err, &connect)
}

// An ExitError says that a command ran and failed.
type ExitError struct {
	Status int    // its exit status
	Stderr string // what it wrote to standard error, shortened
}

func (e *ExitError) Error() string {
	if text := strings.TrimSpace(e.Stderr); text != "" {
		return text
	}
	return fmt.Sprintf("the command failed with exit status %d", e.Status)
}

// An OutcomeError says that a command may have run or not: its connection broke,
// or it was not waited for.
type OutcomeError struct {
	Host string
	Err  error
}

func (e *OutcomeError) Error() string {
	return fmt.Sprintf("a command on SSH host %q did not end before its connection did (%v): whether it did its work is not known. Plan again to see what is there", e.Host, e.Err)
}

func (e *OutcomeError) Unwrap() error { return e.Err }

// A ForwardError says that a host did not open a way to an address.
type ForwardError struct {
	Host    string // the entry in the provider block
	Address string // that it was to forward to
	Refused bool   // whether it is not allowed, as opposed to the address not answering
	Err     error
}

func (e *ForwardError) Error() string {
	if e.Refused {
		return fmt.Sprintf("SSH host %q refuses to forward to %s: AllowTcpForwarding, DisableForwarding or PermitOpen of its sshd_config, or the options of the key in authorized_keys "+
			"(restrict without port-forwarding, a permitopen for other addresses: it compares names literally), do not let it (%v)", e.Host, e.Address, e.Err)
	}
	return fmt.Sprintf("SSH host %q can not reach %s: %v. Host and port are as the SSH host sees them", e.Host, e.Address, e.Err)
}

func (e *ForwardError) Unwrap() error { return e.Err }

func (h *Host) forwardError(address string, err error) error {
	var open *ssh.OpenChannelError
	if !errors.As(err, &open) {
		return err
	}
	return &ForwardError{Host: h.name, Address: address, Refused: open.Reason == ssh.Prohibited || open.Reason == ssh.UnknownChannelType, Err: err}
}
