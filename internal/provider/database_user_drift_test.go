package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const (
	wholeRoleSQL = `
		SELECT rolcanlogin, rolconnlimit, rolreplication, coalesce(rolvaliduntil::text, 'infinity'), ARRAY(SELECT unnest(rolconfig) ORDER BY 1)
		FROM pg_catalog.pg_roles
		WHERE rolname = $1`

	wholeUser = `
		connection_limit = 5
		valid_until      = "2040-01-01T01:00:00+01:00"
		replication      = true
		parameters       = {
			datestyle         = "ISO, DMY"
			search_path       = "App,\"$user\", public"
			statement_timeout = "30s"
		}`
	wholeRole = `t|5|t|2040-01-01 00:00:00+00|{"DateStyle=ISO, DMY","search_path=app, \"$user\", public",statement_timeout=30s}`
)

// The next plan shows each attribute that was changed on the server, and its apply repairs it.
func TestAccDatabaseUserDrift(t *testing.T) {
	const address = "stitch_database_user.stitch"
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	role := func(want ...string) resource.TestCheckFunc {
		return wantRows(t, s, "postgres", wholeRoleSQL, name, want...)
	}
	steps := []resource.TestStep{
		{
			Config:           userConfig(s, name, wholeUser),
			ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
			Check:            role(wholeRole),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("valid_until"), knownvalue.StringExact("2040-01-01T01:00:00+01:00")),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("parameters").AtMapKey("search_path"), knownvalue.StringExact(`App,"$user", public`)),
			},
		},
		{ // another spelling of the instant is no change
			Config:           userConfig(s, name, strings.Replace(wholeUser, "01:00:00+01:00", "00:00:00Z", 1)),
			ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop),
		},
	}
	for _, drift := range []struct{ sql, attribute string }{
		{"SUPERUSER", "excess"},
		{"CREATEROLE", "excess"},
		{"CREATEDB", "excess"},
		{"BYPASSRLS", "bypass_rls"},
		{"NOLOGIN", "login"},
		{"CONNECTION LIMIT 3", "connection_limit"},
		{"NOREPLICATION", "replication"},
		{"VALID UNTIL 'infinity'", "valid_until"},
		{"VALID UNTIL '-infinity'", "valid_until"},
		{"SET statement_timeout = 1000", "parameters"},
		{"SET search_path = other", "parameters"},
		{"RESET DateStyle", "parameters"},
		{"SET my.own = 'x'", "parameters"},
		{"RESET ALL", "parameters"},
	} {
		steps = append(steps, resource.TestStep{
			PreConfig:        func() { s.Exec(t, "postgres", "ALTER ROLE "+name+" "+drift.sql) },
			Config:           userConfig(s, name, wholeUser),
			ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate, onlyDiffers{address, drift.attribute}),
			Check:            role(wholeRole),
		})
	}
	steps = append(steps,
		resource.TestStep{ // import: the server's values, in its own spelling
			ResourceName:                         address,
			ImportState:                          true,
			ImportStateId:                        joinID("app", name),
			ImportStateVerify:                    true,
			ImportStateVerifyIdentifierAttribute: "name",
			ImportStateVerifyIgnore:              []string{"valid_until", "parameters.%", "parameters.datestyle", "parameters.DateStyle", "parameters.search_path"},
		},
		resource.TestStep{ // what is left out is reset, except parameters
			Config:           userConfig(s, name, ""),
			ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			Check:            role(`t|-1|f|infinity|{"DateStyle=ISO, DMY","search_path=app, \"$user\", public",statement_timeout=30s}`),
		},
		resource.TestStep{ // which are no longer checked
			PreConfig:        func() { s.Exec(t, "postgres", "ALTER ROLE "+name+" SET statement_timeout = '45s'") },
			Config:           userConfig(s, name, ""),
			ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop),
		},
		resource.TestStep{
			Config:           userConfig(s, name, "parameters = {}\nvalid_until = \"infinity\""),
			ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			Check:            role("t|-1|f|infinity|{}"),
		},
		resource.TestStep{ // renamed: the old name is gone, and created again
			PreConfig:        func() { s.Exec(t, "postgres", "ALTER ROLE "+name+" RENAME TO "+s.RoleName(t)) },
			Config:           userConfig(s, name, ""),
			ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
			Check:            role("t|-1|f|infinity|{}"),
		},
	)
	resource.ParallelTest(t, resource.TestCase{ProtoV6ProviderFactories: factories(), Steps: steps})
}

// A plan sets a password again that was changed on the server, with a warning that says why; it
// does not do so for another ephemeral value. Neither plan nor state contains the password or what
// the server stores of it.
func TestAccDatabaseUserPasswordDrift(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	const withPassword = "password_wo = var.password\npassword_wo_version = 1"
	w := newWorkspace(t, requiredProviders+userConfig(s, name, withPassword))
	apply := func(password string) {
		t.Helper()
		w.run(t, "apply", "-auto-approve", "-var=password="+password)
	}
	plan := func(password string, want int) string {
		t.Helper()
		output, code := w.try(t, "plan", "-detailed-exitcode", "-var=password="+password)
		if code != want {
			t.Errorf("exit code %d, want %d\n%s", code, want, output)
		}
		return output
	}
	apply("first-secret")
	plan("another-secret", 0)

	s.Exec(t, "postgres", "ALTER ROLE "+name+" PASSWORD 'by-hand'")
	output := plan("another-secret", 2)
	for _, want := range []string{"Password changed on the server", `"` + name + `"`, "+ password_wo_version"} {
		if !strings.Contains(output, want) {
			t.Errorf("the plan lacks %q:\n%s", want, output)
		}
	}
	apply("another-secret")
	if err := wantLogin(t, s, name, "another-secret")(nil); err != nil {
		t.Error(err)
	}
	plan("another-secret", 0)

	state := w.state(t)
	for _, secret := range append(s.Query(t, "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = $1", name), "first-secret", "another-secret", "by-hand") {
		if strings.Contains(state, secret) {
			t.Errorf("the state holds %q", secret)
		}
	}

	// A resource that does not manage the password ignores it, and so does one that was imported.
	w.write(t, "main.tf", requiredProviders+userConfig(s, name, ""))
	apply("x")
	s.Exec(t, "postgres", "ALTER ROLE "+name+" PASSWORD 'by-hand'")
	plan("x", 0)
	w.run(t, "state", "rm", "stitch_database_user.stitch")
	w.run(t, "import", "-var=password=x", "stitch_database_user.stitch", joinID("app", name))
	s.Exec(t, "postgres", "ALTER ROLE "+name+" PASSWORD 'by-another-hand'")
	plan("x", 0)
}

// onlyDiffers checks that nothing but one attribute is planned to change.
type onlyDiffers struct{ address, attribute string }

func (want onlyDiffers) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, change := range req.Plan.ResourceChanges {
		if change.Address != want.address {
			continue
		}
		before, _ := change.Change.Before.(map[string]any)
		after, _ := change.Change.After.(map[string]any)
		for attribute := range after {
			if differs := !reflect.DeepEqual(before[attribute], after[attribute]); differs != (attribute == want.attribute) {
				resp.Error = fmt.Errorf("%s changes from %v to %v", attribute, before[attribute], after[attribute])
			}
		}
	}
}

// Names and values with any content affect what they name, and nothing else.
func TestAccDatabaseUserHostile(t *testing.T) {
	const address = "stitch_database_user.stitch"
	s := sandbox.Shared(t, 0)
	admin, victim := s.Role(t), s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+admin+" CREATEROLE")
	if s.Major >= 16 {
		s.Exec(t, "postgres", "GRANT "+victim+" TO "+admin+" WITH ADMIN OPTION")
	}
	unharmed := func(*terraform.State) error {
		if got := s.Query(t, "postgres", wholeRoleSQL, victim); len(got) != 1 || got[0] != "t|-1|f|infinity|{}" {
			return fmt.Errorf("the victim is now %q", got)
		}
		return nil
	}
	attack := func(prefix string) string { return prefix + `'"\; DROP ROLE ` + victim + "; --\n" }
	var steps []resource.TestStep
	for _, name := range []string{
		attack(""), attack("a"), `"; ALTER ROLE ` + victim + ` SUPERUSER`, `'x`, `\'`, "line\nbreak\ttab", "a.b/c%d@e", "½ 日本 " + strings.Repeat("x", 63-len("½ 日本 ")), " ", "PUBLIC", "select",
	} {
		name = name[:min(len(name), 51)] + s.RoleName(t)[5:] // what the server has is unique
		quoted := pgclient.Ident(name)
		t.Cleanup(func() { s.Exec(t, "postgres", "DROP ROLE IF EXISTS "+quoted) })
		steps = append(steps,
			resource.TestStep{
				Config: hostileConfig(s, admin, name, attack("p"), attack("v")),
				Check: resource.ComposeTestCheckFunc(unharmed, wantLogin(t, s, name, attack("p")),
					wantRows(t, s, "postgres", `SELECT rolconfig[1] FROM pg_roles WHERE rolname = $1`, name, "application_name="+attack("v"))),
				ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
			resource.TestStep{
				ResourceName: address, ImportState: true, ImportStateId: joinID("app", name),
				ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore: []string{"password_wo_version", "reassign_owned_to"},
			},
			resource.TestStep{ // a role of that name does not exist
				PreConfig: func() { s.Exec(t, "postgres", "GRANT CONNECT ON DATABASE postgres TO "+quoted) },
				Config:    hostileConfig(s, admin, name, attack("p"), attack("v")), Destroy: true,
				ExpectError: regexp.MustCompile(`in\s+reassign_owned_to\s+does\s+not\s+exist`), Check: unharmed,
			},
			resource.TestStep{
				PreConfig: func() { s.Exec(t, "postgres", "REVOKE CONNECT ON DATABASE postgres FROM "+quoted) },
				Config:    hostileConfig(s, admin, name, attack("p"), attack("v")), Check: unharmed,
			},
		)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps:                    steps,
		CheckDestroy:             unharmed,
	})
}

func hostileConfig(s *sandbox.Server, admin, name, password, value string) string {
	return providerBlock(map[string]string{"app": login(s, admin, s.Password)}) + fmt.Sprintf(`
		resource "stitch_database_user" "stitch" {
			server              = "app"
			name                = %s
			password_wo         = %s
			password_wo_version = 1
			parameters          = { application_name = %s }
			reassign_owned_to   = %s
		}`, hcl(name), hcl(password), hcl(value), hcl("no '\"; DROP ROLE "+admin))
}

// hcl writes a text as HCL does.
func hcl(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return err.Error()
	}
	return strings.NewReplacer(`${`, `$${`, `%{`, `%%{`).Replace(string(quoted))
}

// A plan refuses what PostgreSQL would refuse.
func TestAccDatabaseUserRefused(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	var steps []resource.TestStep
	for _, tt := range []struct{ arguments, says string }{
		{`valid_until = "tomorrow"`, "neither infinity nor an instant"},
		{`valid_until = "2030-01-01T00:00:00Z'; DROP ROLE x; --"`, "neither infinity nor an instant"},
		{`valid_until = ""`, "neither infinity nor an instant"},
		{`parameters = { "a; DROP ROLE x" = "1" }`, "cannot be the name of a parameter"},
		{`parameters = { "a\"" = "1" }`, "cannot be the name of a parameter"},
		{`parameters = { search_path = "a,,b" }`, "a name is empty"},
		{`parameters = { search_path = "a b" }`, "needs double quotes"},
		{`parameters = { work_mem = "a\u0000b" }`, "zero byte"},
		{`parameters = { work_mem = null }`, "is null"},
		{`parameters = { work_mem = "1MB", Work_Mem = "2MB" }`, "are the same parameter"},
		{`parameters = { session_preload_libraries = "" }`, "leave the parameter out"},
		{"password_wo = \"se\\u0000cret\"\npassword_wo_version = 1", "must not contain a zero byte"},
		{`password_encryption = "plain"`, "value must be one of"},
		{fmt.Sprintf("reassign_owned_to = %q", name), "cannot be reassigned to the same user"},
		{`reassign_owned_to = "x\u0000"`, "zero byte"},
	} {
		steps = append(steps, resource.TestStep{Config: userConfig(s, name, tt.arguments), PlanOnly: true, ExpectError: says(tt.says)})
	}
	steps = append(steps,
		resource.TestStep{Config: strings.Replace(userConfig(s, name, ""), fmt.Sprintf("%q", name), `"a\u0000b"`, 1), PlanOnly: true, ExpectError: says("zero byte")},
		resource.TestStep{Config: userConfig(s, name, `parameters = { work_mem = "much" }`), ExpectError: says(`invalid value for parameter "work_mem"`)},
		resource.TestStep{Config: userConfig(s, name, `parameters = { no_such = "1" }`), ExpectError: says(`unrecognized configuration parameter "no_such"`)},
	)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(), Steps: steps,
		CheckDestroy: wantRows(t, s, "postgres", roleSQL, name),
	})
}

// With reassign_owned_to, a user goes and what it owned stays.
func TestAccDatabaseUserReassigns(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name, heir, database := s.RoleName(t), s.Role(t), s.Database(t)
	const tableOwnerSQL = `SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = $1`
	config := userConfig(s, name, fmt.Sprintf("terminate_sessions = true\nreassign_owned_to = %q", heir))
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: userConfig(s, name, "")},
			{
				PreConfig:        func() { s.Exec(t, database, "CREATE TABLE public.kept (); ALTER TABLE public.kept OWNER TO "+name) },
				Config:           config,
				ConfigPlanChecks: planned("stitch_database_user.stitch", plancheck.ResourceActionUpdate),
			},
		},
		CheckDestroy: resource.ComposeTestCheckFunc(
			wantRows(t, s, "postgres", roleSQL, name), wantRows(t, s, database, tableOwnerSQL, "kept", heir)),
	})
}
