package sshclient

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A HostKeyError says that a host did not prove to be the intended one.
type HostKeyError struct {
	Host    string   // the entry in the provider block
	Address string   // host:port
	Got     string   // the fingerprint of the host's key
	Want    []string // the fingerprints of the accepted keys; none if no key of the host is known
	Source  string   // where the accepted keys are: host_key, or the known_hosts file
	Revoked bool     // whether the key is marked as revoked
	Reason  string   // what is wrong with the certificate of its key, or ""
}

func (e *HostKeyError) Error() string {
	switch {
	case e.Revoked:
		return fmt.Sprintf("SSH host %q (%s) has the key %s, which %s marks as revoked: do not trust it", e.Host, e.Address, e.Got, e.Source)
	case e.Reason != "":
		return fmt.Sprintf("SSH host %q (%s) has the key %s with a certificate that is not accepted (%s). The @cert-authority lines of %s list the trusted authorities. Renew the host's certificate, or pin its key",
			e.Host, e.Address, e.Got, e.Reason, e.Source)
	case len(e.Want) == 0:
		return fmt.Sprintf("SSH host %q (%s) has the key %s, and %s holds no key for this host. On the host itself, run \"ssh-keygen -lf\" for each /etc/ssh/ssh_host_*_key.pub. If it shows the same key, add the key to %s or set host_key",
			e.Host, e.Address, e.Got, e.Source, e.Source)
	}
	return fmt.Sprintf("SSH host %q (%s) has the key %s, but %s expects %s. Either the host was set up again, or another machine answers in its place. Nothing was sent to it. "+
		"On the host itself, run \"ssh-keygen -lf\" for each /etc/ssh/ssh_host_*_key.pub. Change %s only if it shows the new key",
		e.Host, e.Address, e.Got, e.Source, strings.Join(e.Want, " or "), e.Source)
}

// CheckHostKeys returns the reason why one of the keys cannot be a host's.
func CheckHostKeys(keys []string) error {
	if len(keys) == 0 {
		return errors.New("it is empty: set it to the host's public key, such as \"ssh-ed25519 AAAA...\"")
	}
	_, err := parseHostKeys(keys)
	return err
}

func parseHostKeys(texts []string) (keys []ssh.PublicKey, err error) {
	for _, text := range texts {
		if strings.Contains(text, "PRIVATE KEY") {
			return nil, errors.New("it is a private key: use the host's public key, such as \"ssh-ed25519 AAAA...\"")
		}
		key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(text))
		if err != nil || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("%.60q is not a public key such as \"ssh-ed25519 AAAA...\" (leave out the host name that ssh-keyscan and known_hosts show before the key)", text)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// verification returns the function that verifies the host's key, and the algorithms to ask for:
// those of the known keys, because a host with several keys would otherwise show another one.
func (h *Host) verification() (check ssh.HostKeyCallback, algorithms []string, err error) {
	if len(h.config.HostKeys) > 0 {
		keys, err := parseHostKeys(h.config.HostKeys)
		if err != nil {
			return nil, nil, fmt.Errorf("read host_key: %w", err)
		}
		return h.checkPinned(keys), algorithmsOf(keys), nil
	}
	if h.config.KnownHosts == "" {
		return nil, nil, errors.New("neither host_key nor known_hosts is set")
	}
	text, err := ReadFile(h.config.KnownHosts)
	if err != nil {
		return nil, nil, fmt.Errorf("read known_hosts: %w", err)
	}
	known, err := knownhosts.New(h.config.KnownHosts)
	if err != nil {
		return nil, nil, fmt.Errorf("read known_hosts: %w", err)
	}
	keys, hasAuthority := h.knownKeys(known, strings.Split(string(text), "\n"))
	if hasAuthority {
		algorithms = certificateAlgorithms()
	}
	return h.checkKnown(known), append(algorithms, algorithmsOf(keys)...), nil
}

func (h *Host) checkPinned(keys []ssh.PublicKey) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, got ssh.PublicKey) error {
		for _, key := range keys {
			if bytes.Equal(key.Marshal(), got.Marshal()) {
				return nil
			}
		}
		return &HostKeyError{Host: h.name, Address: h.config.address(), Got: ssh.FingerprintSHA256(got), Want: fingerprints(keys), Source: "host_key"}
	}
}

func (h *Host) checkKnown(known ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(hostname string, _ net.Addr, got ssh.PublicKey) error {
		err := known(hostname, somewhere, got)
		var unknown *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		failure := &HostKeyError{Host: h.name, Address: h.config.address(), Got: ssh.FingerprintSHA256(got), Source: h.config.KnownHosts}
		switch {
		case errors.As(err, &revoked):
			failure.Revoked = true
			return failure
		case errors.As(err, &unknown):
			for _, want := range unknown.Want {
				failure.Want = append(failure.Want, ssh.FingerprintSHA256(want.Key))
			}
			return failure
		}
		if certificate, ok := got.(*ssh.Certificate); ok && err != nil {
			failure.Got, failure.Reason = ssh.FingerprintSHA256(certificate.Key), Shorten(err.Error())
			return failure
		}
		return err
	}
}

// knownAs is the name under which the host is looked up, and that its certificate must have: names
// are in lower case there, as in OpenSSH.
func (h *Host) knownAs() string { return strings.ToLower(h.config.address()) }

// somewhere stands for the remote address. Only the hostname is looked up.
var somewhere = &net.TCPAddr{IP: net.IPv4zero}

// knownKeys returns the keys that the lines of a known_hosts file hold for the host, and whether
// they hold an authority that may have signed other keys.
func (h *Host) knownKeys(known ssh.HostKeyCallback, lines []string) (keys []ssh.PublicKey, hasAuthority bool) {
	// The package lists the keys that it would accept when it gets a key that it does not know.
	var unknown *knownhosts.KeyError
	if !errors.As(known(h.knownAs(), somewhere, noKey{}), &unknown) {
		return nil, false
	}
	return withoutAuthorities(unknown.Want, lines)
}

// withoutAuthorities returns the host's own keys, and whether the others belong to authorities. The
// lines are those from which the keys were read, unless another process has written the file since.
func withoutAuthorities(known []knownhosts.KnownKey, lines []string) (keys []ssh.PublicKey, hasAuthority bool) {
	for _, k := range known {
		if k.Line >= 1 && k.Line <= len(lines) && strings.HasPrefix(strings.TrimSpace(lines[k.Line-1]), "@cert-authority") {
			hasAuthority = true
			continue
		}
		keys = append(keys, k.Key)
	}
	return keys, hasAuthority
}

// noKey is a key that no host has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

func fingerprints(keys []ssh.PublicKey) (texts []string) {
	for _, key := range keys {
		texts = append(texts, ssh.FingerprintSHA256(key))
	}
	return texts
}

func certificateAlgorithms() []string {
	return []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
}

// algorithmsOf returns the algorithms with which hosts prove that they have one of the keys; none
// means all that the ssh package knows.
func algorithmsOf(keys []ssh.PublicKey) (algorithms []string) {
	for _, key := range keys {
		of := []string{key.Type()}
		if key.Type() == ssh.KeyAlgoRSA {
			of = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, algorithm := range of {
			if !slices.Contains(algorithms, algorithm) {
				algorithms = append(algorithms, algorithm)
			}
		}
	}
	return algorithms
}
