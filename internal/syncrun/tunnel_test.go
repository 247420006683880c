package syncrun

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// throughSSH makes the engine reach source or destination through an SSH host, and the SSH
// host through the proxy that it returns.
func (e *env) throughSSH(t *testing.T, side string) *sandbox.Proxy {
	t.Helper()
	bastion := sandbox.SSHHost(t, sandbox.HostConfig{Hosts: map[string]string{"db.internal": "127.0.0.1"}})
	proxy := sandbox.StartProxy(t, net.JoinHostPort(bastion.Host, strconv.Itoa(bastion.Port)))
	hosts := sshclient.NewHosts(map[string]sshclient.Config{"bastion": {
		Host: proxy.Host, Port: proxy.Port, Username: sandbox.OperatorName, PrivateKey: bastion.OperatorKey, HostKeys: bastion.HostKeys,
	}})
	t.Cleanup(hosts.Close)
	host, _ := hosts.Host("bastion")
	configs := map[string]pgclient.Config{
		"source":      {Host: "127.0.0.1", Port: e.source.Port, Username: e.reader, Password: e.source.Password},
		"destination": {Host: "127.0.0.1", Port: e.destination.Port, Username: e.writer, Password: e.destination.Password},
	}
	config := configs[side]
	config.Host, config.SSLMode, config.SSHHost = "db.internal", "disable", host
	configs[side] = config
	e.servers = pgclient.NewServers(configs)
	t.Cleanup(e.servers.Close)
	return proxy
}

// The engine notices within seconds that a tunnel is cut, or falls silent, in the middle of a
// load. It loads the table again, and loses or doubles nothing.
func TestTunnelLost(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for _, side := range []string{"source", "destination"} {
		for _, way := range []string{"cut", "silent"} {
			t.Run(side+" "+way, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, s, s)
				e.atSource(t, `
					CREATE TABLE big (id int PRIMARY KEY, text text);
					INSERT INTO big SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 60000) AS n`)
				e.definition.Tables["public.big"] = definition.Selection{Method: definition.FullTable}
				e.create(t)
				proxy := e.throughSSH(t, side)
				hurt := make(chan struct{})
				if way == "cut" {
					proxy.CutAfter(8 << 20)
					close(hurt)
				} else {
					go func() { // in the middle of the 16 MB
						defer close(hurt)
						for proxy.Bytes() < 4<<20 {
							time.Sleep(time.Millisecond)
						}
						proxy.Silence()
						time.Sleep(20 * time.Second)
						proxy.Speak()
					}()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
				defer cancel()
				began := time.Now()
				run, err := e.tryRun(ctx)
				if err != nil {
					t.Fatalf("after %v: %s", time.Since(began), pgclient.Explain(err))
				}
				<-hurt
				if r := report(run, "public.big"); r.RowsLoaded != 60000 {
					t.Errorf("reported %+v", r)
				}
				if proxy.Connections() < 2 {
					t.Errorf("nothing was lost: %d connections", proxy.Connections())
				}
				t.Logf("%v, %d SSH connections, notes %q", time.Since(began), proxy.Connections(), run.Notes)
				e.wantSame(t, "big")
			})
		}
	}
}
