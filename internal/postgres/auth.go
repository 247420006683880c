package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
// answers in a server's place learns nothing from SCRAM, finds out a weak password
// from MD5, and reads it in clear text. So these two need a server that has proved
// who it is, or cannot be another one.
func (c Config) acceptedAuth() []string {
	switch {
	case c.onlySCRAM:
		return []string{authSCRAM}
	case c.provesServer():
		return []string{authNone, authSCRAM, authMD5, authPlain}
	case c.AllowMD5 || c.SSHHost != nil && isLoopback(c.Host):
		return []string{authNone, authSCRAM, authMD5}
	}
	return []string{authNone, authSCRAM}
}

// provesServer reports whether it takes the server's own key, or its own machine
// and account, to answer. A port of the loopback interface does not: while the
// server is down, anyone on the machine may listen there.
func (c Config) provesServer() bool {
	switch {
	case isSocket(c.Host):
		return true
	case c.SSLMode == "verify-full":
		return true
	case c.SSLMode == "verify-ca", c.SSLMode == "require":
		return c.SSLRootCert != ""
	}
	return false
}

// A LoginError says that a server asked for a login that would have told it, or
// whoever answers in its place, the password. Nothing was answered.
type LoginError struct {
	Server     string // the entry in the provider block
	Username   string
	Asked      string // password, md5 or, with too few iterations, scram-sha-256
	Iterations int    // of SCRAM
}

func (e *LoginError) Error() string {
	verify := fmt.Sprintf("set sslmode = \"verify-full\" in servers.%s, and sslrootcert if its certificate is from an authority of its own", e.Server)
	scram := fmt.Sprintf("have the server keep a SCRAM-SHA-256 password: set password_encryption = 'scram-sha-256' there, and then the password of %q again", e.Username)
	allow := fmt.Sprintf("or, if nobody else can answer in the server's place, set allow_md5 = true in servers.%s", e.Server)
	switch e.Asked {
	case authPlain:
		return "the server asks for the password in clear text, and did not get it: nothing proves that it is the right server. " +
			"A password is sent so only through TLS that verifies the server, or through a Unix socket. Either " + verify + "; or connect through a Unix socket; or " + scram +
			", and ask for it by scram-sha-256 in pg_hba.conf"
	case authMD5:
		return "the server asks for a login by MD5, and did not get it: from the answer, a password can be found out by trying, and nothing proves that it is the right server. " +
			"Either " + scram + "; or " + verify + "; or connect through a Unix socket, or an SSH host that is the server itself; " + allow
	case authSCRAM:
		return fmt.Sprintf("the server asks for a login by SCRAM-SHA-256 with %d iterations, and did not get it: with fewer than %d, a password can be found out by trying, "+
			"and nothing proves that it is the right server. Either set scram_iterations of the server to %[2]d or more, and then the password of %[3]q again; or %[4]s; %[5]s",
			e.Iterations, leastIterations, e.Username, verify, allow)
	}
	return fmt.Sprintf("the server asks for a login by %s, which this provider does not know: let pg_hba.conf ask %q for scram-sha-256", e.Asked, e.Username)
}

// refusedAuth is how pgconn says that a server asked for what acceptedAuth does
// not name, up to the name.
const refusedAuth = "failed: server requested "

// loginError returns what a server asked for and did not get, if err is about that,
// or nil.
func (c Config) loginError(server string, err error) error {
	var few *fewIterationsError
	if errors.As(err, &few) {
		return &LoginError{Server: server, Username: c.Username, Asked: authSCRAM, Iterations: few.iterations}
	}
	_, after, found := strings.Cut(err.Error(), refusedAuth)
	if !found || isServers(err) { // which may say so, too
		return nil
	}
	asked, _, _ := strings.Cut(after, " ")
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
