package provider

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func databaseConfig(s *sandbox.Server, name, arguments string) string {
	return providerBlock(map[string]string{"warehouse": administrator(s)}) + fmt.Sprintf(`
		resource "stitch_destination_database" "warehouse" {
			server = "warehouse"
			name   = %q
			%s
		}`, name, arguments)
}

func TestAccDestinationDatabase(t *testing.T) {
	const address = "stitch_destination_database.warehouse"
	s := sandbox.Shared(t, 0)
	name, owner := s.DatabaseName(t), s.Role(t)
	owned := func(want ...string) resource.TestCheckFunc {
		return wantRows(t, s, "postgres", ownerSQL, name, want...)
	}

	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             owned(),
		Steps: []resource.TestStep{
			{ // create minimal
				Config:           databaseConfig(s, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            owned(s.Username),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, tfjsonpath.New("owner"), knownvalue.StringExact(s.Username)),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("force_destroy"), knownvalue.Bool(false)),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("terminate_sessions"), knownvalue.Bool(false)),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("encoding"), knownvalue.StringExact("UTF8")),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("lc_collate"), knownvalue.StringExact("C")),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("lc_ctype"), knownvalue.StringExact("C")),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("locale_provider"), knownvalue.StringExact("libc")),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("icu_locale"), knownvalue.Null()),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("connection_limit"), knownvalue.Int64Exact(-1)),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("comment"), knownvalue.StringExact("")),
				},
			},
			{ // import
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        joinID("warehouse", name),
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "name",
			},
			{ // update in place
				Config:           databaseConfig(s, name, "owner = \""+owner+"\"\nforce_destroy = true"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            owned(owner),
			},
			{ // drift
				PreConfig:        func() { s.Exec(t, "postgres", "ALTER DATABASE "+name+" OWNER TO "+s.Username) },
				Config:           databaseConfig(s, name, "owner = \""+owner+"\"\nforce_destroy = true"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            owned(owner),
			},
			{ // an owner that is no longer configured stays
				Config:           databaseConfig(s, name, "force_destroy = true"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop),
				Check:            owned(owner),
			},
			{ // disappears
				PreConfig:          func() { s.Exec(t, "postgres", "DROP DATABASE "+name) },
				RefreshState:       true,
				ExpectNonEmptyPlan: true,
			},
			{
				Config:           databaseConfig(s, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            owned(s.Username),
			},
		},
	})
}

func TestAccDestinationDatabaseWithTables(t *testing.T) {
	const address = "stitch_destination_database.warehouse"
	s := sandbox.Shared(t, 0)
	name := s.DatabaseName(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantRows(t, s, "postgres", ownerSQL, name),
		Steps: []resource.TestStep{
			{Config: databaseConfig(s, name, "")},
			{
				PreConfig:   func() { s.Exec(t, name, "CREATE TABLE public.orders (); CREATE VIEW public.open AS SELECT 1 AS a") },
				Config:      databaseConfig(s, name, ""),
				Destroy:     true,
				ExpectError: regexp.MustCompile(`(?s)view\s+public.open.*table\s+public.orders.*force_destroy`),
			},
			{
				Config:           databaseConfig(s, name, "force_destroy = true"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			},
		},
	})
}

func TestAccDestinationDatabaseMistakes(t *testing.T) {
	s := sandbox.Shared(t, 0)
	existing, name := s.Database(t), s.DatabaseName(t)
	s.Exec(t, existing, "CREATE TABLE t ()")
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config:      databaseConfig(s, existing, ""),
				ExpectError: regexp.MustCompile(`(?s)already\s+exists.*it holds table public.t.*import {.*to = stitch_destination_database.LABEL.*id = "warehouse/` + existing + `"`),
			},
			{
				Config:      databaseConfig(s, name, `owner = "nobody at all"`),
				ExpectError: regexp.MustCompile(`role\s+"nobody\s+at\s+all"\s+does\s+not\s+exist`),
			},
			{
				Config:      databaseConfig(s, "", ""),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`a name is empty`),
			},
		},
	})
}

// With a provider that is not known yet, Terraform plans a creation from the configuration.
func TestAccDestinationDatabaseOfUnknownServer(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name := s.DatabaseName(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantRows(t, s, "postgres", ownerSQL, name),
		Steps: []resource.TestStep{{
			Config: fmt.Sprintf(`
				resource "terraform_data" "host" { input = %q }
				provider "stitch" {
					servers = {
						warehouse = { host = terraform_data.host.output, port = %d, username = %q, password = %q }
					}
				}
				resource "stitch_destination_database" "warehouse" {
					server = "warehouse"
					name   = %q
				}`, s.Host, s.Port, s.Username, s.Password, name),
			Check: wantRows(t, s, "postgres", ownerSQL, name, s.Username),
		}},
	})
}

const databaseSettingsSQL = `
	SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit, pg_catalog.shobj_description(oid, 'pg_database')
	FROM pg_catalog.pg_database
	WHERE datname = $1`

// Every setting of a database, and what happens when someone else changes it, attribute by
// attribute.
func TestAccDestinationDatabaseSettings(t *testing.T) {
	const address = "stitch_destination_database.warehouse"
	s := sandbox.Shared(t, 0)
	name := s.DatabaseName(t)
	settings := func(want ...string) resource.TestCheckFunc {
		return wantRows(t, s, "postgres", databaseSettingsSQL, name, want...)
	}
	const fixed = "encoding = \"LATIN1\"\nlc_collate = \"C\"\nlc_ctype = \"C\"\ntemplate = \"template0\"\n"
	all := databaseConfig(s, name, fixed+"connection_limit = 5\ncomment = \"loaded\"")
	drift := func(sql, attribute string, want knownvalue.Check) resource.TestStep {
		return resource.TestStep{
			PreConfig: func() { s.Exec(t, "postgres", sql) },
			Config:    all,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate),
				plancheck.ExpectKnownValue(address, tfjsonpath.New(attribute), want),
			}},
			Check: settings("LATIN1|C|C|5|loaded"),
		}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             settings(),
		Steps: []resource.TestStep{
			{Config: all, Check: settings("LATIN1|C|C|5|loaded")},
			{Config: all, ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop)},
			{
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        joinID("warehouse", name),
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore:              []string{"template"}, // no longer known
			},
			drift("COMMENT ON DATABASE "+name+" IS NULL", "comment", knownvalue.StringExact("loaded")),
			drift("ALTER DATABASE "+name+" CONNECTION LIMIT 6", "connection_limit", knownvalue.Int64Exact(5)),
			{ // what is no longer configured stays, and so does a template that never was
				Config:           databaseConfig(s, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate), // forgets the template
				Check:            settings("LATIN1|C|C|5|loaded"),
			},
			{
				Config:           databaseConfig(s, name, "template = \"template1\""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            settings("LATIN1|C|C|5|loaded"),
			},
			{
				Config:           databaseConfig(s, name, "comment = \"\""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            settings("LATIN1|C|C|5|∅"),
			},
			{Config: databaseConfig(s, name, ""), ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop)},
			{ // a comment set by hand is drift if none is configured
				PreConfig:        func() { s.Exec(t, "postgres", "COMMENT ON DATABASE "+name+" IS 'by hand'") },
				Config:           databaseConfig(s, name, "comment = \"\""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            settings("LATIN1|C|C|5|∅"),
			},
			{ // another encoding replaces it, unless it holds tables
				PreConfig:   func() { s.Exec(t, name, "CREATE TABLE public.orders ()") },
				Config:      databaseConfig(s, name, "encoding = \"UTF8\"\ntemplate = \"template0\""),
				ExpectError: regexp.MustCompile(`(?s)table\s+public.orders.*apply\s+that\s+change\s+alone`),
			},
			{Config: databaseConfig(s, name, "force_destroy = true")},
			{
				Config:           databaseConfig(s, name, "force_destroy = true\nencoding = \"UTF8\"\ntemplate = \"template0\""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionDestroyBeforeCreate),
				Check:            settings("UTF8|C|C|-1|∅"),
			},
		},
	})
}

// Text of any kind affects only what it names.
func TestAccDestinationDatabaseInjection(t *testing.T) {
	const address = "stitch_destination_database.warehouse"
	s := sandbox.Shared(t, 0)
	victim := s.Database(t)
	evil := `x'"; DROP DATABASE ` + victim + `; --\` + "\n$$"
	name := s.DatabaseName(t)
	comment := databaseConfig(s, name, fmt.Sprintf("template = \"template0\"\ncomment = %q", evil))
	refused := func(attribute string) resource.TestStep {
		return resource.TestStep{
			Config:      databaseConfig(s, name, fmt.Sprintf("%s = %q", attribute, evil[:min(len(evil), 60)])),
			ExpectError: regexp.MustCompile(`Cannot create destination database|Invalid Attribute Value Match`),
		}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy: resource.ComposeTestCheckFunc(
			wantRows(t, s, "postgres", ownerSQL, name), wantRows(t, s, "postgres", ownerSQL, victim, s.Username)),
		Steps: []resource.TestStep{
			refused("owner"), refused("template"), refused("encoding"), refused("lc_collate"), refused("lc_ctype"),
			refused("locale_provider"), refused("icu_locale"), refused("builtin_locale"),
			{
				Config: comment,
				Check: wantRows(t, s, "postgres", `SELECT pg_catalog.shobj_description(oid, 'pg_database')
					FROM pg_catalog.pg_database WHERE datname = $1`, name, evil),
			},
			{Config: comment, ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop)},
		},
	})
}

// A comment with letters that the encoding of the login's database lacks fails after the database
// was created. Nothing of the database is left, so that the next apply is like the first.
func TestAccDestinationDatabaseDroppedAgain(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name, latin := s.DatabaseName(t), s.DatabaseName(t)
	s.Exec(t, "postgres", "CREATE DATABASE "+latin+" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
	config := func(comment string) string {
		return strings.Replace(databaseConfig(s, name, "template = \"template0\"\ncomment = \""+comment+"\""), "{ host", "{ database = \""+latin+"\", host", 1)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: config("日本"), ExpectError: regexp.MustCompile(`has\s+no\s+equivalent\s+in\s+encoding`)},
			{
				PreConfig: func() {
					if left := s.Query(t, "postgres", ownerSQL, name); left != nil {
						t.Errorf("it was left: %q", left)
					}
				},
				Config: config("é"),
			},
		},
	})
}

// Other sessions keep a database from being dropped unless terminate_sessions is set.
func TestAccDestinationDatabaseTerminateSessions(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name := s.DatabaseName(t)
	connect := func() {
		servers := pgclient.NewServers(map[string]pgclient.Config{
			"other": {Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password},
		})
		server, _ := servers.Server("other")
		conn, err := server.Acquire(t.Context(), name)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(conn.Discard)
		if _, err := conn.Exec(t.Context(), "SET application_name = 'someone'"); err != nil {
			t.Error(err)
		}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantRows(t, s, "postgres", ownerSQL, name),
		Steps: []resource.TestStep{
			{Config: databaseConfig(s, name, "")},
			{
				PreConfig:   connect,
				Config:      databaseConfig(s, name, ""),
				Destroy:     true,
				ExpectError: regexp.MustCompile(`(?s)with\s+someone.*terminate_sessions`),
			},
			{Config: databaseConfig(s, name, "terminate_sessions = true")},
		},
	})
}

func TestFixed(t *testing.T) {
	text := types.StringValue
	state := destinationDatabaseModel{Name: text("d"), Encoding: text("UTF8"), LCCtype: text("C")}
	for name, tt := range map[string]struct {
		change func(*destinationDatabaseModel)
		want   []string
	}{
		"nothing":          {func(*destinationDatabaseModel) {}, nil},
		"an encoding":      {func(m *destinationDatabaseModel) { m.Encoding = text("LATIN1") }, []string{"encoding"}},
		"several":          {func(m *destinationDatabaseModel) { m.Name, m.LCCtype = text("e"), text("D") }, []string{"name", "lc_ctype"}},
		"not known yet":    {func(m *destinationDatabaseModel) { m.Encoding = types.StringUnknown() }, nil},
		"never known":      {func(m *destinationDatabaseModel) { m.Template = text("template0") }, nil},
		"an owner is none": {func(m *destinationDatabaseModel) { m.Owner = text("x") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			plan := state
			tt.change(&plan)
			if got := plan.fixed(state); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
