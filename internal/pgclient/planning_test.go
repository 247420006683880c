package pgclient

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// In a plan, a server that ends a session before it has answered counts as unreachable: what the
// server holds is unknown.
func TestPlanningSessionEnds(t *testing.T) {
	s := sandbox.Shared(t, 0)
	proxy := sandbox.StartProxy(t, fmt.Sprintf("%s:%d", s.Host, s.Port))
	all := NewServers(map[string]Config{"app": {Host: proxy.Host, Port: proxy.Port, Username: s.Username, Password: s.Password}})
	defer all.Close()
	server, _ := all.Server("app")
	for how, end := range map[string]func(*pgx.Conn) error{
		"terminated": func(conn *pgx.Conn) error {
			_, err := conn.Exec(t.Context(), "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())")
			return err
		},
		"cut": func(conn *pgx.Conn) error {
			proxy.Cut()
			_, err := conn.Exec(t.Context(), "SELECT 1")
			return err
		},
	} {
		if err := server.Planning().OnConn(t.Context(), "", end); !IsUnreachable(err) {
			t.Errorf("%s: %v", how, err)
		}
		if err := server.Planning().OnConn(t.Context(), "", func(conn *pgx.Conn) error { return conn.Ping(t.Context()) }); err != nil {
			t.Errorf("%s: whoever asks later is told %v", how, err)
		}
	}
	err := server.Planning().OnConn(t.Context(), "", func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), "SELECT none")
		return err
	})
	if err == nil || IsUnreachable(err) {
		t.Errorf("an answer: %v", err)
	}
}
