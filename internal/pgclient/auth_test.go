package pgclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

func TestAcceptedAuth(t *testing.T) {
	t.Parallel()
	const (
		scram    = "scram-sha-256"
		hash     = scram + " md5"
		whatever = hash + " password none"
	)
	ssh, private, shared := &sshclient.Host{}, t.TempDir(), t.TempDir()
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil { //nolint:gosec // as /tmp
		t.Fatal(err)
	}
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{Host: "db"}, whatever}, // verify-full is the default
		{Config{Host: "db", SSLMode: "verify-full", SSHHost: ssh}, whatever},
		{Config{Host: "db", SSLMode: "verify-ca", SSLRootCert: "ca.pem"}, whatever},
		{Config{Host: "db", SSLMode: "verify-ca"}, scram}, // the system's authorities vouch for anyone's server
		{Config{Host: "db", SSLMode: "require", SSLRootCert: "ca.pem"}, whatever},
		{Config{Host: "db", SSLMode: "require"}, scram},
		{Config{Host: "db", SSLMode: "require", AllowMD5: true}, hash},
		{Config{Host: "db", SSLMode: "prefer", SSLRootCert: "ca.pem"}, scram},
		{Config{Host: "db", SSLMode: "disable", SSLRootCert: "ca.pem"}, scram},
		{Config{Host: "db", SSLMode: "disable", AllowMD5: true}, hash},
		{Config{Host: "db", SSLMode: "disable", SSHHost: ssh}, scram},
		{Config{Host: "localhost", SSLMode: "disable", SSHHost: ssh}, hash},
		{Config{Host: "::1", SSHHost: ssh}, hash},
		{Config{Host: "localhost"}, scram},
		{Config{Host: "127.0.0.1"}, scram},
		{Config{Host: "127.0.0.1", AllowMD5: true}, hash},
		{Config{Host: private}, whatever},
		{Config{Host: private, SSLMode: "disable"}, whatever},
		{Config{Host: private, SSHHost: ssh}, hash}, // who can create a socket there is unknown
		{Config{Host: shared}, scram},
		{Config{Host: shared, SSLMode: "verify-full"}, scram}, // there is no TLS
		{Config{Host: private + "/none"}, scram},
	} {
		tt.config.Password = "secret"
		wants := map[string]string{"password": tt.want, "command": tt.want, "nothing": tt.want}
		if !strings.Contains(tt.want, authNone) {
			wants["nothing"] += " " + authNone
		}
		for known, want := range wants {
			config := tt.config
			switch known {
			case "command":
				config.Password, config.PasswordCommand = "", []string{"print"}
			case "nothing":
				config.Password = ""
			}
			if got := strings.Join(config.withDefaults().acceptedAuth(), " "); got != want {
				t.Errorf("%s, sslmode %q, authority %t, SSH %t, allow_md5 %t, %s: %s, want %s", config.Host, config.SSLMode,
					config.SSLRootCert != "", config.SSHHost != nil, config.AllowMD5, known, got, want)
			}
		}
	}
}

// loginWays is a pg_hba.conf that asks each login of createLogins for the method that it is
// named after.
const loginWays = `
	local all by_trust trust
	local all all md5
	hostssl all by_certificate all cert
	host  all by_trust all trust
	host  all by_password,by_accent all password
	host  all all all md5`

// clientCertificate makes the server accept a user with a certificate, and returns such a
// certificate.
func clientCertificate(t *testing.T, s *sandbox.Server, user string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: user}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))
	file := filepath.Join(s.Dir, "clients.pem")
	if err := os.WriteFile(file, []byte(certificate), 0o644); err != nil { //nolint:gosec // the server is another user
		t.Fatal(err)
	}
	s.Exec(t, "postgres", "ALTER SYSTEM SET ssl_ca_file = '"+file+"'")
	s.Exec(t, "postgres", "SELECT pg_catalog.pg_reload_conf()")
	return certificate, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

func createLogins(t *testing.T, s *sandbox.Server) {
	t.Helper()
	s.Exec(t, "postgres", fmt.Sprintf(`SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD '%s'; CREATE ROLE by_password LOGIN PASSWORD '%[1]s';
		CREATE ROLE by_accent LOGIN PASSWORD '½'; CREATE ROLE by_trust LOGIN; CREATE ROLE by_certificate LOGIN`, s.Password))
}

// A real server gets the login that it asks for only if its identity may be known, on every
// attempt of a connection. Otherwise the error says what to do.
func TestLoginRefused(t *testing.T) {
	majors := sandbox.NeedMajors(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major, TLS: true, HBA: loginWays})
		createLogins(t, s)
		certificate, key := clientCertificate(t, s, "by_certificate")
		trust := "leave password and password_command out of servers.server"
		verify, scram, allow := `sslmode = "verify-full" in servers.server`, "password_encryption = 'scram-sha-256'", "allow_md5 = true in servers.server"
		for name, tt := range map[string]struct {
			user   string
			change func(*Config)
			asked  string   // "" if the login succeeds
			advice []string // what the error advises
			silent []string // what the error must not advise
		}{
			"MD5, plain":                 {"by_md5", func(c *Config) { c.SSLMode = "disable" }, authMD5, []string{verify, scram, allow, "Unix socket", "SSH host"}, nil},
			"MD5, by default":            {"by_md5", nil, authMD5, []string{verify, scram, allow}, nil},
			"MD5, TLS not verified":      {"by_md5", func(c *Config) { c.SSLMode = "require" }, authMD5, []string{verify, scram, allow}, nil},
			"MD5, allowed":               {"by_md5", func(c *Config) { c.SSLMode, c.AllowMD5 = "disable", true }, "", nil, nil},
			"MD5, verified":              {"by_md5", func(c *Config) { c.SSLMode, c.SSLRootCert = "verify-full", s.CA }, "", nil, nil},
			"MD5, authority verified":    {"by_md5", func(c *Config) { c.SSLMode, c.SSLRootCert = "verify-ca", s.CA }, "", nil, nil},
			"MD5, required and verified": {"by_md5", func(c *Config) { c.SSLMode, c.SSLRootCert = "require", s.CA }, "", nil, nil},
			"MD5, preferred":             {"by_md5", func(c *Config) { c.SSLMode, c.SSLRootCert = "prefer", s.CA }, authMD5, []string{verify}, nil},
			"MD5, socket":                {"by_md5", func(c *Config) { c.Host = s.Dir }, "", nil, nil},

			"clear text, plain":            {"by_password", func(c *Config) { c.SSLMode = "disable" }, authPlain, []string{verify, scram, "Unix socket"}, []string{"allow_md5"}},
			"clear text, by default":       {"by_password", nil, authPlain, []string{verify, scram}, []string{"allow_md5"}},
			"clear text, MD5 is allowed":   {"by_password", func(c *Config) { c.AllowMD5 = true }, authPlain, []string{verify}, []string{"allow_md5"}},
			"clear text, TLS not verified": {"by_password", func(c *Config) { c.SSLMode = "require" }, authPlain, []string{verify}, nil},
			"clear text, verified":         {"by_password", func(c *Config) { c.SSLMode, c.SSLRootCert = "verify-full", s.CA }, "", nil, nil},
			"clear text, as it is typed":   {"by_accent", func(c *Config) { c.Password, c.SSLMode, c.SSLRootCert = "½", "verify-full", s.CA }, "", nil, nil},

			"nothing, plain":                  {"by_trust", func(c *Config) { c.SSLMode = "disable" }, authNone, []string{verify, trust, "scram-sha-256"}, []string{"allow_md5"}},
			"nothing, by default":             {"by_trust", nil, authNone, []string{verify, trust}, nil},
			"nothing, MD5 is allowed":         {"by_trust", func(c *Config) { c.AllowMD5 = true }, authNone, []string{verify, trust}, nil},
			"nothing, TLS not verified":       {"by_trust", func(c *Config) { c.SSLMode = "require" }, authNone, []string{verify, trust}, nil},
			"nothing, without a password":     {"by_trust", func(c *Config) { c.Password = "" }, "", nil, nil},
			"nothing, verified":               {"by_trust", func(c *Config) { c.SSLMode, c.SSLRootCert = "verify-full", s.CA }, "", nil, nil},
			"nothing, socket":                 {"by_trust", func(c *Config) { c.Host = s.Dir }, "", nil, nil},
			"a certificate, TLS not verified": {"by_certificate", func(c *Config) { c.SSLMode, c.SSLCert, c.SSLKey = "require", certificate, key }, authNone, []string{verify, trust}, nil},
			"a certificate, verified":         {"by_certificate", func(c *Config) { c.SSLMode, c.SSLRootCert, c.SSLCert, c.SSLKey = "verify-full", s.CA, certificate, key }, "", nil, nil},

			"SCRAM, plain": {s.Username, func(c *Config) { c.SSLMode = "disable" }, "", nil, nil},
		} {
			config := Config{Host: s.Host, Port: s.Port, Username: tt.user, Password: s.Password, Database: "postgres"}
			if tt.change != nil {
				tt.change(&config)
			}
			conn, err := serverOf(t, config).Acquire(t.Context(), "")
			if err == nil {
				conn.Release()
			}
			var refused *LoginError
			if !errors.As(err, &refused) {
				refused = &LoginError{}
				if err != nil {
					t.Errorf("%d, %s: %s", major, name, Explain(err))
				}
			}
			if refused.Asked != tt.asked {
				t.Errorf("%d, %s: asked for %q in vain, want %q", major, name, refused.Asked, tt.asked)
			}
			for _, advice := range tt.advice {
				if err == nil || !strings.Contains(Explain(err), advice) {
					t.Errorf("%d, %s: %v, which does not say %q", major, name, err, advice)
				}
			}
			for _, word := range tt.silent {
				if err != nil && strings.Contains(Explain(err), word) {
					t.Errorf("%d, %s: %v, which says %q", major, name, err, word)
				}
			}
		}
	}
}

// A key that has lost its PEM header, or is in the certificate's place, looks like a path.
func TestKeyWithoutHeader(t *testing.T) {
	const key = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp/K06/nwoy/HU++CXqI9EdVhC"
	for attribute, c := range map[string]Config{
		"sslkey":  {SSLMode: "require", SSLCert: "-----BEGIN CERTIFICATE-----\n", SSLKey: key},
		"sslcert": {SSLMode: "require", SSLCert: key, SSLKey: key},
	} {
		_, _, err := c.tls()
		if err == nil || !strings.Contains(err.Error(), attribute) || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", attribute, err)
		}
	}
}

// A tunnel that ends on the server itself needs TLS for clear text, but not for MD5. A tunnel
// whose traffic goes on from the SSH host needs TLS for both.
func TestLoginThroughSSH(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{HBA: loginWays})
	createLogins(t, s)
	ssh := throughSSH(t, s, nil).config.SSHHost
	for _, tt := range []struct{ user, host, asked string }{
		{"by_md5", "127.0.0.1", ""}, {"by_md5", "db.internal", authMD5},
		{"by_trust", "127.0.0.1", authNone}, {"by_trust", "db.internal", authNone},
		{"by_password", "127.0.0.1", authPlain}, {"by_password", "db.internal", authPlain},
	} {
		server := serverOf(t, Config{Host: tt.host, Port: s.Port, Username: tt.user, Password: s.Password, SSLMode: "disable", SSHHost: ssh})
		conn, err := server.Acquire(t.Context(), "")
		if err == nil {
			conn.Release()
		}
		var refused *LoginError
		if tt.asked == "" && err != nil || tt.asked != "" && (!errors.As(err, &refused) || refused.Asked != tt.asked) {
			t.Errorf("%s to %s: %v, want to be asked for %q", tt.user, tt.host, err, tt.asked)
		}
	}
}

// An attacker on the network path who ends TLS with another certificate cannot log in to the
// server: SCRAM is bound to the certificate that the client sees. Hiding that the server offers
// channel binding does not help the attacker either.
func TestChannelBinding(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{TLS: true})
	for name, meddle := range map[string]func(m sandbox.Message) sandbox.Message{
		"as the server offers": func(m sandbox.Message) sandbox.Message { return m },
		"without the offer": func(m sandbox.Message) sandbox.Message {
			m.Body = []byte(strings.Replace(string(m.Body), "SCRAM-SHA-256-PLUS\x00", "", 1))
			return m
		},
	} {
		middle := sandbox.StartMiddle(t, s, true, func(c *sandbox.Client) sandbox.Meddler {
			return func(m sandbox.Message) error {
				if m.Kind == 'R' {
					m = meddle(m)
				}
				_, err := c.Write(m.Bytes())
				return err
			}
		})
		config := superuserOf(s)
		config.Port, config.SSLMode = middle.Port, "require"
		conn, err := serverOf(t, config).Acquire(t.Context(), "")
		if err == nil {
			conn.Release()
		}
		if err == nil || !strings.Contains(err.Error(), "channel binding") {
			t.Errorf("%s: got %v", name, err)
		}
		if name == "as the server offers" && !strings.Contains(string(middle.Heard()), "p=tls-server-end-point,,") {
			t.Errorf("%s: no channel binding was used", name)
		}
	}
	config := superuserOf(s)
	config.SSLMode = "require"
	conn, err := serverOf(t, config).Acquire(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	conn.Release()
}
