package provider

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/config"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const (
	roleSQL  = `SELECT rolcanlogin, rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = $1`
	ownerSQL = `SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = $1`
)

func userConfig(s *sandbox.Server, name, arguments string) string {
	return providerBlock(map[string]string{"app": administrator(s)}) + fmt.Sprintf(`
		variable "password" {
			type      = string
			default   = null
			sensitive = true
			ephemeral = true
		}
		resource "stitch_database_user" "stitch" {
			server = "app"
			name   = %q
			%s
		}`, name, arguments)
}

// wantRows checks the server's answer after a step.
func wantRows(t *testing.T, s *sandbox.Server, database, sql, name string, want ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		if got := s.Query(t, database, sql, name); strings.Join(got, "\n") != strings.Join(want, "\n") {
			return fmt.Errorf("the server has %q of %s, want %q", got, name, want)
		}
		return nil
	}
}

// wantLogin checks that a user logs in with a password.
func wantLogin(t *testing.T, s *sandbox.Server, name, password string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		servers := pgclient.NewServers(map[string]pgclient.Config{
			"user": {Host: s.Host, Port: s.Port, Username: name, Password: password},
		})
		defer servers.Close()
		server, _ := servers.Server("user")
		_, err := postgres.ReadUser(t.Context(), server, name)
		return err
	}
}

func TestAccDatabaseUser(t *testing.T) {
	const address = "stitch_database_user.stitch"
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	password := func(text string) config.Variables { return config.Variables{"password": config.StringVariable(text)} }
	role := func(want ...string) resource.TestCheckFunc { return wantRows(t, s, "postgres", roleSQL, name, want...) }
	const withPassword = "password_wo = var.password\npassword_wo_version = "

	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             role(),
		Steps: []resource.TestStep{
			{ // create minimal
				Config:           userConfig(s, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            role("t|-1"),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, tfjsonpath.New("login"), knownvalue.Bool(true)),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("connection_limit"), knownvalue.Int64Exact(-1)),
				},
			},
			{ // import
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        joinID("app", name),
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "name",
			},
			{ // update in place: a password, and a limit
				Config:           userConfig(s, name, withPassword+"1\nconnection_limit = 5"),
				ConfigVariables:  password(`first "secret"\½`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            resource.ComposeTestCheckFunc(role("t|5"), wantLogin(t, s, name, `first "secret"\½`)),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, tfjsonpath.New("password_wo"), knownvalue.Null()),
				},
			},
			{ // another password alone is no change
				Config:           userConfig(s, name, withPassword+"1\nconnection_limit = 5"),
				ConfigVariables:  password("second"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop),
				Check:            wantLogin(t, s, name, `first "secret"\½`),
			},
			{ // another version is
				Config:           userConfig(s, name, withPassword+"2\nconnection_limit = 5"),
				ConfigVariables:  password("second"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            wantLogin(t, s, name, "second"),
			},
			{ // a password that is no longer managed stays
				Config:           userConfig(s, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            resource.ComposeTestCheckFunc(role("t|-1"), wantLogin(t, s, name, "second")),
			},
			{ // drift
				PreConfig:        func() { s.Exec(t, "postgres", "ALTER ROLE "+name+" NOLOGIN CONNECTION LIMIT 3") },
				Config:           userConfig(s, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            role("t|-1"),
			},
			{ // disappears
				PreConfig:          func() { s.Exec(t, "postgres", "DROP ROLE "+name) },
				RefreshState:       true,
				ExpectNonEmptyPlan: true,
			},
			{
				Config:           userConfig(s, name, withPassword+"1"),
				ConfigVariables:  password("third"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            wantLogin(t, s, name, "third"),
			},
		},
	})
}

func TestAccDatabaseUserMistakes(t *testing.T) {
	s := sandbox.Shared(t, 0)
	existing, name := s.Role(t), s.RoleName(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config:      userConfig(s, existing, ""),
				ExpectError: regexp.MustCompile(`(?s)already\s+exists.*it has a password, but none is configured.*import {.*to = stitch_database_user.LABEL.*id = "app/` + existing + `"`),
			},
			{
				Config:      userConfig(s, strings.Repeat("x", 64), ""),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`64\s+bytes`),
			},
			{
				Config:      userConfig(s, name, `password_wo = "x"`),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`"password_wo_version" must be specified`),
			},
			{
				Config:      userConfig(s, name, `password_wo_version = 1`),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`"password_wo" must be specified`),
			},
			{
				Config:      userConfig(s, name, `connection_limit = -2`),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`between -1`),
			},
			{
				Config:      strings.Replace(userConfig(s, name, ""), `server = "app"`, `server = "ap"`, 1),
				ExpectError: regexp.MustCompile(`no\s+entry\s+"ap":\s+it\s+has\s+app`),
			},
		},
	})
}

// A password that is unknown at plan time, because its resource is still to be created, is known
// when it is sent.
func TestAccDatabaseUserUnknownPassword(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{{
			Config: userConfig(s, name, "password_wo = terraform_data.password.output\npassword_wo_version = 1") +
				"\nresource \"terraform_data\" \"password\" { input = \"from elsewhere\" }",
			Check: wantLogin(t, s, name, "from elsewhere"),
		}},
	})
}

// A user on whom objects depend is not dropped, and the error names them.
func TestAccDatabaseUserWithObjects(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name, database := s.RoleName(t), s.Database(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: userConfig(s, name, "")},
			{
				PreConfig:   func() { s.Exec(t, database, "CREATE SCHEMA shop AUTHORIZATION "+name) },
				Config:      userConfig(s, name, ""),
				Destroy:     true,
				ExpectError: regexp.MustCompile(`(?s)` + database + `":\s+owner\s+of\s+schema\s+shop.*REASSIGN\s+OWNED\s+BY\s+"` + name),
			},
			{
				PreConfig: func() { s.Exec(t, database, "DROP SCHEMA shop") },
				Config:    userConfig(s, name, ""),
				Destroy:   true,
				Check:     wantRows(t, s, "postgres", roleSQL, name),
			},
		},
	})
}

// A user and the database with its objects go together, in whatever order Terraform destroys them,
// even over a single connection.
func TestAccDatabaseUserWithItsDatabase(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name, database := s.RoleName(t), s.DatabaseName(t)
	configuration := strings.Replace(userConfig(s, name, ""), "{ host", "{ max_connections = 1, host", 1) + fmt.Sprintf(`
		resource "stitch_destination_database" "warehouse" {
			server        = "app"
			name          = %q
			force_destroy = true
		}
		resource "stitch_destination_schema" "shop" {
			server   = "app"
			database = stitch_destination_database.warehouse.name
			name     = "shop"
			owner    = stitch_database_user.stitch.name
		}`, database)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy: resource.ComposeTestCheckFunc(
			wantRows(t, s, "postgres", roleSQL, name), wantRows(t, s, "postgres", ownerSQL, database)),
		Steps: []resource.TestStep{{
			Config: configuration,
			Check: func(*terraform.State) error {
				s.Exec(t, database, "CREATE TABLE public.orders (); ALTER TABLE public.orders OWNER TO "+name)
				return nil
			},
		}},
	})
}

// A server that cannot be reached says nothing about its contents.
func TestAccDatabaseUserUnreachable(t *testing.T) {
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantRows(t, s, "postgres", roleSQL, name),
		Steps: []resource.TestStep{
			{Config: userConfig(s, name, "")},
			{
				Config:   strings.Replace(userConfig(s, name, ""), fmt.Sprint("port = ", s.Port), "port = 1", 1),
				PlanOnly: true,
			},
			{ // but it cannot be imported
				Config:       strings.Replace(userConfig(s, name, ""), fmt.Sprint("port = ", s.Port), "port = 1", 1),
				ResourceName: "stitch_database_user.stitch", ImportState: true, ImportStateId: joinID("app", name),
				ExpectError: regexp.MustCompile(`(?s)Cannot read database user.*connect to server "app"`),
			},
			{Config: userConfig(s, name, ""), PlanOnly: true},
		},
	})
}
