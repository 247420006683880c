package sshclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// PublicKey returns the public half of a private key, as authorized_keys holds it, without a
// comment. The key is text; an empty passphrase means none.
func PublicKey(privateKey, passphrase string) (string, error) {
	signer, err := parsePrivateKey(privateKey, passphrase)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

// parsePrivateKey returns errors that never quote the text.
func parsePrivateKey(text, passphrase string) (ssh.Signer, error) {
	if !strings.HasSuffix(text, "\n") {
		text += "\n" // a key that has lost its line end must still parse
	}
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return signer, nil
	case errors.As(err, &encrypted) && passphrase == "":
		return nil, errors.New("the key is encrypted, and no passphrase is set")
	case errors.As(err, &encrypted):
		if signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(text), []byte(passphrase)); err != nil {
			return nil, errors.New("the passphrase does not decrypt the key")
		}
		return signer, nil
	}
	if _, _, _, _, public := ssh.ParseAuthorizedKey([]byte(text)); public == nil {
		return nil, errors.New("it is a public key: use the private key, which begins with -----BEGIN")
	}
	if strings.Contains(text, "-----BEGIN ENCRYPTED PRIVATE KEY") {
		return nil, errors.New("it is encrypted in PKCS #8 format, which is not supported: convert it to OpenSSH's format with \"ssh-keygen -p -f <file>\"")
	}
	if strings.Contains(text, "-----BEGIN") {
		return nil, errors.New("the text begins like a private key, but is incomplete or damaged")
	}
	return nil, errors.New("it is not a private key in OpenSSH's or PEM format, which begins with -----BEGIN")
}

// A login is what one connect uses to authenticate.
type login struct {
	methods []ssh.AuthMethod
	offered []string      // the same in words
	used    ssh.PublicKey // the key that signed last, which is the one that the host accepted
	accepts []string      // the methods that the host named

	keyboard ssh.AuthMethod // gives the password to hosts that ask for it instead of accepting it directly; nil without a password
	close    func()
}

// next chooses the next method where it is not simply the next of methods: a refused password is
// not offered again in another way, because hosts count failures.
func (l *login) next(state *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	const method = "keyboard-interactive"
	l.accepts = state.AllowedMethods
	if l.keyboard != nil && slices.Contains(l.accepts, method) && !slices.Contains(l.accepts, "password") {
		keyboard := l.keyboard
		l.keyboard = nil
		return keyboard, nil
	}
	return nil, nil //nolint:nilnil // it is the next of methods
}

func (h *Host) refused(l *login, err error) error {
	return &loginError{offered: l.offered, accepts: h.quote(strings.Join(l.accepts, ", ")), err: err}
}

// newLogin reads what the Config names, again for each connect: the agent may have restarted, and a
// file may have been replaced.
func (h *Host) newLogin(ctx context.Context) (*login, error) {
	l := &login{close: func() {}}
	signers, err := l.signers(ctx, h.config)
	if err != nil {
		l.close()
		return nil, err
	}
	if len(signers) > 0 { // all keys in one, because only one of each method is tried
		l.methods = append(l.methods, ssh.PublicKeys(signers...))
	}
	if password := h.config.Password; password != "" {
		l.methods = append(l.methods, ssh.Password(password))
		l.keyboard = ssh.KeyboardInteractive(answerOnce(password))
		l.offered = append(l.offered, "password")
	}
	if len(l.methods) == 0 {
		return nil, errors.New("no private_key, agent or password is set")
	}
	return l, nil
}

// maxRounds is how often a host may ask, empty rounds included.
const maxRounds = 10

// answerOnce answers a single question for a password. It answers no other question, such as one
// for a one-time code: the password is not meant for it.
func answerOnce(password string) ssh.KeyboardInteractiveChallenge {
	answered, rounds := false, 0
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		rounds++
		switch {
		case rounds > maxRounds:
			return nil, fmt.Errorf("the host asked %d times without accepting the login", maxRounds)
		case len(questions) == 0:
			return nil, nil
		case len(questions) > 1 || len(echos) != 1:
			return nil, fmt.Errorf("the host asks %d questions at once, which no program can answer. The first is %q", len(questions), questions[0])
		case answered || echos[0]:
			return nil, fmt.Errorf("the host asks %q, which no program can answer", questions[0])
		}
		answered = true
		return []string{password}, nil
	}
}

// signers returns the keys to log in with, private_key's first.
func (l *login) signers(ctx context.Context, c Config) (signers []ssh.Signer, err error) {
	certificate, err := c.certificate()
	if err != nil {
		return nil, err
	}
	if c.PrivateKey != "" {
		text, err := textOrFile(c.PrivateKey, "private_key", "PRIVATE KEY")
		if err != nil {
			return nil, err
		}
		signer, err := parsePrivateKey(text, c.PrivateKeyPassphrase)
		if err != nil {
			return nil, fmt.Errorf("read private_key: %w", err)
		}
		if signers, err = l.certified([]ssh.Signer{signer}, certificate); err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		l.offered = append(l.offered, "private_key "+ssh.FingerprintSHA256(signer.PublicKey()))
		certificate = nil // it belonged to this key
	}
	if c.Agent {
		more, err := l.askAgent(ctx, certificate)
		if err != nil {
			return nil, err
		}
		signers = append(signers, more...)
	}
	return signers, nil
}

// askAgent returns the keys of the agent. Its connection is kept until close.
func (l *login) askAgent(ctx context.Context, certificate *ssh.Certificate) ([]ssh.Signer, error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, errors.New("agent = true, but SSH_AUTH_SOCK is not set: start ssh-agent, and add a key to it with ssh-add")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the SSH agent of SSH_AUTH_SOCK: %w", err)
	}
	release := context.AfterFunc(ctx, func() { _ = conn.Close() }) // an agent may ask its user
	l.close = func() {
		release()
		_ = conn.Close()
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		return nil, fmt.Errorf("ask the SSH agent of SSH_AUTH_SOCK for its keys: %w", err)
	}
	if len(signers) == 0 {
		return nil, errors.New("the SSH agent of SSH_AUTH_SOCK holds no key: add one with ssh-add")
	}
	l.offered = append(l.offered, fmt.Sprintf("agent with %d keys", len(signers)))
	signers, err = l.certified(signers, certificate)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return signers, nil
}

// certified returns signers that note which of them is used. With a certificate, it returns only
// the signer that the certificate is for.
func (l *login) certified(signers []ssh.Signer, certificate *ssh.Certificate) (result []ssh.Signer, err error) {
	for _, signer := range signers {
		algorithms, ok := signer.(ssh.AlgorithmSigner)
		if !ok {
			return nil, fmt.Errorf("a key of type %s cannot sign", signer.PublicKey().Type())
		}
		noting := &notingSigner{AlgorithmSigner: algorithms, login: l}
		if certificate == nil {
			result = append(result, noting)
			continue
		}
		if !bytes.Equal(certificate.Key.Marshal(), signer.PublicKey().Marshal()) {
			continue
		}
		s, err := ssh.NewCertSigner(certificate, noting)
		if err != nil {
			return nil, err
		}
		result = append(result, s)
	}
	if certificate != nil && len(result) == 0 {
		return nil, fmt.Errorf("it is for the key %s, which was not found", ssh.FingerprintSHA256(certificate.Key))
	}
	return result, nil
}

// A notingSigner notes that it was used. A key signs only after the host has said that it accepts
// the key.
type notingSigner struct {
	ssh.AlgorithmSigner
	login *login
}

func (s *notingSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	s.login.used = s.PublicKey()
	return s.AlgorithmSigner.Sign(rand, data)
}

func (s *notingSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.login.used = s.PublicKey()
	return s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}

// certificate returns nil if no certificate is set.
func (c Config) certificate() (*ssh.Certificate, error) {
	if c.Certificate == "" {
		return nil, nil
	}
	text, err := textOrFile(c.Certificate, "certificate", "-cert-v01@openssh.com ")
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, errors.New("read certificate: it is not a line such as ssh-ed25519-cert-v01@openssh.com AAAA")
	}
	certificate, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("read certificate: it is a public key: use its certificate, which is in the file whose name ends with -cert.pub")
	}
	return certificate, nil
}

// textOrFile returns a value that holds mark, or the text of the file that the value names. Its
// errors quote only absolute paths: a key without its header looks like a relative one.
func textOrFile(value, attribute, mark string) (string, error) {
	if strings.Contains(value, mark) || strings.ContainsAny(value, "\r\n") {
		return value, nil
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(value)); err == nil { // text, but not the expected one
		return value, nil
	}
	text, err := ReadFile(value)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) && !filepath.IsAbs(value) {
			err = path.Err
		}
		hint := ""
		if strings.HasPrefix(value, "~") {
			hint = ". Terraform does not expand ~: use its function pathexpand"
		}
		return "", fmt.Errorf("read %s, which is neither text of the expected form nor the path of a readable file: %w%s", attribute, err, hint)
	}
	return string(text), nil
}
