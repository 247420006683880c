package provider

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func checkConfig(entry, arguments string) string {
	return providerBlock(map[string]string{"app_stitch": entry}) + `
		data "stitch_connection_check" "app" {
			server = "app_stitch"
			` + arguments + `
		}
		output "advice" { value = data.stitch_connection_check.app.advice }`
}

func TestAccConnectionCheck(t *testing.T) {
	const address = "data.stitch_connection_check.app"
	s := sandbox.Shared(t, 0)
	database, user := s.Database(t), s.Role(t)
	s.Exec(t, database, `
		CREATE TABLE orders (id int PRIMARY KEY, updated_at timestamptz);
		CREATE TABLE "ta.ble" (id int)`)
	known := func(path string, want knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(address, tfjsonpath.New(path), want)
	}
	held := func(privilege, object string, is bool) knownvalue.Check {
		return knownvalue.ObjectExact(map[string]knownvalue.Check{
			"privilege": knownvalue.StringExact(privilege), "object": knownvalue.StringExact(object),
			"held": knownvalue.Bool(is), "reason": knownvalue.NotNull(),
		})
	}
	entry := login(s, user, s.Password)
	source := `
		database = "` + database + `"
		use_as   = "source"
		schemas  = ["public"]
		tables   = {
			"public.orders"       = { replication_method = "INCREMENTAL", replication_key = "updated_at" }
			"public.\"ta.ble\""   = { replication_method = "FULL_TABLE" }
		}`
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{ // the connection alone
				Config: checkConfig(entry, ""),
				ConfigStateChecks: []statecheck.StateCheck{
					known("database", knownvalue.StringExact("postgres")),
					known("ready", knownvalue.Bool(true)),
					known("advice", knownvalue.ListSizeExact(0)),
					known("privileges", knownvalue.ListSizeExact(0)),
					known("version", knownvalue.NotNull()),
					known("major_version", knownvalue.Int64Exact(int64(s.Major))),
					known("tested", knownvalue.Bool(true)),
					known("tested_major_versions", knownvalue.ListSizeExact(5)),
					known("tls", knownvalue.Bool(false)),
					known("tls_version", knownvalue.Null()),
					known("client_address", knownvalue.StringExact("127.0.0.1")),
					known("server_address", knownvalue.StringExact("127.0.0.1")),
					known("server_port", knownvalue.Int64Exact(int64(s.Port))),
					known("username", knownvalue.StringExact(user)),
					known("superuser", knownvalue.Bool(false)),
					known("pooling", knownvalue.StringExact("none")),
					known("standby", knownvalue.Bool(false)),
					known("max_standby_streaming_delay", knownvalue.StringExact("30s")),
					known("wal_level", knownvalue.StringExact("replica")),
					known("max_replication_slots", knownvalue.Int64Exact(10)),
				},
			},
			{ // what is missing
				Config: checkConfig(entry, source),
				ConfigStateChecks: []statecheck.StateCheck{
					known("ready", knownvalue.Bool(false)),
					known("advice", knownvalue.ListSizeExact(3)),
					known("privileges", knownvalue.ListPartial(map[int]knownvalue.Check{
						0: held("CONNECT", "DATABASE "+database, true),
						1: held("USAGE", "SCHEMA public", true),
						2: held("SELECT", "ALL TABLES IN SCHEMA public", false),
						3: held("SELECT", "TABLE public.orders", false),
						4: held("SELECT", `TABLE public."ta.ble"`, false),
						5: held("SELECT", "FUTURE TABLES IN SCHEMA public OF postgres", false),
					})),
					known("replication_keys_without_index", knownvalue.MapExact(map[string]knownvalue.Check{
						"public.orders": knownvalue.StringExact("updated_at"),
					})),
				},
			},
			{ // and no longer is
				PreConfig: func() {
					s.Exec(t, database, `
						GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+user+`;
						ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO `+user+`;
						CREATE INDEX ON orders (updated_at)`)
				},
				Config: checkConfig(entry, source),
				ConfigStateChecks: []statecheck.StateCheck{
					known("ready", knownvalue.Bool(true)),
					known("advice", knownvalue.ListSizeExact(0)),
					known("replication_keys_without_index", knownvalue.MapSizeExact(0)),
				},
			},
			{ // as a destination
				Config: checkConfig(entry, `
					database = "`+database+`"
					use_as   = "destination"`),
				ConfigStateChecks: []statecheck.StateCheck{
					known("ready", knownvalue.Bool(false)),
					known("privileges", knownvalue.ListPartial(map[int]knownvalue.Check{1: held("CREATE", "DATABASE "+database, false)})),
				},
			},
		},
	})
}

// Advice on indexes that the user has decided to do without is not repeated. The fact stays.
func TestAccConnectionCheck_withoutIndex(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	database := s.Database(t)
	s.Exec(t, database, "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz); CREATE TABLE items (id int PRIMARY KEY, at timestamptz)")
	config := func(more string) string {
		return requiredProviders + checkConfig(administrator(s), `
			database = "`+database+`"
			use_as   = "source"
			tables   = { "public.orders" = { replication_key = "at" }, "public.items" = { replication_key = "at" } }
			`+more)
	}
	w := newWorkspace(t, config(""))
	for more, want := range map[string]string{
		"": `"public"."items" ("at")|"public"."orders" ("at")`, `without_index = ["public.orders"]`: `"public"."items" ("at")`,
		`without_index = ["public.orders", "public.\"items\""]`: "",
	} {
		w.write(t, "main.tf", config(more))
		output := w.run(t, "plan")
		var got []string
		for _, line := range strings.Split(output, "\n") {
			if _, table, is := strings.Cut(line, "CREATE INDEX ON "); is {
				got = append(got, strings.TrimSuffix(table, ";"))
			}
		}
		slices.Sort(got) // it is a warning, and in the advice
		if got = slices.Compact(got); strings.Join(got, "|") != want {
			t.Errorf("%s: indexes are advised on %q\n%s", more, got, output)
		}
	}
	w.write(t, "main.tf", config(`without_index = ["public.other"]`))
	if output, code := w.try(t, "plan"); code != 1 || !says("public.other is not in tables").MatchString(output) {
		t.Errorf("another table: exit code %d\n%s", code, output)
	}
}

func TestAccConnectionCheckMistakes(t *testing.T) {
	s := sandbox.Shared(t, 0)
	var steps []resource.TestStep
	for _, tt := range []struct{ entry, arguments, message string }{
		{administrator(s), `schemas = ["public"]`, "Missing use_as"},
		{administrator(s), "use_as = \"destination\"\ntables = { \"public.a\" = {} }", "Only a source has tables to check"},
		{administrator(s), "use_as = \"source\"\ntables = { \"orders\" = {} }", "write it as schema.table"},
		{administrator(s), `use_as = "reader"`, `value must be one of: ["source" "destination"]`},
		{administrator(s), `database = "no such"`, `has no database "no such"`},
		{login(s, s.Username, "wrong"), "", "Check the username and password of servers.app_stitch"},
		{`{ host = "127.0.0.1", port = 1, username = "u" }`, "", "Check the host and port of servers.app_stitch"},
		{`{ host = "127.0.0.1", port = 1, username = "u", password_command = ["sh", "-c", "echo expired >&2; exit 1"] }`, "", `password_command "sh": exit status 1: expired`},
	} {
		steps = append(steps, resource.TestStep{Config: checkConfig(tt.entry, tt.arguments), ExpectError: says(tt.message)})
	}
	resource.ParallelTest(t, resource.TestCase{ProtoV6ProviderFactories: factories(), Steps: steps})
}

// The advice is a warning, once, and says what to do; it fails nothing.
func TestAccConnectionCheckAdvice(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	w := newWorkspace(t, requiredProviders+checkConfig(administrator(s), `use_as = "source"`))
	output := w.run(t, "plan")
	if n := strings.Count(output, "Warning: The login \"postgres\" is a superuser"); n != 1 || !strings.Contains(output, "stitch_source_grants") {
		t.Errorf("%d warnings in\n%s", n, output)
	}
	w.run(t, "apply", "-auto-approve")
	if plan, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("a second plan is not empty: exit code %d\n%s", code, plan)
	}
}

// A check of something that does not exist at plan time takes place during the apply.
func TestAccConnectionCheckDeferred(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	config := func(host, dependsOn string) string {
		return requiredProviders + fmt.Sprintf(`
			resource "terraform_data" "host" { input = %q }
			provider "stitch" {
				servers = {
					app        = %s
					app_stitch = { host = %s, port = %d, username = %q, password = %q }
				}
			}
			resource "stitch_database_user" "stitch" {
				server              = "app"
				name                = %q
				password_wo         = %q
				password_wo_version = 1
			}
			data "stitch_connection_check" "app" {
				server = "app_stitch"
				%s
			}
			output "username" { value = data.stitch_connection_check.app.username }`,
			s.Host, administrator(s), host, s.Port, name, s.Password, name, s.Password, dependsOn)
	}
	const unknown = "terraform_data.host.output"
	w := newWorkspace(t, config(unknown, ""))
	if output, code := w.try(t, "plan"); code == 0 || !says("list what it depends on in its depends_on").MatchString(output) {
		t.Errorf("an unknown host: exit code %d\n%s", code, output)
	}
	w.write(t, "main.tf", config(unknown, "depends_on = [stitch_database_user.stitch, terraform_data.host]"))
	if output := w.run(t, "apply", "-auto-approve"); !strings.Contains(output, `username = "`+name+`"`) {
		t.Errorf("the check was not made:\n%s", output)
	}
	w.run(t, "destroy", "-auto-approve")
}

// The output of a password command is in no log, plan or state.
func TestAccPasswordCommandIsNotLogged(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	dir := t.TempDir()
	secret := filepath.Join(dir, "token")
	if err := os.WriteFile(secret, []byte(s.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	entry := func(command string) string {
		return fmt.Sprintf("{ host = %q, port = %d, username = %q, password_command = %s }", s.Host, s.Port, s.Username, command)
	}
	log := filepath.Join(dir, "log")
	w := newWorkspace(t, requiredProviders+checkConfig(entry(`["cat", "`+secret+`"]`), ""), "TF_LOG=TRACE", "TF_LOG_PATH="+log)
	w.run(t, "plan", "-out=plan")
	w.run(t, "apply", "plan")
	w.write(t, "main.tf", requiredProviders+checkConfig(entry(`["sh", "-xc", "cat `+secret+`; exit 1"]`), ""))
	output, code := w.try(t, "plan")
	if code == 0 || strings.Contains(output, s.Password) {
		t.Errorf("exit code %d\n%s", code, output)
	}
	text, err := os.ReadFile(log)
	if err != nil || len(text) == 0 {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"log": string(text), "state": w.state(t), "plan": w.run(t, "show", "-json", "plan")} {
		if strings.Contains(content, s.Password) {
			t.Errorf("the password is in the %s", name)
		}
	}
}
