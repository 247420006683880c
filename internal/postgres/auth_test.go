package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

func TestAcceptedAuth(t *testing.T) {
	t.Parallel()
	const (
		scram    = "none scram-sha-256"
		hash     = scram + " md5"
		whatever = hash + " password"
	)
	ssh := &sshclient.Host{}
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{Host: "db"}, whatever}, // verify-full is the default
		{Config{Host: "db", SSLMode: "verify-full", SSHHost: ssh}, whatever},
		{Config{Host: "db", SSLMode: "verify-ca", SSLRootCert: "ca.pem"}, whatever},
		{Config{Host: "db", SSLMode: "verify-ca"}, scram}, // by the system's authorities, it could be anyone
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
		{Config{Host: "/run/postgresql"}, whatever},
		{Config{Host: "/run/postgresql", SSHHost: ssh}, whatever},
		{Config{Host: "/run/postgresql", SSLMode: "disable"}, whatever},
	} {
		if got := strings.Join(tt.config.withDefaults().acceptedAuth(), " "); got != tt.want {
			t.Errorf("%s, sslmode %q, authority %t, SSH %t, allow_md5 %t: %s, want %s", tt.config.Host, tt.config.SSLMode,
				tt.config.SSLRootCert != "", tt.config.SSHHost != nil, tt.config.AllowMD5, got, tt.want)
		}
	}
}

// loginWays is a pg_hba.conf that asks logins of createLogins for what they are called.
const loginWays = `
	local all all md5
	host  all by_password,by_accent all password
	host  all all all md5`

func createLogins(t *testing.T, s *sandbox.Server) {
	t.Helper()
	s.Exec(t, "postgres", fmt.Sprintf(`SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD '%s'; CREATE ROLE by_password LOGIN PASSWORD '%[1]s';
		CREATE ROLE by_accent LOGIN PASSWORD '½'`, s.Password))
}

// Real servers are answered what they ask for only where it may be known who they
// are, on every attempt of a connection; else the error says what to do.
func TestLoginRefused(t *testing.T) {
	majors := sandbox.NeedMajors(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major, TLS: true, HBA: loginWays})
		createLogins(t, s)
		verify, scram, allow := `sslmode = "verify-full" in servers.server`, "password_encryption = 'scram-sha-256'", "allow_md5 = true in servers.server"
		for name, tt := range map[string]struct {
			user   string
			change func(*Config)
			asked  string   // "" if it goes well
			advice []string // that is given
			silent []string // that is not
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

// A tunnel that ends on the server itself needs no TLS for MD5, and does for clear text.
// One that goes on from the SSH host needs it for both.
func TestLoginThroughSSH(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{HBA: loginWays})
	createLogins(t, s)
	ssh := throughSSH(t, s, nil).config.SSHHost
	for _, tt := range []struct{ user, host, asked string }{
		{"by_md5", "127.0.0.1", ""}, {"by_md5", "db.internal", authMD5},
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

// Whoever stands between and ends TLS with a certificate of their own cannot have the
// server let them in: SCRAM is bound to the certificate that the client sees. Nor
// does it help to hide that the server offers that.
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
