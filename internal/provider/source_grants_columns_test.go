package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
)

// Columns are granted, imported, repaired item by item, narrowed and revoked; a column that is not
// listed is never granted.
func TestAccSourceGrantsColumns(t *testing.T) {
	const address = "stitch_source_grants.app"
	shop := newGrantsShop(t)
	shop.exec(t, "CREATE TABLE public.customers (id int, name text, secret text)")
	listed := shop.config(`
		schemas = ["public"]
		columns = { "public.customers" = ["id", "name"] }`)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             shop.assertNoRights(t),
		Steps: []resource.TestStep{
			{Config: listed, ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate)},
			{
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        shop.importID(),
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "user",
			},
			{ // drift
				PreConfig: shop.changed(t, "REVOKE SELECT (name) ON public.customers FROM "+shop.user),
				Config:    listed,
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate,
					foundDrift{address, "missing", []any{"SELECT (name) ON TABLE public.customers"}}),
			},
			{ // the table was created again, and default privileges expose all of it
				PreConfig: shop.changed(t, "DROP TABLE public.customers; CREATE TABLE public.customers (id int, name text, secret text)"),
				Config:    listed,
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate,
					foundDrift{address, "excess", []any{"SELECT ON TABLE public.customers"}}),
			},
			{ // only fewer, in place
				Config: shop.config(`
					schemas = ["public"]
					tables  = []
					columns = { "public.customers" = ["id"] }`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			},
			{ // a column no longer exists
				PreConfig: shop.changed(t, "ALTER TABLE public.customers DROP COLUMN id"),
				Config: shop.config(`
					schemas = ["public"]
					tables  = []
					columns = { "public.customers" = ["id"] }`),
				ExpectError: says(`these do not exist: COLUMN id OF TABLE public.customers`),
			},
		},
	})
}
