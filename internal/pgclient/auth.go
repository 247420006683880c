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

// Ways to log in, as libpq's require_auth calls them.
const (
	authNone  = "none" // the server asks for nothing, or for a certificate
	authSCRAM = "scram-sha-256"
	authMD5   = "md5"
	authPlain = "password" // in clear text
)

// leastIterations is what SCRAM-SHA-256 is to have at least (RFC 7677), and what
// PostgreSQL has by default. With one, what the client answers is no better than MD5.
const leastIterations = 4096

// acceptedAuth returns the ways to log in that a server may ask for. Whoever
// answers in a server's place can try passwords against the answer to SCRAM, which
// leastIterations makes slow; finds out a weak one from MD5; and reads it in clear
// text. So these two need a server that has proved who it is, or cannot be another
// one. With SCRAM, a server proves that it knows the password. One that asks for
// nothing proves nothing, and would be told what follows all the same.
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
	if c.Password == "" && len(c.PasswordCommand) == 0 { // so that trust in the network is the operator's choice
		accepted = append(accepted, authNone)
	}
	return accepted
}

// provesServer reports whether it takes the server's own key, or its own machine
// and account, to answer. A port of the loopback interface does not: while the
// server is down, anyone on the machine may listen there. Who may create a socket
// on an SSH host is not known.
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

// A LoginError says that a server asked for a login that would have told it, or
// whoever answers in its place, the password; or for none, although there is one.
// Nothing was answered.
type LoginError struct {
	Server     string // the entry in the provider block
	Username   string
	Asked      string // none, password, md5 or, with too few iterations, scram-sha-256
	Iterations int    // of SCRAM
}

func (e *LoginError) Error() string {
	verify := fmt.Sprintf("set sslmode = \"verify-full\" in servers.%s, and sslrootcert if its certificate is from an authority of its own", e.Server)
	scram := fmt.Sprintf("have the server keep a SCRAM-SHA-256 password: set password_encryption = 'scram-sha-256' there, and then the password of %q again", e.Username)
	allow := fmt.Sprintf("or, if nobody else can answer in the server's place, set allow_md5 = true in servers.%s", e.Server)
	const socket = "connect through a Unix socket in a directory that others can neither write to nor have made, as in /tmp"
	switch e.Asked {
	case authNone:
		return "the server asks for no password, although there is one, and was not asked anything: nothing proves that it is the right server. " +
			fmt.Sprintf("Either let its pg_hba.conf ask %q for scram-sha-256; or, if it is to trust its clients, leave password and password_command out of servers.%s; or ", e.Username, e.Server) +
			verify + "; or " + socket
	case authPlain:
		return "the server asks for the password in clear text, and did not get it: nothing proves that it is the right server. " +
			"A password is sent so only through TLS that verifies the server, or through a Unix socket. Either " + verify + "; or " + socket + "; or " + scram +
			", and ask for it by scram-sha-256 in pg_hba.conf"
	case authMD5:
		return "the server asks for a login by MD5, and did not get it: from the answer, a password can be found out by trying, and nothing proves that it is the right server. " +
			"Either " + scram + "; or " + verify + "; or " + socket + ", or through an SSH host that is the server itself; " + allow
	case authSCRAM:
		return fmt.Sprintf("the server asks for a login by SCRAM-SHA-256 with %d iterations, and did not get it: with fewer than %d, a password can be found out by trying, "+
			"and nothing proves that it is the right server. Either set scram_iterations of the server to %[2]d or more, and then the password of %[3]q again; or %[4]s; %[5]s",
			e.Iterations, leastIterations, e.Username, verify, allow)
	}
	return fmt.Sprintf("the server asks for a login by %s, which this provider does not know: let pg_hba.conf ask %q for scram-sha-256", e.Asked, e.Username)
}

// How pgconn says that a server asked for what acceptedAuth does not name, up to the
// name, or for nothing.
const (
	refusedAuth = "failed: server requested "
	askedNone   = "failed: server did not complete authentication"
)

// loginError returns what a server asked for and did not get, if err is about that,
// or nil.
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
	if !found || isServers(err) { // which may say so, too
		return nil
	}
	return &LoginError{Server: server, Username: c.Username, Asked: asked}
}

type fewIterationsError struct{ iterations int }

func (e *fewIterationsError) Error() string {
	return fmt.Sprintf("SCRAM with %d iterations", e.iterations)
}

// checkIterations refuses the first message of a SCRAM server (RFC 5802) that asks
// for too few iterations. Whether it is one at all is pgconn's business.
func checkIterations(first []byte) error {
	_, text, _ := bytes.Cut(first, []byte(",i="))
	if n, err := strconv.Atoi(string(text)); err == nil && n > 0 && n < leastIterations {
		return &fewIterationsError{n}
	}
	return nil
}

// SASLprep prepares a password exactly as PostgreSQL's server and libpq do,
// because both ends of a login must arrive at the same bytes. That is the
// SASLprep of RFC 4013 with four habits of PostgreSQL's: it is skipped for
// ASCII; U+200B becomes a space instead of nothing; characters are checked
// before they are normalised, not after; and a password that is refused, or
// comes out empty, is used as it is. The library lacks U+1806 in table B.1.
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
