package postgres

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// superuserOf is the configuration that logs in to s as the superuser.
func superuserOf(s *sandbox.Server) Config {
	return Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password}
}

// serverOf returns s as a login sees it.
func serverOf(t *testing.T, config Config) *Server {
	t.Helper()
	return serversOf(t, map[string]Config{"server": config})["server"]
}

// serversOf returns the servers of one provider block.
func serversOf(t *testing.T, configs map[string]Config) map[string]*Server {
	t.Helper()
	all := NewServers(configs)
	t.Cleanup(all.Close)
	return all.byName
}
