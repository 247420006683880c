package pgtest

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Superuser is the configuration that logs in to s as the superuser.
func Superuser(s *sandbox.Server) pgclient.Config {
	return pgclient.Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password}
}

// Server returns s as a login sees it.
func Server(t *testing.T, config pgclient.Config) *pgclient.Server {
	t.Helper()
	return Servers(t, map[string]pgclient.Config{"server": config})["server"]
}

// Servers returns the servers of one provider block.
func Servers(t *testing.T, configs map[string]pgclient.Config) map[string]*pgclient.Server {
	t.Helper()
	all := pgclient.NewServers(configs)
	t.Cleanup(all.Close)
	servers := map[string]*pgclient.Server{}
	for name := range configs {
		servers[name], _ = all.Server(name)
	}
	return servers
}

// Logged returns the statements that a server ran, each by its first words, and how many
// connections it accepted.
func Logged(t *testing.T, s *sandbox.Server) (statements []string, connections int) {
	t.Helper()
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`LOG:  (?:statement|execute [^:]*):\s*(\S+(?: \S+)*)`).FindAllStringSubmatch(log, -1) {
		statements = append(statements, match[1])
	}
	return statements, strings.Count(log, "connection authorized")
}

// Pooled starts a PgBouncer in front of s and returns the entry that connects through it.
func Pooled(t *testing.T, s *sandbox.Server, mode, user string) pgclient.Config {
	t.Helper()
	p := sandbox.OwnPgBouncer(t, s, mode, user)
	return pgclient.Config{Host: p.Host, Port: p.Port, Username: user, Password: s.Password}
}

func WaitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass")
		}
	}
}
