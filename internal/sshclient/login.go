package sshclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// PublicKey returns the public half of a private key, as authorized_keys holds
// it, without a comment. The key is text; the passphrase "" stands for none.
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
		text += "\n" // what trims a key should not break it
	}
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return signer, nil
	case errors.As(err, &encrypted) && passphrase == "":
		return nil, errors.New("the key is encrypted, and no passphrase was given")
	case errors.As(err, &encrypted):
		if signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(text), []byte(passphrase)); err != nil {
			return nil, errors.New("the passphrase does not decrypt the key")
		}
		return signer, nil
	}
	if _, _, _, _, public := ssh.ParseAuthorizedKey([]byte(text)); public == nil {
		return nil, errors.New("it is a public key; the private one begins with -----BEGIN")
	}
	if strings.Contains(text, "-----BEGIN") {
		return nil, errors.New("the text begins like a private key, but is none, or not the whole of one")
	}
	return nil, errors.New("it is not a private key in OpenSSH's or PEM form, which begins with -----BEGIN")
}

// A login is what one connect authenticates with.
type login struct {
	methods []ssh.AuthMethod
	used    ssh.PublicKey // that was signed with last: the one that the host accepted
	close   func()
}

// newLogin reads what the Config names, anew for each connect: an agent may
// have been restarted, a file replaced.
func (h *Host) newLogin() (*login, error) {
	l := &login{close: func() {}}
	certificate, err := h.config.certificate()
	if err != nil {
		return nil, err
	}
	if h.config.PrivateKey != "" {
		text, err := textOrFile(h.config.PrivateKey, "private_key", "PRIVATE KEY")
		if err != nil {
			return nil, err
		}
		signer, err := parsePrivateKey(text, h.config.PrivateKeyPassphrase)
		if err != nil {
			return nil, fmt.Errorf("read private_key: %w", err)
		}
		signers, err := l.certified([]ssh.Signer{signer}, certificate)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		l.methods = append(l.methods, ssh.PublicKeys(signers...))
	}
	if h.config.Agent {
		if err := l.askAgent(certificate, h.config.PrivateKey != ""); err != nil {
			return nil, err
		}
	}
	if password := h.config.Password; password != "" {
		l.methods = append(l.methods, ssh.Password(password), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, echos []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range questions {
					if !echos[i] { // what is shown while it is typed is not the password
						answers[i] = password
					}
				}
				return answers, nil
			}))
	}
	if len(l.methods) == 0 {
		return nil, errors.New("no private_key, agent or password is set")
	}
	return l, nil
}

// askAgent adds the keys of the agent. Its connection is kept until close.
func (l *login) askAgent(certificate *ssh.Certificate, hasKey bool) error {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return errors.New("agent = true, but SSH_AUTH_SOCK is not set: start ssh-agent, and add a key to it with ssh-add")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("reach the SSH agent of SSH_AUTH_SOCK: %w", err)
	}
	l.close = func() { _ = conn.Close() }
	l.methods = append(l.methods, ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		signers, err := agent.NewClient(conn).Signers()
		if err != nil {
			return nil, fmt.Errorf("ask the SSH agent for its keys: %w", err)
		}
		if hasKey { // which the certificate is for
			return l.certified(signers, nil)
		}
		return l.certified(signers, certificate)
	}))
	return nil
}

// certified returns signers that note which of them is used; with a certificate,
// only the one that it is for.
func (l *login) certified(signers []ssh.Signer, certificate *ssh.Certificate) (result []ssh.Signer, err error) {
	for _, signer := range signers {
		algorithms, ok := signer.(ssh.AlgorithmSigner)
		if !ok {
			return nil, fmt.Errorf("a key of type %s can not sign", signer.PublicKey().Type())
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
		return nil, fmt.Errorf("it is for the key %s, which is not there", ssh.FingerprintSHA256(certificate.Key))
	}
	return result, nil
}

// A notingSigner notes that it was used. Hosts are asked for a signature only
// by a key that they have said to accept.
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

// certificate returns nil if none is set.
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
		return nil, errors.New("read certificate: it is a public key; its certificate is in the file that ends with -cert.pub")
	}
	return certificate, nil
}

// textOrFile returns a value that holds mark, or the text of the file that it names.
func textOrFile(value, attribute, mark string) (string, error) {
	if strings.Contains(value, mark) || strings.ContainsAny(value, "\r\n") {
		return value, nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) && len(value) > 100 { // rather a secret than a path
			err = path.Err
		}
		return "", fmt.Errorf("read %s, which is neither such text nor the path of a file: %w", attribute, err)
	}
	return string(text), nil
}
