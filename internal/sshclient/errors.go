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
	case errors.Is(e.Err, errTooMuch), errors.Is(e.Err, errViolations):
		return fmt.Sprintf("Check which program listens on the host and port of ssh_hosts.%s: it does not behave like an SSH server", e.Host)
	case errors.As(e.Err, &algorithms) && algorithms.What == "host key":
		return fmt.Sprintf("The host has no key of the type that host_key or known_hosts of ssh_hosts.%s holds: pin a key of a type that the host has", e.Host)
	case errors.As(e.Err, &login) && strings.Contains(e.Err.Error(), "Too many authentication failures"):
		return fmt.Sprintf("The host limits how many keys a login can try (MaxAuthTries): set private_key of ssh_hosts.%s instead of agent, or remove keys from the agent", e.Host)
	case errors.As(e.Err, &login):
		return fmt.Sprintf("Check username and the private_key, certificate, agent or password of ssh_hosts.%s. The host's log says why it refused the login", e.Host)
	case errors.As(e.Err, &dns):
		return fmt.Sprintf("Check host of ssh_hosts.%s: this machine could not resolve it", e.Host)
	case errors.As(e.Err, &network), errors.Is(e.Err, errTooLate), errors.Is(e.Err, io.EOF):
		return fmt.Sprintf("Check host and port of ssh_hosts.%s, that sshd is running, and that no firewall blocks this machine", e.Host)
	}
	return fmt.Sprintf("Check that host and port of ssh_hosts.%s lead to an SSH server. Its log may say more", e.Host)
}

func (h *Host) connectError(err error) *ConnectError {
	return &ConnectError{Host: h.name, Address: h.config.address(), Username: h.config.Username, Via: h.config.JumpHost, Err: err}
}

// A settingError says that a Config cannot be used, whatever the host.
type settingError struct{ err error }

func (e *settingError) Error() string { return e.err.Error() }
func (e *settingError) Unwrap() error { return e.err }

// A loginError says that the intended host, whose key was verified, refused the login.
type loginError struct {
	offered []string // the methods that were tried, without secrets
	accepts string   // the methods that the host named; "" if it named none
	err     error
}

func (e *loginError) Error() string {
	text := fmt.Sprintf("the login failed: %v. The provider offered: %s", e.err, strings.Join(e.offered, ", "))
	if e.accepts != "" {
		text += "; the host accepts: " + e.accepts
	}
	return text
}

func (e *loginError) Unwrap() error { return e.err }

// IsUnreachable reports whether err means that no question reached the host, as opposed to an
// answer from it.
func IsUnreachable(err error) bool {
	var connect *ConnectError
	return errors.As(err, &connect)
}

// An ExitError says that a command ran and failed.
type ExitError struct {
	Status int    // its exit status
	Stderr string // what it wrote to standard error, see Shorten
}

func (e *ExitError) Error() string {
	if text := strings.TrimSpace(e.Stderr); text != "" {
		return text
	}
	return fmt.Sprintf("the command failed with exit status %d", e.Status)
}

// A RootError says that a login cannot become root. Nothing was run.
type RootError struct{ text string }

func (e *RootError) Error() string { return e.text }

// A ShellError says that a host does not run our commands for a login. Nothing was run.
type ShellError struct {
	Host     string // the entry in the provider block
	Username string
	Other    string // the user that the login had to become, or ""
	Said     string // by the program that the host ran instead, see Shorten
	Err      error
}

func (e *ShellError) Error() string {
	whom := e.Username
	if e.Other != "" {
		whom = e.Other
	}
	text := fmt.Sprintf("SSH host %q did not start a shell for %q: %v", e.Host, whom, e.Err)
	if e.Said != "" {
		text += ". The host printed: " + strings.TrimSuffix(e.Said, ".")
	}
	if e.Other != "" {
		return text + fmt.Sprintf(". Check that the account has not expired, and that its password does not have to be changed (run usermod -e '' and chage -M -1 -d today as root). "+
			"If stitch_ssh_user manages %q, an apply repairs both", whom)
	}
	return text + fmt.Sprintf(". Commands need a shell: let ssh_hosts.%s log in as a user who has a shell such as /bin/sh, and no forced command "+
		"(command= in authorized_keys, ForceCommand in sshd_config). Tunnels need none", e.Host)
}

func (e *ShellError) Unwrap() error { return e.Err }

// An OutcomeError says that a command may or may not have run: its connection broke, or the caller
// stopped waiting.
type OutcomeError struct {
	Host string
	Err  error
}

func (e *OutcomeError) Error() string {
	return fmt.Sprintf("the outcome of a command on SSH host %q is unknown: %v. Plan again to see the current state", e.Host, e.Err)
}

func (e *OutcomeError) Unwrap() error { return e.Err }

// A ForwardError says that a host did not open a connection to an address.
type ForwardError struct {
	Host    string // the entry in the provider block
	Address string // the address to forward to
	Refused bool   // whether the host does not allow it, as opposed to an address that does not answer
	Err     error
}

func (e *ForwardError) Error() string {
	if e.Refused {
		return fmt.Sprintf("SSH host %q refuses to forward connections to %s (%v). Check AllowTcpForwarding, DisableForwarding and PermitOpen in its sshd_config, and the options of the key in authorized_keys "+
			"(restrict without port-forwarding, or a permitopen for other addresses: sshd compares names literally)", e.Host, e.Address, e.Err)
	}
	return fmt.Sprintf("SSH host %q cannot reach %s: %v. Give host and port as the SSH host sees them", e.Host, e.Address, e.Err)
}

func (e *ForwardError) Unwrap() error { return e.Err }

func (h *Host) forwardError(address string, err error) error {
	var open *ssh.OpenChannelError
	refused := errors.As(err, &open) && (open.Reason == ssh.Prohibited || open.Reason == ssh.UnknownChannelType)
	return &ForwardError{Host: h.name, Address: address, Refused: refused, Err: h.said(err)}
}
