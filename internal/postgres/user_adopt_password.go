package postgres

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// verifierRefusals returns why what the server keeps of a user's password is not what
// CreateUser would have made it keep. If the login may not see that (nil), it says nothing.
func verifierRefusals(verifier *string, user string, password *Password) []string {
	switch {
	case verifier == nil:
		return nil
	case password == nil && *verifier == "":
		return nil
	case password == nil:
		return []string{"it has a password, and none is configured"}
	case *verifier == "":
		return []string{"it has no password, and one is configured"}
	case encryptionOf(*verifier) != password.Encryption:
		return []string{fmt.Sprintf("its password is kept as %s, not as %s", encryptionOf(*verifier), password.Encryption)}
	case !password.isKeptAs(*verifier, user):
		return []string{"its password is not the configured one"}
	}
	return nil
}

const scramPrefix = "SCRAM-SHA-256$"

// encryptionOf returns which encryption of a Password a verifier is of.
func encryptionOf(verifier string) string {
	if strings.HasPrefix(verifier, scramPrefix) {
		return SCRAM
	}
	return MD5
}

// scramMost is how many iterations of a verifier are computed: whoever set the
// password chose them, and could make us compute for days.
const scramMost = 1_000_000

// isKeptAs reports whether a verifier, of the same encryption, is of this password.
func (p *Password) isKeptAs(verifier, user string) bool {
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

// loginRefusals returns why a user may have another password than the configured one,
// which is found out by logging in with it, where the login of this server entry may not
// see what the server keeps. It counts only if the server really asks for the password.
func (s *Server) loginRefusals(ctx context.Context, user string, password *Password) ([]string, error) {
	switch {
	case password == nil:
		return []string{"it may have a password, which the login of this server entry cannot see, and none is configured"}, nil
	case password.Encryption != SCRAM:
		return []string{"whether it has the configured password is not tried with password_encryption = \"" + password.Encryption + "\", and the login of this server entry cannot see it"}, nil
	}
	err := s.TryLogin(ctx, user, password.Text)
	var other *LoginError
	switch {
	case err == nil:
		return nil, nil
	case Code(err) == InvalidPassword, Code(err) == InvalidAuthorizationSpecification:
		return []string{"the configured password does not log in: " + err.Error()}, nil
	case errors.As(err, &other):
		return []string{"whether it has the configured password is not known: for logins from here, pg_hba.conf of the server does not ask for it by " + SCRAM}, nil
	}
	return nil, err
}
