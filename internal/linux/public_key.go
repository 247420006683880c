package linux

import (
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// A PublicKey is one key, as in a line of a .pub file.
type PublicKey struct {
	Type    string // for example "ssh-ed25519"
	Blob    string // base64, identifies the key
	Comment string // may be empty
}

// keyTypes are the types of keys that sshd accepts in authorized_keys.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
}

// smallestRSA is the least that a current sshd (RequiredRSASize) accepts, with a margin.
const smallestRSA = 2048

// ParsePublicKey reads a line of a .pub file. It refuses options, more than one line, damaged keys,
// and weak ones: DSA, and RSA under 2048 bits. No error quotes the text, which may be a private key
// by mistake.
func ParsePublicKey(text string) (PublicKey, error) {
	line := strings.TrimSpace(text)
	switch {
	case line == "":
		return PublicKey{}, errors.New("the public key is empty")
	case strings.Contains(line, "-----BEGIN"):
		return PublicKey{}, errors.New("this is not a public key in OpenSSH's format. It may be a private key: ssh-keygen -y -f FILE prints its public half")
	case strings.ContainsAny(line, "\r\n"):
		return PublicKey{}, errors.New("the public key has more than one line: use one resource for each key")
	case strings.ContainsFunc(line, unprintable), !utf8.ValidString(line):
		return PublicKey{}, errors.New("the public key holds a control character, or bytes that are not UTF-8 text")
	}
	name, rest := cutBlank(line)
	blob, comment := cutBlank(rest)
	if err := checkKeyType(name, line); err != nil {
		return PublicKey{}, err
	}
	wire, err := base64.StdEncoding.Strict().DecodeString(blob)
	if err != nil {
		return PublicKey{}, fmt.Errorf("the %s key is damaged: the text after its type is not base64 (%w)", name, err)
	}
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return PublicKey{}, fmt.Errorf("the %s key is damaged: %w", name, err)
	}
	if key.Type() != name {
		return PublicKey{}, fmt.Errorf("the line names the key type %s, but holds a key of type %s", name, key.Type())
	}
	if err := checkStrength(key); err != nil {
		return PublicKey{}, err
	}
	return PublicKey{Type: name, Blob: blob, Comment: comment}, nil
}

// checkKeyType explains what stands in place of a type.
func checkKeyType(name, line string) error {
	switch {
	case slices.Contains(keyTypes, name):
		return nil
	case name == ssh.InsecureKeyAlgoDSA: //nolint:staticcheck // to refuse it
		return errors.New("DSA keys are too weak, and sshd no longer accepts them: create a key of type ssh-ed25519")
	case strings.HasSuffix(name, "-cert-v01@openssh.com"):
		return errors.New("this is a certificate, which does not belong in authorized_keys: use the key of the authority that signed it, with the option cert-authority")
	}
	if _, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && len(options) > 0 {
		return errors.New("the public key begins with options: put them into the attribute options")
	}
	return fmt.Errorf("the public key does not begin with one of the types that sshd knows: %s", strings.Join(keyTypes, ", "))
}

func checkStrength(key ssh.PublicKey) error {
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil // security keys, which have one strength
	}
	if rsaKey, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && rsaKey.N.BitLen() < smallestRSA {
		return fmt.Errorf("the RSA key is too weak: it has %d bits and needs %d. Better, create a key of type ssh-ed25519", rsaKey.N.BitLen(), smallestRSA)
	}
	return nil
}

// String returns the form that ParsePublicKey reads.
func (k PublicKey) String() string {
	if k.Comment == "" {
		return k.Type + " " + k.Blob
	}
	return k.Type + " " + k.Blob + " " + k.Comment
}

// Fingerprint returns what ssh-keygen -l shows, "SHA256:" and base64.
func (k PublicKey) Fingerprint() string {
	key, err := ssh.ParsePublicKey([]byte(k.wire()))
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}

// Same reports whether both are the same key, whatever their comments.
func (k PublicKey) Same(other PublicKey) bool { return k.wire() == other.wire() }

// wire returns the key as SSH sends it, or "" if the key is damaged.
func (k PublicKey) wire() string {
	wire, err := base64.StdEncoding.DecodeString(k.Blob)
	if err != nil {
		return ""
	}
	return string(wire)
}

// blanks are the characters that separate the parts of a line for sshd.
const blanks = " \t"

// cutBlank splits text at its first blanks.
func cutBlank(text string) (first, rest string) {
	i := strings.IndexAny(text, blanks)
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimLeft(text[i:], blanks)
}
