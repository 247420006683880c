package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/unicode/norm"
)

// PostgreSQL's own choices for the verifiers that it computes.
const (
	scramIterations = 4096
	scramSaltBytes  = 16
)

// scramVerifier returns what PostgreSQL keeps of a password: enough to check a
// login, not enough to log in. The server stores it as it is given, so that the
// password itself appears in no statement and no log.
func scramVerifier(password string) (string, error) {
	salt := make([]byte, scramSaltBytes)
	rand.Read(salt) //nolint:errcheck // never fails, it says
	return scramVerifierWith(password, salt, scramIterations)
}

func scramVerifierWith(password string, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, saslprep(password), salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("compute SCRAM verifier: %w", err)
	}
	storedKey := sha256.Sum256(hmacSHA256(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s",
		iterations, encode(salt), encode(storedKey[:]), encode(hmacSHA256(salted, "Server Key"))), nil
}

func hmacSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// saslprep prepares a password exactly as PostgreSQL's server and libpq do,
// because both ends of a login must arrive at the same bytes. That is the
// SASLprep of RFC 4013 with four habits of PostgreSQL's: it is skipped for
// ASCII; U+200B becomes a space instead of nothing; characters are checked
// before they are normalised, not after; and a password that is refused, or
// comes out empty, is used as it is. The library lacks U+1806 in table B.1.
func saslprep(password string) string {
	if isASCII(password) {
		return password
	}
	profile := stringprep.SASLprep
	toNothing, toSpace := profile.Mappings[0], profile.Mappings[1]
	profile.Mappings = []stringprep.Mapping{toSpace, toNothing, {'\u1806': nil}}
	profile.Normalize = false
	prepared, err := profile.Prepare(password)
	if err != nil || prepared == "" {
		return password
	}
	return norm.NFKC.String(prepared)
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}
