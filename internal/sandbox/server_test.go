package sandbox

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestStartAndStop(t *testing.T) {
	Each(t, func(t *testing.T, shared *Server) {
		s := OwnServer(t, Config{Major: shared.Major, Settings: map[string]string{"work_mem": "5MB"}})
		got := s.Query(t, "postgres", `
			SELECT current_setting('server_version_num')::int / 10000,
				current_setting('work_mem'), current_setting('TimeZone'), current_setting('lc_messages'),
				current_setting('server_encoding'), current_setting('synchronous_commit'), current_setting('port')::int - $1`, s.Port)
		want := s.Query(t, "postgres", `SELECT $1::int, '5MB', 'UTC', 'C', 'UTF8', 'on', 0`, shared.Major)
		if got[0] != want[0] {
			t.Errorf("settings %q, want %q", got, want)
		}

		for range 2 {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		}
		assertGone(t, s.Dir, s.Dir)
	})
}

func TestStartFails(t *testing.T) {
	NeedMajors(t)
	_, err := Start(t.Context(), Config{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("error %v does not show the server's", err)
	}
	if _, err = Start(t.Context(), Config{Major: 7}); err == nil || !strings.Contains(err.Error(), "make postgres") {
		t.Errorf("error %v does not say what to do", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Start(ctx, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v with a cancelled context", err)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	major, bin, err := binaries(0)
	need(t, err)
	s := &Server{Major: major, Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Username: superuser, bin: bin}
	if err := s.start(t.Context(), Config{}); !errors.Is(err, errPortTaken) {
		t.Errorf("error %v, want one to try another port on", err)
	}
	assertGone(t, s.Dir, s.Dir)
}

func TestTLS(t *testing.T) {
	Each(t, func(t *testing.T, shared *Server) {
		s := OwnServer(t, Config{Major: shared.Major, TLS: true})
		if got := s.Query(t, "postgres", `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`); got[0] != "t" {
			t.Error("the session has no TLS")
		}

		stranger := *OwnServer(t, Config{Major: shared.Major, TLS: true})
		stranger.Dir = s.Dir // and with it the CA
		if c, err := pgx.Connect(t.Context(), stranger.URL("postgres")); err == nil {
			c.Close(t.Context())
			t.Error("a certificate of another CA is accepted")
		}
	})
}

func TestLog(t *testing.T) {
	Each(t, func(t *testing.T, shared *Server) {
		s := OwnServer(t, Config{Major: shared.Major, LogStatements: true})
		s.Query(t, "postgres", `SELECT 'needle' || $1`, "haystack")
		for where, tt := range map[*Server]bool{s: true, shared: false} {
			log, err := where.Log()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log, `SELECT 'needle'`); got != tt {
				t.Errorf("statement in log: %t, want %t\n%s", got, tt, log)
			}
		}
	})
}

func TestProgram(t *testing.T) {
	s := Shared(t, 0)
	if path := s.Program("initdb"); !executable(path) {
		t.Errorf("initdb is %q", path)
	}
	if path := s.Program("initdbx"); path != "" {
		t.Errorf("a program that is not there is %q", path)
	}
}
