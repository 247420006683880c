// Package sandbox starts real PostgreSQL servers and real SSH hosts that are thrown away, and runs
// the real Terraform with a provider compiled from this module (terraform.go): for tests, the
// quickstart and the benchmark.
//
// It promises that
//   - no server leaves anything behind: when this process stops a server, exits or
//     is killed, the server ends and its directory goes (watchdog.go);
//   - no host does either, for it has no directory: the kernel ends its processes
//     and mounts with this process (hostprocess.go);
//   - nothing done on a host, not even as root, changes this machine: the host
//     has its own root filesystem, processes and hostname (hostprocess.go);
//   - servers share nothing, neither with each other nor with the machine: each
//     has its own directory, port of the loopback interface and random password,
//     and sees none of the environment (server.go, watchdog.go);
//   - they are alike everywhere: UTF8, locale C, time zone UTC (template.go, server.go);
//   - starting one is cheap: initdb runs once for each major and process (template.go);
//   - tests on one server do not collide: names are unique, and dropped with their
//     sessions when the test ends (testing.go);
//   - a hostile server, or one in the middle, does what a test wants and keeps what
//     its clients send (hostile.go, middle.go, tricks.go);
//   - a test that needs what this machine lacks is skipped and says what that is,
//     for make test to summarise; in CI it fails (lack.go).
//
// It does not promise that a server survives a crash of the machine: fsync is off. Nor is a host a
// prison: it sees this machine's network and files.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	superuser = "postgres"

	startTimeout  = 3 * time.Minute // including initdb, on a busy machine
	maxSocketPath = 103             // Linux: 107, macOS: 103
)

var errPortTaken = errors.New("port taken by another process")

// A Config describes a server. The zero value is a server of the newest installed major, without
// TLS.
type Config struct {
	Major         int               // 0 means the newest installed
	TLS           bool              // with a fresh CA, and a certificate for localhost and 127.0.0.1
	LogStatements bool              // log every statement
	Locales       string            // a folder of locales that localedef made, in addition to the machine's
	HBA           string            // pg_hba.conf; by default all use SCRAM-SHA-256
	Settings      map[string]string // further settings, passed with -c: ALTER SYSTEM does not change them
	// StandbyOf makes it a hot standby of a server of this process, of the same major (12 or
	// newer), which must still have all of its WAL.
	StandbyOf *Server
	// Data is the result of [Server.CopyData]: the server begins as that copy.
	Data string
	// Recovers makes a server with Data (12 or newer) wait for its promotion. It then has its own
	// timeline, as a server that was restored to a point in time has.
	Recovers bool
}

// A Server is a running PostgreSQL server. It requires a password from all users. With TLS, it
// still accepts connections without.
type Server struct {
	Major    int
	Host     string // 127.0.0.1
	Port     int
	Username string // the superuser
	Password string
	CA       string // PEM; empty without TLS
	Dir      string // holds data, log, the Unix-domain socket and, with TLS, ca.pem

	bin      string
	watchdog *watchdog
}

// Start returns a server that accepts connections. The context bounds the start,
// not the life of the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	major, bin, err := binaries(cfg.Major)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	s := &Server{Major: major, Host: "127.0.0.1", Username: superuser, bin: bin}
	for range 5 {
		if s.Port, err = freePort(); err != nil {
			break
		}
		if err = s.start(ctx, cfg); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL %d: %w", major, err)
	}
	return s, nil
}

// Stop ends all sessions and the server, and removes its directory. A second Stop does nothing.
func (s *Server) Stop() error { return s.watchdog.stop() }

// Log returns what the server has logged so far. A stopped server has no log.
func (s *Server) Log() (string, error) { return s.watchdog.log() }

// Program returns the path of a program that came with the server, such as
// pgbench, or "" if there is none.
func (s *Server) Program(name string) string {
	path := filepath.Join(s.bin, name)
	if !executable(path) {
		return ""
	}
	return path
}

// URL returns where and how the superuser connects to a database.
func (s *Server) URL(database string) string { return s.URLAs(s.Username, database) }

// URLAs is [Server.URL] for a user with the superuser's password, such as one
// made by [Server.Role].
func (s *Server) URLAs(user, database string) string {
	query := url.Values{"sslmode": {"disable"}}
	if s.CA != "" {
		query = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.path("ca.pem")}}
	}
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, s.Password),
		Host:     net.JoinHostPort(s.Host, strconv.Itoa(s.Port)),
		Path:     database,
		RawQuery: query.Encode(),
	}
	return u.String()
}

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// start starts the server on s.Port. If it fails, it leaves nothing behind.
func (s *Server) start(ctx context.Context, cfg Config) error {
	as, err := unprivileged()
	if err != nil {
		return err
	}
	from, err := templates.get(ctx, s.Major, func() (*template, error) { return newTemplate(ctx, as, s.bin) })
	if err != nil {
		return err
	}
	s.watchdog, err = watch(as, func(dir string) (command []string, err error) {
		s.Dir, s.Password = dir, from.password
		if cfg.TLS {
			err = s.certify(as)
		}
		if cfg.HBA != "" {
			err = errors.Join(err, as.writeFile(s.path("pg_hba.conf"), cfg.HBA))
		}
		if p := cfg.StandbyOf; p != nil {
			err = errors.Join(err, as.writeFile(s.path("pgpass"), fmt.Sprintf("%s:%d:*:%s:%s\n", p.Host, p.Port, p.Username, p.Password)))
		}
		return s.command(from, cfg), err
	})
	if err != nil {
		return err
	}
	if err := s.await(ctx); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// certify gives the server a certificate.
func (s *Server) certify(as account) error {
	c, err := newCertificate()
	s.CA = c.ca
	return errors.Join(err,
		as.writeFile(s.path("ca.pem"), c.ca),
		as.writeFile(s.path("server.pem"), c.certificate),
		as.writeFile(s.path("server.key"), c.key))
}

// command copies the template's data and becomes the server. Copies of one template share one
// history, so one can follow another.
func (s *Server) command(from *template, cfg Config) []string {
	script := `cp -Rp "$1" "$2" && shift 2 && exec "$@"`
	if cfg.StandbyOf != nil || cfg.Recovers {
		script = `cp -Rp "$1" "$2" && : >"$2/standby.signal" && shift 2 && exec "$@"`
	}
	origin := cfg.Data
	if origin == "" {
		origin = from.data()
	}

	data := s.path("data")
	command := []string{"/bin/sh", "-c", script, "start", origin, data, filepath.Join(s.bin, "postgres"), "-D", data}
	if cfg.Locales != "" {
		command = append([]string{"env", "LOCPATH=" + cfg.Locales}, command...)
	}
	settings := s.settings(cfg)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		command = append(command, "-c", name+"="+settings[name])
	}
	return command
}

// settings leaves synchronous_commit on: without it, logical decoding does not see the latest
// commits.
func (s *Server) settings(cfg Config) map[string]string {
	settings := map[string]string{
		"listen_addresses":        s.Host,
		"port":                    strconv.Itoa(s.Port),
		"unix_socket_directories": s.Dir,
		"max_connections":         "200",
		"fsync":                   "off",
		"full_page_writes":        "off",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"logging_collector":       "off",
		"log_line_prefix":         "%m [%p] %u@%d ",
	}
	if len(s.path(".s.PGSQL.65535")) > maxSocketPath {
		settings["unix_socket_directories"] = ""
	}
	if cfg.LogStatements {
		settings["log_statement"] = "all"
	}
	if cfg.TLS {
		settings["ssl"] = "on"
		settings["ssl_cert_file"] = s.path("server.pem")
		settings["ssl_key_file"] = s.path("server.key")
	}
	if cfg.HBA != "" {
		settings["hba_file"] = s.path("pg_hba.conf")
	}
	if p := cfg.StandbyOf; p != nil {
		settings["primary_conninfo"] = fmt.Sprintf("host=%s port=%d user=%s passfile='%s'", p.Host, p.Port, p.Username, s.path("pgpass"))
	}
	maps.Copy(settings, cfg.Settings)
	return settings
}

// await returns once the server accepts connections.
func (s *Server) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !s.ready() {
		select {
		case <-tick.C:
		case <-s.watchdog.ended:
			err := s.watchdog.failure()
			if strings.Contains(err.Error(), "Address already in use") {
				return errPortTaken
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ready reads the server's own status, as pg_ctl does. A connection would prove nothing: another
// server may have taken the port.
func (s *Server) ready() bool {
	text, err := os.ReadFile(s.path("data/postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	return err == nil && len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
