package provider

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// everywhere is a configuration with one of each resource that lives on a server or an SSH host.
type everywhere struct {
	role, source, database, user, public string
}

func newEverywhere(t *testing.T, s *sandbox.Server, h *sandbox.Host) everywhere {
	_, public := newSSHKey(t)
	e := everywhere{role: s.RoleName(t), source: s.Database(t), database: s.DatabaseName(t), user: h.UserName(), public: public}
	s.Exec(t, e.source, "CREATE TABLE orders (id int PRIMARY KEY)")
	return e
}

func (e everywhere) config(hosts, servers map[string]string, host, server string) string {
	return requiredProviders + sshProviderBlock(hosts, servers) + fmt.Sprintf(`
		resource "stitch_database_user" "u" {
			server              = %[1]q
			name                = %[3]q
			password_wo         = "correct horse battery staple"
			password_wo_version = 1
		}
		resource "stitch_source_grants" "g" {
			server   = %[1]q
			database = %[4]q
			user     = stitch_database_user.u.name
			schemas  = ["public"]
		}
		resource "stitch_destination_database" "d" {
			server = %[1]q
			name   = %[5]q
		}
		resource "stitch_destination_schema" "s" {
			server   = %[1]q
			database = stitch_destination_database.d.name
			name     = "shop"
		}
		resource "stitch_destination_grants" "g" {
			server   = %[1]q
			database = stitch_destination_database.d.name
			user     = stitch_database_user.u.name
		}
		resource "stitch_ssh_user" "u" {
			host     = %[2]q
			username = %[6]q
		}
		resource "stitch_ssh_authorized_key" "k" {
			host       = %[2]q
			username   = stitch_ssh_user.u.username
			public_key = %[7]q
		}`, server, host, e.role, e.source, e.database, e.user, e.public)
}

// Another name of an entry, and another login for the same server, change nothing on the server.
func TestAccLocated_renamed(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	e := newEverywhere(t, s, h)
	second := s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+second+" SUPERUSER")
	operator := fmt.Sprintf("{ host = \"localhost\", port = %d, username = \"operator\", private_key = %q, host_key = %q, sudo = true }", h.Port, h.OperatorKey, h.HostKeys[1])
	w := newWorkspace(t, e.config(map[string]string{"bastion": rootOf(h)}, map[string]string{"a": administrator(s)}, "bastion", "a"))
	w.run(t, "apply", "-auto-approve")
	s.Exec(t, e.database, "CREATE TABLE shop.loaded (id int); INSERT INTO shop.loaded VALUES (1)")
	facts := func() string {
		return strings.Join(s.Query(t, "postgres", `SELECT oid FROM pg_roles WHERE rolname = $1 UNION ALL SELECT oid FROM pg_database WHERE datname = $2`, e.role, e.database), " ") +
			h.Exec(t, `id -u "$1"; stat -c '%i' "/home/$1" "/home/$1/.ssh/authorized_keys"`, e.user)
	}
	before := facts()
	for _, step := range []struct {
		name           string
		hosts, servers map[string]string
		host, server   string
	}{
		{"renamed", map[string]string{"jump": rootOf(h)}, map[string]string{"b": administrator(s)}, "jump", "b"},
		{"another login", map[string]string{"jump": rootOf(h), "operator": operator}, map[string]string{"b": administrator(s), "c": login(s, second, s.Password)}, "operator", "c"},
		{"back", map[string]string{"jump": rootOf(h)}, map[string]string{"b": administrator(s), "c": login(s, second, s.Password)}, "jump", "b"},
	} {
		w.write(t, "main.tf", e.config(step.hosts, step.servers, step.host, step.server))
		if output := w.run(t, "plan"); !strings.Contains(output, "0 to add, 7 to change, 0 to destroy") {
			t.Errorf("%s:\n%s", step.name, output)
		}
		w.run(t, "apply", "-auto-approve")
		if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
			t.Errorf("%s: the plan after is not empty:\n%s", step.name, output)
		}
		if after := facts(); after != before {
			t.Errorf("%s: %q became %q", step.name, before, after)
		}
	}
	// An entry is gone, and none replaces it.
	w.write(t, "main.tf", e.config(map[string]string{"other": rootOf(h)}, map[string]string{"other": administrator(s)}, "jump", "b"))
	if output, code := w.try(t, "plan"); code != 1 || !strings.Contains(words(output), "or another entry leads to the same server, use that name instead") {
		t.Errorf("no such entry: %d\n%s", code, output)
	}
	if output, code := w.try(t, "destroy", "-auto-approve"); code != 1 || !strings.Contains(words(output), "add the entry again until they are destroyed") {
		t.Errorf("destroy without the entry: %d\n%s", code, output)
	}
	w.write(t, "main.tf", e.config(map[string]string{"jump": rootOf(h)}, map[string]string{"b": administrator(s)}, "jump", "b"))
	s.Exec(t, e.database, "DROP TABLE shop.loaded")
	w.run(t, "destroy", "-auto-approve")
}

// anotherServer returns a server that is not a copy of the shared one, as all others of its major
// are.
func anotherServer(t *testing.T) *sandbox.Server {
	majors := sandbox.NeedMajors(t)
	return sandbox.OwnServer(t, sandbox.Config{Major: sandbox.SharedBefore(t, majors[len(majors)-1]).Major})
}

// An entry that leads to another server replaces what holds no data, and is refused, before
// anything changes, for what holds tables. What could not be checked is not changed.
func TestAccLocated_elsewhere(t *testing.T) {
	t.Parallel()
	s, elsewhere := sandbox.Shared(t, 0), anotherServer(t)
	role, database := s.RoleName(t), s.DatabaseName(t)
	proxy := sandbox.StartProxy(t, net.JoinHostPort(elsewhere.Host, strconv.Itoa(elsewhere.Port)))
	servers := map[string]string{
		"a": administrator(s),
		"b": administrator(elsewhere),
		"c": fmt.Sprintf("{ host = %q, port = %d, username = %q, password = %q, connect_timeout = 3 }", "127.0.0.1", proxy.Port, elsewhere.Username, elsewhere.Password),
	}
	config := func(server string) string {
		return requiredProviders + providerBlock(servers) + fmt.Sprintf(`
			resource "stitch_database_user" "u" {
				server = %[1]q
				name   = %[2]q
			}
			resource "stitch_destination_database" "d" {
				server        = %[1]q
				name          = %[3]q
				force_destroy = true
			}`, server, role, database)
	}
	w := newWorkspace(t, config("a"))
	w.run(t, "apply", "-auto-approve")
	s.Exec(t, database, "CREATE TABLE loaded (id int)")
	there := func() string {
		return strings.Join(s.Query(t, "postgres", `SELECT rolname FROM pg_roles WHERE rolname = $1 UNION ALL SELECT datname FROM pg_database WHERE datname = $2`, role, database), " ")
	}
	w.write(t, "main.tf", config("b"))
	output, code := w.try(t, "apply", "-auto-approve")
	if code != 1 || !strings.Contains(words(output), "Replacing would lose data") || !strings.Contains(words(output), "table public.loaded") || !strings.Contains(words(output), "it has the system identifier") {
		t.Errorf("exit code %d\n%s", code, output)
	}
	if got := there(); got != role+" "+database {
		t.Errorf("left: %q", got)
	}
	// The entry cannot be reached at plan time, and leads elsewhere during the apply.
	proxy.Refuse()
	w.write(t, "main.tf", config("c"))
	if output := w.run(t, "plan", "-out=saved"); !strings.Contains(output, "2 to change") || !strings.Contains(words(output), `Could not check where "c" leads`) {
		t.Errorf("the plan:\n%s", output)
	}
	proxy.Accept()
	output, code = w.try(t, "apply", "saved")
	if code != 1 || strings.Count(words(output), "Nothing was changed") != 2 {
		t.Errorf("exit code %d\n%s", code, output)
	}
	if got := elsewhere.Query(t, "postgres", `SELECT rolname FROM pg_roles WHERE rolname = $1`, role); got != nil {
		t.Errorf("created elsewhere: %q", got)
	}
	// What holds no data moves.
	s.Exec(t, database, "DROP TABLE loaded")
	w.write(t, "main.tf", config("b"))
	if output := w.run(t, "plan"); !strings.Contains(output, "2 to add, 0 to change, 2 to destroy") {
		t.Errorf("empty:\n%s", output)
	}
	w.run(t, "apply", "-auto-approve")
	if got := there(); got != "" {
		t.Errorf("left: %q", got)
	}
	w.run(t, "destroy", "-auto-approve")
}

// When the same entry suddenly leads to another server, the plan names it, and does not destroy
// what has the same name there.
func TestAccLocated_replacedServer(t *testing.T) {
	t.Parallel()
	s, elsewhere := sandbox.Shared(t, 0), anotherServer(t)
	database := s.DatabaseName(t)
	config := func(server *sandbox.Server) string {
		return requiredProviders + providerBlock(map[string]string{"a": administrator(server)}) + fmt.Sprintf(`
			resource "stitch_destination_database" "d" {
				server = "a"
				name   = %q
			}`, database)
	}
	w := newWorkspace(t, config(s))
	w.run(t, "apply", "-auto-approve")
	elsewhere.Exec(t, "postgres", "CREATE DATABASE "+database)
	w.write(t, "main.tf", config(elsewhere))
	for _, arguments := range [][]string{{"destroy", "-auto-approve"}, {"destroy", "-auto-approve", "-refresh=false"}} {
		output, code := w.try(t, arguments...)
		if code != 1 || !strings.Contains(words(output), `server "a" now leads elsewhere`) {
			t.Errorf("%q: exit code %d\n%s", arguments, code, output)
		}
	}
	if output := w.run(t, "plan"); !strings.Contains(words(output), `servers.a of the provider block led to system identifier`) {
		t.Errorf("nothing is said:\n%s", output)
	}
	w.run(t, "apply", "-auto-approve") // accepts it
	if output := w.run(t, "plan"); strings.Contains(output, "leads elsewhere") {
		t.Errorf("it is said again:\n%s", output)
	}
	w.run(t, "destroy", "-auto-approve")
}
