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

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// The ways, as printed.
const (
	noTunnel  = "direct"
	ourTunnel = "ssh_host"
	sshTunnel = "ssh -L"
)

// cipher is the one that ssh_host negotiates with every OpenSSH of the last ten years.
const cipher = "aes128-gcm@openssh.com"

// checkTunnel checks whether an SSH host can be started here.
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

// measureTunnel measures reading a large table through an SSH host, and loading one. The ways
// differ only in how they reach the source.
func (b *bench) measureTunnel(ctx context.Context, s size) (groups []*group, err error) {
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
	hosts := sshclient.NewHosts(map[string]sshclient.Config{"bastion": {
		Host: host.Host, Port: host.Port, Username: sandbox.OperatorName, PrivateKey: host.OperatorKey, HostKeys: host.HostKeys,
	}})
	defer hosts.Close()
	ours, theirs := b.source.config(), b.source.config()
	ours.SSHHost, _ = hosts.Host("bastion")
	theirs.Port = port
	sources := map[string]pgclient.Config{noTunnel: b.source.config(), ourTunnel: ours, sshTunnel: theirs}

	servers := pgclient.NewServers(sources)
	defer servers.Close()
	read, err := b.eachTunnel(ctx, s, "COPY of 200 MB to nowhere", dataset{name: "through an SSH host, TOAST", tables: []table{{"through", toastSQL, 25_000, fullTable}}},
		func(way string, d dataset, g *group) error {
			server, _ := servers.Server(way)
			m, err := b.readThrough(ctx, server, d)
			return g.add(way, m, err)
		})
	if err != nil {
		return nil, err
	}
	load, err := b.eachTunnel(ctx, s, "first load: 300,000 wide rows", dataset{name: "through an SSH host, wide", tables: []table{{"through", wideSQL, 300_000, fullTable}}},
		func(way string, d dataset, g *group) error {
			return b.firstLoadFrom(ctx, sources[way], d, 1, g, way, false)
		})
	if err != nil {
		return nil, err
	}
	compare := func(g *group) []float64 { return ratios(g.measures[ourTunnel], g.measures[sshTunnel], seconds) }
	load.bars = []bar{
		{"through an SSH host, COPY: ssh_host / ssh -L", "", compare(read), "<=", 1},
		{"  a first load, which makes connections of its own", "", compare(load), "", 0},
	}
	return []*group{read, load}, nil
}

// eachTunnel takes a measure of each way in turn.
func (b *bench) eachTunnel(ctx context.Context, s size, title string, d dataset, measure func(way string, d dataset, g *group) error) (*group, error) {
	g := newGroup(title, sshTunnel, noTunnel, ourTunnel, sshTunnel)
	if err := b.fill(ctx, d); err != nil {
		return nil, err
	}
	var ways []func() error
	for _, way := range g.ways {
		ways = append(ways, func() error { return measure(way, d, g) })
	}
	for round := range s.tunnels {
		b.progress("%s, round %d of %d", g.title, round+1, s.tunnels)
		if err := inTurn(round, ways); err != nil {
			return nil, err
		}
	}
	return g, b.source.drop(ctx, d)
}

// readThrough reads a table. It does not measure connecting, because ssh -L is already connected.
func (b *bench) readThrough(ctx context.Context, server *pgclient.Server, d dataset) (measure, error) {
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

// A counted counts the bytes written to it.
type counted int64

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

var _ io.Writer = (*counted)(nil)

// openSSH starts ssh -L to a port of the host, and returns the local port.
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
