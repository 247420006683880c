package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A PgBouncer is a running pool in front of a server. It accepts the same passwords.
type PgBouncer struct {
	Host string // 127.0.0.1
	Port int

	watchdog *watchdog
}

// StartPgBouncer starts a PgBouncer with this pool_mode in front of s, for users who have the
// password of the superuser (see [Server.Role]), and for all databases. The context bounds the
// start.
func StartPgBouncer(ctx context.Context, s *Server, mode string, users ...string) (*PgBouncer, error) {
	program, err := pgbouncerProgram()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p := &PgBouncer{Host: "127.0.0.1"}
	for range 5 {
		if p.Port, err = freePort(); err != nil {
			break
		}
		p.watchdog, err = watch(as, func(dir string) ([]string, error) {
			config, list := dir+"/pgbouncer.ini", dir+"/users.txt"
			var lines strings.Builder
			for _, user := range append(users, s.Username) {
				fmt.Fprintf(&lines, "%q %q\n", user, s.Password)
			}
			return []string{program, config}, errors.Join(
				as.writeFile(list, lines.String()),
				as.writeFile(config, p.config(s, mode, list)))
		})
		if err != nil {
			break
		}
		if err = p.await(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	return p, nil
}

// Stop ends all sessions and the pool, and removes its directory. A second Stop does nothing.
func (p *PgBouncer) Stop() error { return p.watchdog.stop() }

// pgbouncerProgram also searches root's PATH.
func pgbouncerProgram() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &lackError{"PgBouncer: install the Debian package pgbouncer", nil}
}

func (p *PgBouncer) config(s *Server, mode, users string) string {
	return fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = %s
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = %s
default_pool_size = 20
max_client_conn = 200
query_wait_timeout = 20
`, s.Host, s.Port, p.Host, p.Port, users, mode)
}

// await returns once the pool says that it is up.
func (p *PgBouncer) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.watchdog.ended:
			err := p.watchdog.failure()
			if strings.Contains(err.Error(), "ddress already in use") {
				return errors.Join(errPortTaken, p.Stop())
			}
			return errors.Join(err, p.Stop())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.Stop())
		}
		log, err := p.watchdog.log()
		if err == nil && strings.Contains(log, "listening on "+net.JoinHostPort(p.Host, strconv.Itoa(p.Port))) && strings.Contains(log, "process up") {
			return nil
		}
	}
}
