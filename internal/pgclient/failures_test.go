package pgclient

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// All resources of a plan share one failed dial, and each error names the database that its
// resource asked for. An error about one database is not reported for another.
func TestFailuresOfPlans(t *testing.T) {
	s := sandbox.Shared(t, 0)
	closed, open, role := s.Database(t), s.Database(t), s.Role(t)
	s.Exec(t, "postgres", "REVOKE CONNECT ON DATABASE "+closed+" FROM PUBLIC")
	login := Config{Host: s.Host, Port: s.Port, Username: role, Password: s.Password}
	wrong := login
	wrong.Password = "wrong"
	for name, tt := range map[string]struct {
		config Config
		second string // the error for the open database, after the closed one
	}{
		"of the server":   {wrong, "password authentication failed"},
		"of one database": {login, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := serverOf(t, tt.config).Planning()
			for range 2 {
				if _, err := server.Acquire(t.Context(), closed); err == nil || !strings.Contains(err.Error(), closed) {
					t.Fatalf("%s: %v", closed, err)
				}
			}
			conn, err := server.Acquire(t.Context(), open)
			if err == nil {
				conn.Release()
			}
			switch {
			case tt.second == "" && err != nil, tt.second != "" && err == nil:
				t.Errorf("%s: %v", open, err)
			case err != nil && (strings.Contains(Explain(err), closed) || !strings.Contains(Explain(err), open) || !strings.Contains(err.Error(), tt.second)):
				t.Errorf("quoted of the other: %s", Explain(err))
			}
		})
	}
}

// A missing file that an entry names has nothing to do with the network.
func TestSettingsThatAreNotThere(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"sslrootcert":       {func(c *Config) { c.SSLRootCert = "/no/such.pem" }, "Correct sslrootcert of servers.server"},
		"empty sslrootcert": {func(c *Config) { c.SSLRootCert = empty }, "Correct sslrootcert of servers.server"},
		"sslcert":           {func(c *Config) { c.SSLCert, c.SSLKey = "/no/such.pem", "/no/such.key" }, "Correct sslcert of servers.server"},
		"sslkey":            {func(c *Config) { c.SSLCert, c.SSLKey = empty, "/no/such.key" }, "Correct sslkey of servers.server"},
		"not a pair":        {func(c *Config) { c.SSLCert, c.SSLKey = empty, empty }, "Correct sslcert or sslkey of servers.server"},
		"password_command":  {func(c *Config) { c.PasswordCommand = []string{"/no/such/program"} }, "servers.server.password_command by hand"},
		"failing command":   {func(c *Config) { c.PasswordCommand = []string{"false"} }, "servers.server.password_command by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Host: "127.0.0.1", Port: 1, Username: "u", SSLMode: "verify-full"}
			tt.change(&config)
			_, err := serverOf(t, config).Acquire(t.Context(), "postgres")
			if text := Explain(err); !strings.Contains(text, tt.want) || strings.Contains(text, "firewall") {
				t.Errorf("%s", text)
			}
		})
	}
}
