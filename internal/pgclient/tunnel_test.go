package pgclient

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// throughSSH returns a server that is reached through an SSH host. Only that host knows the
// server's names: db.internal, and other.internal, which its certificate lacks.
func throughSSH(t *testing.T, s *sandbox.Server, change func(*Config), settings ...string) *Server {
	t.Helper()
	bastion := sandbox.SSHHost(t, sandbox.HostConfig{Settings: settings, Hosts: map[string]string{"db.internal": s.Host, "other.internal": s.Host}})
	hosts := sshclient.NewHosts(map[string]sshclient.Config{"bastion": {
		Host: bastion.Host, Port: bastion.Port, Username: sandbox.OperatorName, PrivateKey: bastion.OperatorKey, HostKeys: bastion.HostKeys,
	}})
	t.Cleanup(hosts.Close)
	host, _ := hosts.Host("bastion")
	config := Config{Host: "db.internal", Port: s.Port, Username: s.Username, Password: s.Password, SSLMode: "disable", SSHHost: host}
	if change != nil {
		change(&config)
	}
	servers := NewServers(map[string]Config{"a": config})
	t.Cleanup(servers.Close)
	server, _ := servers.Server("a")
	return server
}

// A server is reached by its name on the SSH host, and its statements can be cancelled.
func TestTunnel(t *testing.T) {
	s := sandbox.Shared(t, 0)
	server := throughSSH(t, s, nil)
	conn, err := server.Acquire(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if err := conn.QueryRow(t.Context(), "SELECT pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_sleep(60)")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	conn.Release()
	for deadline := time.Now().Add(10 * time.Second); s.Query(t, "postgres", "SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1", pid) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the session that was cancelled goes on")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TLS within a tunnel is verified against the server's own name.
func TestTunnelTLS(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{TLS: true})
	for host, ok := range map[string]bool{"localhost": true, "db.internal": true, "other.internal": false} {
		server := throughSSH(t, s, func(c *Config) { c.Host, c.SSLMode, c.SSLRootCert = host, "verify-full", s.CA })
		conn, err := server.Acquire(t.Context(), "")
		switch {
		case ok && err != nil:
			t.Errorf("%s: %v", host, err)
		case !ok && (err == nil || !strings.Contains(err.Error(), "certificate is valid for")):
			t.Errorf("%s was let in, or for another reason not: %v", host, err)
		case ok:
			var tls bool
			if err := conn.QueryRow(t.Context(), "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()", pgx.QueryExecModeExec).Scan(&tls); err != nil || !tls {
				t.Errorf("TLS is %v, %v", tls, err)
			}
			conn.Release()
		}
	}
}

// For an SSH host that does not forward, or cannot be reached, the error says what to do, and
// says nothing about the server, which was not asked.
func TestTunnelRefused(t *testing.T) {
	s := sandbox.Shared(t, 0)
	unreachable := sshclient.NewHosts(map[string]sshclient.Config{"bastion": {
		Host: "127.0.0.1", Port: 1, Username: "u", Password: "p", HostKeys: sandbox.SharedSSHHost(t, sandbox.HostConfig{}).HostKeys,
	}})
	for _, test := range []struct {
		setting, want string
		change        func(*Config)
	}{
		{"AllowTcpForwarding no", "AllowTcpForwarding", nil},
		{"PermitOpen db.internal:1", "PermitOpen", nil},
		{"AllowTcpForwarding yes", "cannot reach db.internal:1", func(c *Config) { c.Port = 1 }},
		{"AllowTcpForwarding yes", "Check host and port of ssh_hosts.bastion", func(c *Config) { c.SSHHost, _ = unreachable.Host("bastion") }},
	} {
		server := throughSSH(t, s, test.change, test.setting)
		_, err := server.Acquire(t.Context(), "")
		said := ""
		if err != nil {
			said = Explain(err)
		}
		if !strings.Contains(said, test.want) || !strings.Contains(said, `SSH host "bastion"`) || strings.Contains(said, "servers.a") {
			t.Errorf("%s: %s", test.setting, said)
		}
	}
}
