package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// newWholeBehindProxies is newWhole, applied, with servers that tests can cut off and
// administrators who can lose their login.
func newWholeBehindProxies(t *testing.T) (w *workspace, source, destination *sandbox.Server, behind map[string]*sandbox.Proxy) {
	t.Helper()
	w, source, destination = newWhole(t, 0)
	behind = map[string]*sandbox.Proxy{}
	for entry, s := range map[string]*sandbox.Server{"app": source, "warehouse": destination} {
		behind[entry] = sandbox.StartProxy(t, fmt.Sprintf("%s:%d", s.Host, s.Port))
		s.Exec(t, "postgres", "CREATE ROLE admin SUPERUSER LOGIN PASSWORD '"+s.Password+"'")
	}
	w.env = append(w.env, `TF_VAR_admin={"source":"admin","destination":"admin"}`,
		fmt.Sprintf(`TF_VAR_ports={"source":%d,"destination":%d}`, behind["app"].Port, behind["warehouse"].Port))
	w.run(t, "apply", "-auto-approve")
	return w, source, destination, behind
}

// A server that cannot be read holds up only what must change there: the state of its resources is
// kept, and one warning names it.
func TestAccServerDown(t *testing.T) {
	t.Parallel()
	w, source, destination, behind := newWholeBehindProxies(t)
	servers := map[string]*sandbox.Server{"app": source, "warehouse": destination}
	for _, test := range []struct {
		what       string
		harm, mend func(entry string)
	}{
		{"down", func(entry string) { behind[entry].Refuse(); behind[entry].Cut() }, func(entry string) { behind[entry].Accept() }},
		{"login revoked",
			func(entry string) {
				servers[entry].Exec(t, "postgres", "ALTER ROLE admin NOLOGIN; ALTER ROLE stitch NOLOGIN")
			},
			func(entry string) {
				servers[entry].Exec(t, "postgres", "ALTER ROLE admin LOGIN; ALTER ROLE stitch LOGIN")
			}},
	} {
		for entry, other := range map[string]string{"app": "warehouse", "warehouse": "app"} {
			what := entry + " " + test.what
			test.harm(entry)
			output, code := w.try(t, "plan", "-detailed-exitcode")
			if code != 0 || !says(`Could not connect to server "`+entry+`"`).MatchString(output) {
				t.Errorf("%s: the plan: exit code %d\n%s", what, code, output)
			}
			// Changes elsewhere succeed, changes there fail.
			limit := map[string]string{"app": "source", "warehouse": "destination"}
			changed := strings.NewReplacer(
				`resource "stitch_database_user" "`+limit[entry]+`" {`, `resource "stitch_database_user" "`+limit[entry]+`" { `+"\nconnection_limit = 7\n",
				`resource "stitch_database_user" "`+limit[other]+`" {`, `resource "stitch_database_user" "`+limit[other]+`" { `+"\nconnection_limit = 8\n",
			).Replace(wholeConfig)
			w.write(t, "main.tf", changed)
			if output, code := w.try(t, "apply", "-auto-approve"); code != 1 || !says("Cannot update database user").MatchString(output) {
				t.Errorf("%s: the apply: exit code %d\n%s", what, code, output)
			}
			limitSQL := `SELECT rolconnlimit FROM pg_roles WHERE rolname = 'stitch'`
			if got := servers[other].Query(t, "postgres", limitSQL); len(got) != 1 || got[0] != "8" {
				t.Errorf("%s: the limit of the other user is %q", what, got)
			}
			test.mend(entry)
			w.write(t, "main.tf", wholeConfig)
			w.run(t, "apply", "-auto-approve")
			if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
				t.Errorf("%s: the plan once it is back: exit code %d\n%s", what, code, output)
			}
		}
	}
}

// However many resources a server has, a plan warns of it once for each entry that leads there.
func TestAccServerDownOnce(t *testing.T) {
	t.Parallel()
	w, _, _, behind := newWholeBehindProxies(t)
	w.write(t, "main.tf", wholeConfig+`
		resource "stitch_replication" "more" {
			for_each    = toset(["one", "two", "three", "four", "five"])
			name        = each.key
			source      = { server = "app_stitch", database = stitch_source_grants.app.database }
			destination = { server = "warehouse_stitch", database = stitch_destination_grants.warehouse.database }
			tables      = { "public.countries" = { replication_method = "FULL_TABLE" } }
		}`)
	behind["app"].Refuse()
	behind["app"].Cut()
	warns := func(what string, want ...string) {
		t.Helper()
		output := w.run(t, "plan")
		if got := strings.Count(output, "Warning: ") - strings.Count(output, "Warning: Provider development overrides"); got != len(want) {
			t.Errorf("%s: %d warnings, want %d\n%s", what, got, len(want), output)
		}
		for _, entry := range want {
			if !says(`Warning: Could not connect to server "` + entry + `"`).MatchString(output) {
				t.Errorf("%s: no warning of %q\n%s", what, entry, output)
			}
		}
	}
	warns("new replications", "app", "app_stitch")
	behind["app"].Accept()
	w.run(t, "apply", "-auto-approve")
	for _, proxy := range behind {
		proxy.Refuse()
		proxy.Cut()
	}
	warns("both down", "app", "app_stitch", "warehouse", "warehouse_stitch")
}

// A destination that became a standby can be read, and a destination whose database was dropped is
// drift. Neither stops the plan.
func TestAccServerOtherwise(t *testing.T) {
	t.Parallel()
	w, _, destination, behind := newWholeBehindProxies(t)
	env := w.env
	standby := sandbox.OwnServer(t, sandbox.Config{StandbyOf: destination})
	w.env = append(w.env, fmt.Sprintf(`TF_VAR_ports={"source":%d,"destination":%d}`, behind["app"].Port, standby.Port))
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("a standby: exit code %d\n%s", code, output)
	}
	w.env = env
	destination.Exec(t, "postgres", "DROP DATABASE analytics")
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 2 || !strings.Contains(output, "4 to add, 0 to change, 0 to destroy") {
		t.Errorf("no database: exit code %d\n%s", code, output)
	}
	w.run(t, "apply", "-auto-approve")
}

// Neither does an SSH host that is down.
func TestAccSSHHostDown(t *testing.T) {
	t.Parallel()
	h, s := sandbox.SharedSSHHost(t, sandbox.HostConfig{}), sandbox.Shared(t, 0)
	proxy := sandbox.StartProxy(t, fmt.Sprintf("%s:%d", h.Host, h.Port))
	username, role := h.UserName(), s.RoleName(t)
	_, key := newSSHKey(t)
	config := func(shell, limit string) string {
		return requiredProviders + sshProviderBlock(
			map[string]string{"bastion": strings.Replace(rootOf(h), fmt.Sprint(h.Port), fmt.Sprint(proxy.Port), 1)},
			map[string]string{"app": administrator(s)},
		) + fmt.Sprintf(`
			resource "stitch_ssh_user" "u" {
				host     = "bastion"
				username = %q
				shell    = %q
			}
			resource "stitch_ssh_authorized_key" "u" {
				host       = "bastion"
				username   = stitch_ssh_user.u.username
				public_key = %q
			}
			resource "stitch_database_user" "u" {
				server           = "app"
				name             = %q
				connection_limit = %s
			}`, username, shell, key, role, limit)
	}
	w := newWorkspace(t, config("/bin/sh", "1"))
	w.run(t, "apply", "-auto-approve")
	proxy.Refuse()
	proxy.Cut()
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 || !says(`Could not connect to SSH host "bastion"`).MatchString(output) {
		t.Errorf("the plan: exit code %d\n%s", code, output)
	}
	w.write(t, "main.tf", config("/bin/sh", "2"))
	w.run(t, "apply", "-auto-approve")
	w.write(t, "main.tf", config("/bin/bash", "3"))
	if output, code := w.try(t, "apply", "-auto-approve"); code != 1 || !says("Cannot update SSH user").MatchString(output) {
		t.Errorf("the apply: exit code %d\n%s", code, output)
	}
	if got := s.Query(t, "postgres", `SELECT rolconnlimit FROM pg_roles WHERE rolname = $1`, role); len(got) != 1 || got[0] != "3" {
		t.Errorf("the limit of the database user is %q", got)
	}
	proxy.Accept()
	w.run(t, "apply", "-auto-approve")
	w.run(t, "destroy", "-auto-approve")
}
