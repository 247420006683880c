package pgclient

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/unicode/norm"
)

// Login methods, as libpq's require_auth calls them.
const (
	authNone  = "none" // the server asks for nothing, or for a certificate
	authSCRAM = "scram-sha-256"
	authMD5   = "md5"
	authPlain = "password" // in clear text
)

// leastIterations is the minimum iteration count of SCRAM-SHA-256 (RFC 7677), and PostgreSQL's
// default. With one iteration, the client's answer is no better protected than with MD5.
const leastIterations = 4096

// acceptedAuth returns the login methods that a server may ask for. An impostor that answers in
// place of the server can test guesses of the password against the answer to SCRAM, which
// leastIterations makes slow; can derive a weak password from the answer to MD5; and can read a
// password in clear text. MD5 and clear text therefore require a server that has proved its
// identity, or whose place no impostor can take. With SCRAM, the server proves that it knows the
// password. A server that asks for nothing proves nothing, and would still receive the
// statements that follow.
func (c Config) acceptedAuth() []string {
	accepted := []string{authSCRAM}
	if c.onlySCRAM {
		return accepted
	}
	if c.provesServer() {
		return append(accepted, authMD5, authPlain, authNone)
	}
	if c.AllowMD5 || c.SSHHost != nil && isLoopback(c.Host) {
		accepted = append(accepted, authMD5)
	}
	if c.Password == "" && len(c.PasswordCommand) == 0 { // so that the operator decides whether to trust the network
		accepted = append(accepted, authNone)
	}
	return accepted
}

// provesServer reports whether only the holder of the server's own key, or a process on its own
// machine and account, can answer. A port of the loopback interface proves nothing: while the
// server is down, any user of the machine may listen there. Nor does a socket on an SSH host:
// who can create one there is unknown.
func (c Config) provesServer() bool {
	switch {
	case isSocket(c.Host):
		return c.SSHHost == nil && isPrivate(c.Host)
	case c.SSLMode == "verify-full":
		return true
	case c.SSLMode == "verify-ca", c.SSLMode == "require":
		return c.SSLRootCert != ""
	}
	return false
}

// A LoginError says that a server asked for a login that would have revealed the password to it,
// or to an impostor in its place; or that it asked for no login although the entry has a
// password. The client sent no answer.
type LoginError struct {
	Server     string // the entry in the provider block
	Username   string
	Asked      string // none, password, md5 or, with too few iterations, scram-sha-256
	Iterations int    // of SCRAM
}

func (e *LoginError) Error() string {
	verify := fmt.Sprintf("set sslmode = \"verify-full\" in servers.%s, and sslrootcert if a private authority signed the server's certificate", e.Server)
	scram := fmt.Sprintf("make the server store a SCRAM-SHA-256 password: set password_encryption = 'scram-sha-256' on the server, and then set the password of %q again", e.Username)
	allow := fmt.Sprintf("or, if nothing else can answer in the server's place, set allow_md5 = true in servers.%s", e.Server)
	const socket = "connect through a Unix socket in a directory that no other user can write to or could have created (not in /tmp)"
	switch e.Asked {
	case authNone:
		return "the server did not ask for the configured password. No statement was sent to it: nothing proves that it is the right server. " +
			fmt.Sprintf("Either make the server's pg_hba.conf ask %q for scram-sha-256; or, if the server should trust its clients, leave password and password_command out of servers.%s; or ", e.Username, e.Server) +
			verify + "; or " + socket
	case authPlain:
		return "the server asked for the password in clear text. The password was not sent: nothing proves that it is the right server. " +
			"The provider sends a password in clear text only through TLS that verifies the server, or through a Unix socket. Either " + verify + "; or " + socket + "; or " + scram +
			", and make pg_hba.conf ask for scram-sha-256"
	case authMD5:
		return "the server asked for an MD5 login. No answer was sent: an impostor could guess the password from the answer, and nothing proves that it is the right server. " +
			"Either " + scram + "; or " + verify + "; or " + socket + ", or through an SSH host that is the server's own machine; " + allow
	case authSCRAM:
		return fmt.Sprintf("the server asked for a SCRAM-SHA-256 login with %d iterations. No answer was sent: with fewer than %d, an impostor could guess the password from the answer, "+
			"and nothing proves that it is the right server. Either set scram_iterations of the server to %[2]d or more, and then set the password of %[3]q again; or %[4]s; %[5]s",
			e.Iterations, leastIterations, e.Username, verify, allow)
	}
	return fmt.Sprintf("the server asked for the login method %s, which this provider does not support: make pg_hba.conf ask %q for scram-sha-256", e.Asked, e.Username)
}

// The beginning of pgconn's error for a server that asked for a method that acceptedAuth does
// not list, up to the method's name, and its error for a server that asked for nothing.
const (
	refusedAuth = "failed: server requested "
	askedNone   = "failed: server did not complete authentication"
)

// loginError returns what a server asked for in vain if err is about that, or nil.
func (c Config) loginError(server string, err error) error {
	var few *fewIterationsError
	if errors.As(err, &few) {
		return &LoginError{Server: server, Username: c.Username, Asked: authSCRAM, Iterations: few.iterations}
	}
	_, after, found := strings.Cut(err.Error(), refusedAuth)
	asked, _, _ := strings.Cut(after, " ")
	if strings.Contains(err.Error(), askedNone) {
		asked, found = authNone, true
	}
	if !found || isServerError(err) { // the server's own text may contain the phrase, too
		return nil
	}
	return &LoginError{Server: server, Username: c.Username, Asked: asked}
}

type fewIterationsError struct{ iterations int }

func (e *fewIterationsError) Error() string {
	return fmt.Sprintf("SCRAM with %d iterations", e.iterations)
}

// checkIterations refuses the first message of a SCRAM server (RFC 5802) if it asks for too few
// iterations. pgconn checks whether the message is valid at all.
func checkIterations(first []byte) error {
	_, text, _ := bytes.Cut(first, []byte(",i="))
	if n, err := strconv.Atoi(string(text)); err == nil && n > 0 && n < leastIterations {
		return &fewIterationsError{n}
	}
	return nil
}

// SASLprep prepares a password exactly as PostgreSQL's server and libpq do, because both ends of
// a login must arrive at the same bytes. That is the SASLprep of RFC 4013 with four
// peculiarities of PostgreSQL's: ASCII passwords are left unchanged; U+200B becomes a space
// instead of nothing; characters are checked before they are normalised, not after; and a
// password that is refused, or becomes empty, is used unchanged. The library lacks U+1806 in
// table B.1.
func SASLprep(password string) string {
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
