package provider

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

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
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config:      databaseConfig(s, existing, ""),
				ExpectError: regexp.MustCompile(`(?s)already\s+exists.*stitch_destination_database.<label>\s+'warehouse/` + existing),
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

// With a provider that is not known yet, creating is planned from the configuration.
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
