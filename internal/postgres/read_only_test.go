package postgres

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// If a login cannot change anything because the server, the database or the login is read-only,
// the error says which of them it is, and what to do.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{})
	standby := sandbox.OwnServer(t, sandbox.Config{StandbyOf: s})
	config := pgtest.Administrator(t, s)
	database := s.Database(t)
	s.Exec(t, "postgres", "ALTER DATABASE "+database+" OWNER TO "+config.Username)
	const setting = " SET default_transaction_read_only = on"
	tests := []struct {
		name, set, reset, want string
		server                 *pgclient.Server
	}{
		{name: "login", set: "ALTER ROLE " + config.Username + setting, reset: "ALTER ROLE " + config.Username + " RESET ALL",
			want: `ALTER ROLE "` + config.Username + `" RESET default_transaction_read_only;`},
		{name: "database", set: "ALTER DATABASE " + database + setting, reset: "ALTER DATABASE " + database + " RESET ALL",
			want: `ALTER DATABASE "` + database + `" RESET default_transaction_read_only;`},
		{name: "login in a database", set: "ALTER ROLE " + config.Username + " IN DATABASE " + database + setting, reset: "ALTER ROLE " + config.Username + " IN DATABASE " + database + " RESET ALL",
			want: `ALTER ROLE "` + config.Username + `" IN DATABASE "` + database + `" RESET default_transaction_read_only;`},
		{name: "server", set: "ALTER SYSTEM" + setting, reset: "ALTER SYSTEM RESET default_transaction_read_only",
			want: "its configuration turns default_transaction_read_only on"},
		{name: "standby", want: "The server is a standby, which accepts no changes. Set host and port of servers.server to those of the primary."},
	}
	for _, tt := range tests {
		if tt.set != "" {
			s.Exec(t, "postgres", tt.set)
		}
		if tt.name == "server" {
			s.Exec(t, "postgres", "SELECT pg_reload_conf()")
			pgtest.WaitFor(t, func() bool { return s.Query(t, "postgres", "SHOW default_transaction_read_only")[0] == "on" })
		}
		c := config
		c.Database = database
		server := pgtest.Server(t, c)
		if tt.name == "standby" {
			c = pgtest.Superuser(standby)
			server = pgtest.Server(t, c)
			pgtest.WaitFor(t, func() bool {
				return standby.Query(t, "postgres", "SELECT FROM pg_database WHERE datname = $1", database) != nil
			})
		}
		for what, change := range map[string]func() error{
			"schema": func() error {
				_, err := CreateSchema(t.Context(), server, Schema{Database: database, Name: "shop"})
				return err
			},
			"user": func() error {
				_, err := CreateUser(t.Context(), server, User{Name: "nobody_yet"}, nil)
				return err
			},
			"drop of a user": func() error { return DropUser(t.Context(), server, config.Username, DropOptions{}) },
			"grants": func() error {
				return privilege.GrantDestination(t.Context(), server, privilege.DestinationGrants{Database: database, User: s.Username})
			},
		} {
			err := change()
			if err == nil {
				t.Errorf("%s, %s: no error", tt.name, what)
			} else if !strings.Contains(pgclient.Explain(err), tt.want) {
				t.Errorf("%s, %s: got %s\nwant %s", tt.name, what, pgclient.Explain(err), tt.want)
			}
		}
		if tt.reset != "" {
			s.Exec(t, "postgres", tt.reset)
			s.Exec(t, "postgres", "SELECT pg_reload_conf()")
		}
		if tt.name == "server" {
			pgtest.WaitFor(t, func() bool { return s.Query(t, "postgres", "SHOW default_transaction_read_only")[0] == "off" })
		}
	}
}
