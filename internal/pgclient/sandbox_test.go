package pgclient

import (
	"regexp"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// superuserOf is the configuration that logs in to s as the superuser.
func superuserOf(s *sandbox.Server) Config {
	return Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password}
}

// serverOf returns a server as a login sees it.
func serverOf(t *testing.T, config Config) *Server {
	t.Helper()
	return serversOf(t, map[string]Config{"server": config})["server"]
}

// serversOf returns the servers of one provider block.
func serversOf(t *testing.T, configs map[string]Config) map[string]*Server {
	t.Helper()
	all := NewServers(configs)
	t.Cleanup(all.Close)
	servers := map[string]*Server{}
	for name := range configs {
		servers[name], _ = all.Server(name)
	}
	return servers
}

// logged returns the statements that a server ran, each by its first words, and how many
// connections it accepted.
func logged(t *testing.T, s *sandbox.Server) (statements []string, connections int) {
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
