package provider

import (
	"fmt"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

func TestAccDestinationGrants(t *testing.T) {
	const address = "stitch_destination_grants.warehouse"
	shop := newGrantsShop(t)
	config := func(arguments string) string {
		return providerBlock(map[string]string{"warehouse": administrator(shop.Server)}) + fmt.Sprintf(`
			resource "stitch_destination_grants" "warehouse" {
				server   = "warehouse"
				database = %q
				user     = %q
				%s
			}`, shop.database, shop.user, arguments)
	}
	systemCatalogs := func(want bool) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			statecheck.ExpectKnownValue(address, tfjsonpath.New("system_catalogs"), knownvalue.Bool(want)),
			statecheck.ExpectKnownValue(address, tfjsonpath.New("missing"), knownvalue.ListExact(nil)),
		}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             shop.assertNoRights(t),
		Steps: []resource.TestStep{
			{ // create minimal
				Config:            config(""),
				ConfigPlanChecks:  planned(address, plancheck.ResourceActionCreate),
				ConfigStateChecks: systemCatalogs(false),
			},
			{ // import
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        joinID("warehouse", shop.database, shop.user),
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "user",
			},
			{ // update in place
				Config:            config("system_catalogs = true"),
				ConfigPlanChecks:  planned(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: systemCatalogs(true),
			},
			{ // drift
				PreConfig: shop.changed(t, "REVOKE CREATE ON DATABASE "+shop.database+" FROM "+shop.user+"; REVOKE SELECT ON pg_class FROM PUBLIC, "+shop.user),
				Config:    config("system_catalogs = true"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate, foundDrift{
					address, "missing", []any{"CREATE ON DATABASE " + shop.database, "SELECT ON TABLE pg_catalog.pg_class"},
				}),
				ConfigStateChecks: systemCatalogs(true),
			},
			{ // disappears: the user is dropped and created again
				PreConfig:          shop.changed(t, "DROP OWNED BY "+shop.user+"; DROP ROLE "+shop.user),
				RefreshState:       true,
				ExpectNonEmptyPlan: true,
				RefreshPlanChecks: resource.RefreshPlanChecks{
					PostRefresh: []plancheck.PlanCheck{plancheck.ExpectResourceAction(address, plancheck.ResourceActionCreate)},
				},
			},
			{
				PreConfig:         shop.changed(t, "CREATE ROLE "+shop.user),
				Config:            config(""),
				ConfigPlanChecks:  planned(address, plancheck.ResourceActionCreate),
				ConfigStateChecks: systemCatalogs(false),
			},
		},
	})
}

// One user may read from a database and load into it; each resource revokes its own grants.
func TestAccGrantsOfBothEnds(t *testing.T) {
	shop := newGrantsShop(t)
	config := shop.config(`schemas = ["public"]`) + fmt.Sprintf(`
		resource "stitch_destination_grants" "app" {
			server   = "app"
			database = %q
			user     = %q
		}`, shop.database, shop.user)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             shop.assertNoRights(t),
		Steps: []resource.TestStep{
			{Config: config},
			{ // CONNECT, which both grant, stays for the remaining one
				Config:           shop.config(`schemas = ["public"]`),
				ConfigPlanChecks: planned("stitch_destination_grants.app", plancheck.ResourceActionDestroy),
			},
		},
	})
}
