package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Powers of a user beyond the configured ones are drift, item by item, and so is a role of which
// the user is no longer a member. An import warns of such powers.
func TestAccDatabaseUserPowers(t *testing.T) {
	const address = "stitch_database_user.stitch"
	s := sandbox.Shared(t, 0)
	name, group, other := s.RoleName(t), s.Role(t), s.Role(t)
	config := userConfig(s, name, fmt.Sprintf("roles = [%q]\nbypass_rls = true", group))
	const powersSQL = `
		SELECT rolsuper, rolbypassrls, ARRAY(SELECT roleid::regrole::text || admin_option FROM pg_auth_members WHERE member = r.oid)
		FROM pg_roles AS r
		WHERE rolname = $1`
	asWanted := wantRows(t, s, "postgres", powersSQL, name, "f|t|{"+group+"false}")
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: config, ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate), Check: asWanted},
			{
				PreConfig: func() {
					s.Exec(t, "postgres", "ALTER ROLE "+name+" SUPERUSER; GRANT "+other+" TO "+name+"; GRANT "+group+" TO "+name+" WITH ADMIN OPTION")
				},
				Config: config,
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate,
					foundDrift{address, "excess", []any{"ADMIN OPTION FOR " + group, "MEMBER OF " + other, "SUPERUSER"}}),
				Check: asWanted,
			},
			{
				PreConfig:        func() { s.Exec(t, "postgres", "REVOKE "+group+" FROM "+name) },
				Config:           config,
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate, onlyDiffers{address, "roles"}),
				Check:            asWanted,
			},
			{
				Config:           userConfig(s, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            wantRows(t, s, "postgres", powersSQL, name, "f|f|{}"),
			},
			{Config: userConfig(s, name, fmt.Sprintf("roles = [%q]", name)), ExpectError: says("a member of itself")},
			{Config: userConfig(s, name, `roles = ["rds_replication"]`), ExpectError: says("comes with replication = true")},
			{Config: userConfig(s, name, "")},
		},
	})
}

// Importing a user with more powers than Stitch's names them in a warning.
func TestAccDatabaseUserPowers_import(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name, group := s.RoleName(t), s.Role(t)
	w := newWorkspace(t, requiredProviders+userConfig(s, name, ""))
	s.Exec(t, "postgres", "CREATE ROLE "+name+" SUPERUSER CREATEDB REPLICATION LOGIN; GRANT "+group+" TO "+name)
	output := w.run(t, "import", "stitch_database_user.stitch", joinID("app", name))
	if want := says(name + `" of server "app" has these attributes and memberships: CREATEDB, MEMBER OF ` + group + ", SUPERUSER, REPLICATION."); !want.MatchString(output) {
		t.Errorf("got %s\nwithout a warning of what it is", output)
	}
	if output := w.run(t, "plan"); !strings.Contains(output, `- "SUPERUSER"`) || !strings.Contains(output, `- "MEMBER OF `+group+`"`) {
		t.Errorf("the plan shows no excess:\n%s", output)
	}
	w.run(t, "apply", "-auto-approve")
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("exit code %d\n%s", code, output)
	}
}

// A secret was rotated in an entry that runs log in with, but password_wo_version was not raised:
// the plan names it, and so does the error of the login. A plan does not name a password that no
// entry logs in with, such as one that is generated for each plan.
func TestAccDatabaseUserRotated(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name, source, destination := s.RoleName(t), s.Database(t), s.Database(t)
	s.Exec(t, source, "CREATE TABLE public.t (id int PRIMARY KEY)")
	config := func(version int) string {
		user := strings.Replace(userConfig(s, name, fmt.Sprintf("password_wo = var.password\npassword_wo_version = %d", version)),
			"  servers = {\n", "  servers = {\n    app_stitch = "+strings.Replace(login(s, name, "X"), `"X"`, "var.password", 1)+"\n", 1)
		return requiredProviders + user + fmt.Sprintf(`
			resource "stitch_source_grants" "app" {
				server   = "app"
				database = %q
				user     = stitch_database_user.stitch.name
				schemas  = ["public"]
			}
			resource "stitch_destination_grants" "app" {
				server   = "app"
				database = %q
				user     = stitch_database_user.stitch.name
			}
			resource "stitch_replication" "shop" {
				name        = "Shop"
				source      = { server = "app_stitch", database = stitch_source_grants.app.database }
				destination = { server = "app_stitch", database = stitch_destination_grants.app.database }
				tables      = { "public.t" = { replication_method = "FULL_TABLE" } }
			}
			resource "stitch_sync_run" "shop" {
				replication = stitch_replication.shop.id
				triggers    = { password = %d }
			}`, source, destination, version)
	}
	w := newWorkspace(t, config(1))
	w.run(t, "apply", "-auto-approve", "-var=password=first-secret")
	output, code := w.try(t, "plan", "-detailed-exitcode", "-var=password=second-secret")
	for _, want := range []string{
		"servers.app_stitch already logs in with it, but the server still has another password",
		"Raise password_wo_version (now 1)",
		"raise password_wo_version of its stitch_database_user",
	} {
		if !says(want).MatchString(output) {
			t.Errorf("exit code %d\n%s\nlacks %q", code, output, want)
		}
	}
	if says("This is expected as long as").MatchString(output) {
		t.Errorf("the plan says that all is well:\n%s", output)
	}
	w.write(t, "main.tf", strings.Replace(config(1), "triggers    = { password = 1 }", "triggers = { password = 0 }", 1))
	output, code = w.try(t, "apply", "-auto-approve", "-var=password=second-secret")
	if code == 0 || !says("raise password_wo_version of its stitch_database_user").MatchString(output) {
		t.Errorf("exit code %d\n%s", code, output)
	}
	w.write(t, "main.tf", config(2))
	if output = w.run(t, "plan", "-var=password=second-secret"); says("the server still has another password").MatchString(output) {
		t.Errorf("the plan warns of what it sets right:\n%s", output)
	}
	w.run(t, "apply", "-auto-approve", "-var=password=second-secret")
	if output = w.run(t, "plan", "-var=password=second-secret"); strings.Contains(output, "Warning: The password") {
		t.Errorf("the plan warns still:\n%s", output)
	}
}
