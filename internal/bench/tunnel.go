package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// The ways, as they are printed.
const (
	noTunnel  = "direct"
	ourTunnel = "ssh_host"
	sshTunnel = "ssh -L"
)

// cipher is the one that ssh_host comes to with every OpenSSH of the last ten years.
const cipher = "aes128-gcm@openssh.com"

// checkTunnel finds out whether an SSH host can be started here.
func checkTunnel(size) error {
	if _, err := exec.LookPath("ssh"); err != nil {
		return fmt.Errorf("compare tunnels with those of OpenSSH: %w", err)
	}
	h, err := sandbox.StartHost(context.Background(), sandbox.HostConfig{})
	if err != nil {
		return err
	}
	return h.Stop()
}

// measureTunnel measures what it takes to read a large table through an SSH
// host. Only how the server is reached differs between the ways.
func (b *bench) measureTunnel(ctx context.Context, s size) (groups []*group, err error) {
	g := newGroup("COPY of 200 MB to nowhere", sshTunnel, noTunnel, ourTunnel, sshTunnel)
	d := dataset{tables: []table{{"through", toastSQL, 25_000, fullTable}}}
	if err := b.fill(ctx, d); err != nil {
		return nil, err
	}
	host, err := sandbox.StartHost(ctx, sandbox.HostConfig{})
	if err != nil {
		return nil, err
	}
	defer host.Stop() //nolint:errcheck // it goes with this process
	dir, err := os.MkdirTemp("", "stitch-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	port, stop, err := openSSH(ctx, dir, host, b.source.Port)
	if err != nil {
		return nil, err
	}
	defer stop()

	servers, hosts := b.tunnelServers(host, port)
	defer hosts.Close()
	defer servers.Close()
	var ways []func() error
	for _, way := range g.ways {
		server, _ := servers.Server(way)
		ways = append(ways, func() error {
			m, err := b.readThrough(ctx, server, d)
			return g.add(way, m, err)
		})
	}
	for round := range s.tunnels {
		b.progress("%s, round %d of %d", g.title, round+1, s.tunnels)
		if err := inTurn(round, ways); err != nil {
			return nil, err
		}
	}
	g.bars = []bar{{"tunnel: ssh_host / ssh -L", "", ratios(g.measures[ourTunnel], g.measures[sshTunnel], seconds), "<=", 1}}
	return []*group{g}, b.source.drop(ctx, d)
}

// tunnelServers are the source by each way; port is that of ssh -L.
func (b *bench) tunnelServers(h *sandbox.Host, port int) (*postgres.Servers, *sshclient.Hosts) {
	hosts := sshclient.NewHosts(map[string]sshclient.Config{"bastion": {
		Host: h.Host, Port: h.Port, Username: sandbox.OperatorName, PrivateKey: h.OperatorKey, HostKeys: h.HostKeys,
	}})
	direct := postgres.Config{Host: b.source.Host, Port: b.source.Port, Username: b.source.Username, Password: b.source.Password, SSLMode: "disable"}
	ours, theirs := direct, direct
	ours.SSHHost, _ = hosts.Host("bastion")
	theirs.Port = port
	return postgres.NewServers(map[string]postgres.Config{noTunnel: direct, ourTunnel: ours, sshTunnel: theirs}), hosts
}

// readThrough reads a table. To connect is not measured: ssh -L is up already.
func (b *bench) readThrough(ctx context.Context, server *postgres.Server, d dataset) (measure, error) {
	conn, err := server.Acquire(ctx, database)
	if err != nil {
		return measure{}, err
	}
	defer conn.Discard()
	sql := copyOut(d.tables[0])
	began := time.Now()
	var read counted
	_, err = conn.PgConn().CopyTo(ctx, &read, sql)
	return measure{wall: time.Since(began), rows: d.rows(), bytes: int64(read)}, err
}

// A counted counts what is written to it.
type counted int64

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

var _ io.Writer = (*counted)(nil)

// openSSH starts ssh -L to a port of the host, and returns its own port.
func openSSH(ctx context.Context, dir string, h *sandbox.Host, to int) (port int, stop func(), err error) {
	key, known := filepath.Join(dir, "key"), filepath.Join(dir, "known_hosts")
	err = errors.Join(
		os.WriteFile(key, []byte(h.OperatorKey), 0o600),
		os.WriteFile(known, fmt.Appendf(nil, "[%s]:%d %s\n", h.Host, h.Port, h.HostKeys[0]), 0o600))
	if err != nil {
		return 0, nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	port = free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	cmd := exec.CommandContext(ctx, "ssh", "-F", "none", "-N", "-p", strconv.Itoa(h.Port), "-i", key, "-c", cipher,
		"-o", "UserKnownHostsFile="+known, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes",
		"-L", fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", port, to), sandbox.OperatorName+"@"+h.Host)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 100 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
			return port, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return 0, nil, errors.New("ssh -L does not listen")
}
