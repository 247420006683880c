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

const schemaOwnerSQL = `SELECT pg_catalog.pg_get_userbyid(nspowner) FROM pg_catalog.pg_namespace WHERE nspname = $1`

func schemaConfig(s *sandbox.Server, database, name, arguments string) string {
	return providerBlock(map[string]string{"warehouse": administrator(s)}) + fmt.Sprintf(`
		resource "stitch_destination_schema" "shop" {
			server   = "warehouse"
			database = %q
			name     = %q
			%s
		}`, database, name, arguments)
}

func TestAccDestinationSchema(t *testing.T) {
	const address, name = "stitch_destination_schema.shop", "my/shop"
	s := sandbox.Shared(t, 0)
	database, owner := s.Database(t), s.Role(t)
	owned := func(want ...string) resource.TestCheckFunc {
		return wantRows(t, s, database, schemaOwnerSQL, name, want...)
	}
	comment := `x'"; DROP SCHEMA public; --\` + "\n$$ ü"
	commented := func(want string) resource.TestCheckFunc {
		return wantRows(t, s, database, `SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace WHERE nspname = $1`, name, want)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             owned(),
		Steps: []resource.TestStep{
			{ // create minimal
				Config:           schemaConfig(s, database, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            owned(s.Username),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, tfjsonpath.New("owner"), knownvalue.StringExact(s.Username)),
				},
			},
			{ // import
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        "warehouse/" + database + "/my%2Fshop",
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "name",
			},
			{ // update in place
				Config:           schemaConfig(s, database, name, "owner = \""+owner+"\""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            owned(owner),
			},
			{ // drift
				PreConfig:        func() { s.Exec(t, database, `ALTER SCHEMA "my/shop" OWNER TO `+s.Username) },
				Config:           schemaConfig(s, database, name, "owner = \""+owner+"\""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            owned(owner),
			},
			{ // an owner that is no longer configured stays
				Config:           schemaConfig(s, database, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop),
				Check:            owned(owner),
			},
			{
				Config:           schemaConfig(s, database, name, fmt.Sprintf("comment = %q", comment)),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            commented(comment),
			},
			{ // drift
				PreConfig:        func() { s.Exec(t, database, `COMMENT ON SCHEMA "my/shop" IS NULL`) },
				Config:           schemaConfig(s, database, name, fmt.Sprintf("comment = %q", comment)),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            commented(comment),
			},
			{ // a comment that is no longer configured stays, an empty one is none
				Config:           schemaConfig(s, database, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop),
			},
			{
				Config:           schemaConfig(s, database, name, `comment = ""`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            commented("∅"),
			},
			{
				Config:           schemaConfig(s, database, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop),
			},
			{ // disappears
				PreConfig:          func() { s.Exec(t, database, `DROP SCHEMA "my/shop"`) },
				RefreshState:       true,
				ExpectNonEmptyPlan: true,
			},
			{
				Config:           schemaConfig(s, database, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            owned(s.Username),
			},
		},
	})
}

func TestAccDestinationSchemaWithTables(t *testing.T) {
	const address = "stitch_destination_schema.shop"
	s := sandbox.Shared(t, 0)
	database := s.Database(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantRows(t, s, database, schemaOwnerSQL, "shop"),
		Steps: []resource.TestStep{
			{Config: schemaConfig(s, database, "shop", "")},
			{
				PreConfig:   func() { s.Exec(t, database, "CREATE TABLE shop.orders ()") },
				Config:      schemaConfig(s, database, "shop", ""),
				Destroy:     true,
				ExpectError: regexp.MustCompile(`(?s)table\s+shop.orders.*force_destroy`),
			},
			{
				Config:           schemaConfig(s, database, "shop", "force_destroy = true"),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			},
		},
	})
}

// A schema is gone when its database is. Destroying it then succeeds.
func TestAccDestinationSchemaOfDroppedDatabase(t *testing.T) {
	s := sandbox.Shared(t, 0)
	database := s.Database(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: schemaConfig(s, database, "shop", "")},
			{
				PreConfig:          func() { s.Exec(t, "postgres", "DROP DATABASE "+database+" WITH (FORCE)") },
				RefreshState:       true,
				ExpectNonEmptyPlan: true,
			},
		},
	})
}

func TestAccDestinationSchemaMistakes(t *testing.T) {
	s := sandbox.Shared(t, 0)
	database := s.Database(t)
	s.Exec(t, database, "CREATE SCHEMA existing; CREATE TABLE existing.t ()")
	var steps []resource.TestStep
	for _, name := range []string{"public", "_stitch", "pg_temp", "information_schema"} {
		steps = append(steps, resource.TestStep{
			Config:      schemaConfig(s, database, name, ""),
			PlanOnly:    true,
			ExpectError: regexp.MustCompile(`choose\s+another\s+name`),
		})
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: append(steps,
			resource.TestStep{
				Config:      schemaConfig(s, database, "existing", ""),
				ExpectError: regexp.MustCompile(`(?s)already\s+exists.*it holds table existing.t.*import {.*to = stitch_destination_schema.LABEL.*id = "warehouse/` + database + `/existing"`),
			},
			resource.TestStep{
				Config:      schemaConfig(s, "no such database", "shop", ""),
				ExpectError: regexp.MustCompile(`has\s+no\s+database\s+"no\s+such\s+database"`),
			},
		),
	})
}
