package postgres

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// The values of Password.Encryption, as PostgreSQL's password_encryption has them.
const (
	SCRAM = "scram-sha-256"
	MD5   = "md5"
)

// A Password is what a user is to log in with.
type Password struct {
	Text       string
	Encryption string // SCRAM or MD5: what the server is to keep of it
}

// verifier returns what the server is to keep of a password of a user: "" if
// there is none.
func (p *Password) verifier(user string, major int) (string, error) {
	switch {
	case p == nil:
		return "", nil
	case p.Encryption == MD5:
		return md5Verifier(p.Text, user), nil
	}
	if err := requireSCRAM(major); err != nil {
		return "", err
	}
	return scramVerifier(p.Text)
}

func md5Verifier(password, user string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

// requireSCRAM refuses servers that would take a verifier for a password.
func requireSCRAM(major int) error {
	if major >= 10 {
		return nil
	}
	return fmt.Errorf("the server is PostgreSQL %d, which knows no SCRAM-SHA-256 passwords: 10 or newer is needed, or the weaker password_encryption = \"md5\"", major)
}

// A PasswordSeal recognises what the server keeps of a password without telling
// what that is: a hash of the verifier under a random key.
type PasswordSeal struct {
	Key  []byte `json:"key"`
	Hash []byte `json:"hash"`
}

// sealPassword returns nil where there is nothing to seal. An MD5 verifier is
// not sealed: unlike that of SCRAM it holds nothing random, so that a seal is
// enough to find a weak password by trying.
func sealPassword(verifier string) *PasswordSeal {
	if !strings.HasPrefix(verifier, scramPrefix) {
		return nil
	}
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails, it says
	return &PasswordSeal{Key: key, Hash: hmacSHA256(key, verifier)}
}

// KeepsAnother reports whether the server certainly keeps another password than this one.
func (u User) KeepsAnother(password *Password) bool {
	return password != nil && u.verifier != nil && encryptionOf(*u.verifier) == password.Encryption && !password.isKeptAs(*u.verifier, u.Name)
}

// IsPasswordRefused reports whether a login failed since the server has another password
// for it, or none that is valid.
func IsPasswordRefused(err error) bool { return Code(err) == InvalidPassword }

// PasswordChanged reports whether the server certainly keeps another password
// than the sealed one. Where the login may not look, nobody knows.
func (u User) PasswordChanged(seal *PasswordSeal) bool {
	return seal != nil && u.verifier != nil && !hmac.Equal(seal.Hash, hmacSHA256(seal.Key, *u.verifier))
}
