package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// The values of Password.Encryption, as in PostgreSQL's password_encryption.
const (
	SCRAM = "scram-sha-256"
	MD5   = "md5"
)

// A Password is the password that a user logs in with.
type Password struct {
	Text       string
	Encryption string // SCRAM or MD5: the kind of verifier that the server stores
}

// verifier returns what the server must store for a password of a user: "" if there is no
// password.
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
	return fmt.Errorf("the server is PostgreSQL %d, which does not support SCRAM-SHA-256 passwords: upgrade it to 10 or newer, or set the weaker password_encryption = \"md5\"", major)
}

// A PasswordSeal recognises what the server stores for a password without revealing it: a hash
// of the verifier under a random key.
type PasswordSeal struct {
	Key  []byte `json:"key"`
	Hash []byte `json:"hash"`
}

// sealPassword returns nil if there is nothing to seal. It does not seal an MD5 verifier: unlike
// a SCRAM verifier, it holds nothing random, so an attacker who has the seal could find a weak
// password by trying.
func sealPassword(verifier string) *PasswordSeal {
	if !strings.HasPrefix(verifier, scramPrefix) {
		return nil
	}
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails, it says
	return &PasswordSeal{Key: key, Hash: hmacSHA256(key, verifier)}
}

// StoresAnother reports whether the server certainly stores another password than this one.
func (u User) StoresAnother(password *Password) bool {
	return password != nil && u.verifier != nil && encryptionOf(*u.verifier) == password.Encryption && !password.isStoredAs(*u.verifier, u.Name)
}

// IsPasswordRefused reports whether a login failed because the server stores another password
// for it, or no valid one.
func IsPasswordRefused(err error) bool { return pgclient.Code(err) == pgclient.InvalidPassword }

// PasswordChanged reports whether the server certainly stores another password than the sealed
// one. If the login may not see what the server stores, the answer is false.
func (u User) PasswordChanged(seal *PasswordSeal) bool {
	return seal != nil && u.verifier != nil && !hmac.Equal(seal.Hash, hmacSHA256(seal.Key, *u.verifier))
}

// verifierRefusals returns why what the server stores for a user's password is not what
// CreateUser would have made it store. It returns nothing if the login may not see that (nil).
func verifierRefusals(verifier *string, user string, password *Password) []string {
	switch {
	case verifier == nil:
		return nil
	case password == nil && *verifier == "":
		return nil
	case password == nil:
		return []string{"it has a password, but none is configured"}
	case *verifier == "":
		return []string{"it has no password, but one is configured"}
	case encryptionOf(*verifier) != password.Encryption:
		return []string{fmt.Sprintf("its password is stored as %s, not as %s", encryptionOf(*verifier), password.Encryption)}
	case !password.isStoredAs(*verifier, user):
		return []string{"its password is not the configured one"}
	}
	return nil
}

const scramPrefix = "SCRAM-SHA-256$"

// encryptionOf returns the Password.Encryption of a verifier.
func encryptionOf(verifier string) string {
	if strings.HasPrefix(verifier, scramPrefix) {
		return SCRAM
	}
	return MD5
}

// scramMost is the largest iteration count for which a verifier is computed: the role that set
// the password chose the count, and could make us compute for days.
const scramMost = 1_000_000

// isStoredAs reports whether a verifier, of the same encryption, is of this password.
func (p *Password) isStoredAs(verifier, user string) bool {
	if p.Encryption == MD5 {
		return hmac.Equal([]byte(md5Verifier(p.Text, user)), []byte(verifier))
	}
	parameters, _, _ := strings.Cut(strings.TrimPrefix(verifier, scramPrefix), "$")
	count, text, _ := strings.Cut(parameters, ":")
	iterations, err := strconv.Atoi(count)
	if err != nil || iterations < 1 || iterations > scramMost {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	ours, err := scramVerifierWith(p.Text, salt, iterations)
	return err == nil && hmac.Equal([]byte(ours), []byte(verifier))
}

// loginRefusals returns why a user may have another password than the configured one if the
// login of this server entry may not see what the server stores. It checks by logging in with
// the configured password. Such a login counts only if the server really asks for the password.
func loginRefusals(ctx context.Context, s *pgclient.Server, user string, password *Password) ([]string, error) {
	switch {
	case password == nil:
		return []string{"no password is configured, but it may have one: the login of this server entry cannot see whether it does"}, nil
	case password.Encryption != SCRAM:
		return []string{"the login of this server entry cannot see whether it has the configured password, and the provider does not try to log in with password_encryption = \"" + password.Encryption + "\""}, nil
	}
	err := s.TryLogin(ctx, user, password.Text)
	var other *pgclient.LoginError
	switch {
	case err == nil:
		return nil, nil
	case pgclient.Code(err) == pgclient.InvalidPassword, pgclient.Code(err) == pgclient.InvalidAuthorizationSpecification:
		return []string{"a login with the configured password failed: " + err.Error()}, nil
	case errors.As(err, &other):
		return []string{"the configured password could not be checked: for logins from this machine, pg_hba.conf of the server does not ask for " + SCRAM}, nil
	}
	return nil, err
}
