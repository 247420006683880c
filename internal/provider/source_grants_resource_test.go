package provider

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A grantsShop is a database with two schemas that only the superuser may read, and a user that
// will read them.
type grantsShop struct {
	*sandbox.Server
	database, user string
}

func newGrantsShop(t *testing.T) grantsShop {
	t.Helper()
	s := sandbox.Shared(t, 0)
	shop := grantsShop{Server: s, database: s.Database(t), user: s.RoleName(t)}
	shop.exec(t, `
		CREATE ROLE `+shop.user+`;
		REVOKE ALL ON DATABASE `+shop.database+` FROM PUBLIC;
		REVOKE ALL ON SCHEMA public FROM PUBLIC;
		CREATE TABLE public.orders (id int);
		CREATE VIEW public.open_orders AS SELECT * FROM public.orders;
		CREATE SCHEMA billing;
		CREATE TABLE billing.invoices (id int)`)
	return shop
}

func (s grantsShop) exec(t *testing.T, sql string) {
	t.Helper()
	s.Exec(t, s.database, sql)
}

// changed is exec as a step's PreConfig.
func (s grantsShop) changed(t *testing.T, sql string) func() {
	return func() { s.exec(t, sql) }
}

// config returns the provider and source grants with further arguments.
func (s grantsShop) config(arguments string) string {
	return providerBlock(map[string]string{"app": administrator(s.Server)}) + fmt.Sprintf(`
		resource "stitch_source_grants" "app" {
			server   = "app"
			database = %q
			user     = %q
			%s
		}`, s.database, s.user, arguments)
}

func (s grantsShop) importID() string { return joinID("app", s.database, s.user) }

// assertNoRights checks that the user has no privilege in the database, never granted or no longer.
func (s grantsShop) assertNoRights(t *testing.T) func(*terraform.State) error {
	return func(*terraform.State) error {
		left := s.Query(t, s.database, `
			SELECT pg_describe_object(classid, objid, objsubid)
			FROM pg_shdepend
			WHERE refclassid = 'pg_authid'::regclass AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = $1)`, s.user)
		if left != nil {
			return fmt.Errorf("%s still has rights on %q", s.user, left)
		}
		return nil
	}
}

func planned(address string, action plancheck.ResourceActionType, more ...plancheck.PlanCheck) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{
		PreApply:             append(more, plancheck.ExpectResourceAction(address, action)),
		PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
	}
}

// foundDrift checks which items a refresh found, in missing or excess. The plan then corrects them.
type foundDrift struct {
	address, attribute string
	items              []any
}

func (want foundDrift) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, change := range req.Plan.ResourceChanges {
		if change.Address != want.address {
			continue
		}
		before, _ := change.Change.Before.(map[string]any)
		after, _ := change.Change.After.(map[string]any)
		if !reflect.DeepEqual(before[want.attribute], want.items) || !reflect.DeepEqual(after[want.attribute], []any{}) {
			resp.Error = fmt.Errorf("%s goes from %q to %q, want from %q to none", want.attribute, before[want.attribute], after[want.attribute], want.items)
		}
		return
	}
	resp.Error = fmt.Errorf("the plan has no %s", want.address)
}

func TestAccSourceGrants(t *testing.T) {
	const address = "stitch_source_grants.app"
	shop := newGrantsShop(t)
	state := func(attribute string, want knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(address, tfjsonpath.New(attribute), want)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             shop.assertNoRights(t),
		Steps: []resource.TestStep{
			{ // create minimal
				Config:           shop.config(`schemas = ["public"]`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				ConfigStateChecks: []statecheck.StateCheck{
					state("future_tables", knownvalue.Bool(true)),
					state("tables", knownvalue.Null()),
					state("missing", knownvalue.ListExact(nil)),
				},
			},
			{ // import
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        shop.importID(),
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "user",
			},
			{ // update in place
				Config:           shop.config(`schemas = ["public", "billing"]`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			},
			{ // drift: two privileges are gone
				PreConfig: shop.changed(t, "REVOKE SELECT ON public.open_orders FROM "+shop.user+"; REVOKE USAGE ON SCHEMA billing FROM "+shop.user),
				Config:    shop.config(`schemas = ["public", "billing"]`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate,
					foundDrift{address, "missing", []any{"SELECT ON VIEW public.open_orders", "USAGE ON SCHEMA billing"}}),
				ConfigStateChecks: []statecheck.StateCheck{state("missing", knownvalue.ListExact(nil))},
			},
			{ // drift: the user has a grant option
				PreConfig: shop.changed(t, "GRANT SELECT ON public.orders TO "+shop.user+" WITH GRANT OPTION"),
				Config:    shop.config(`schemas = ["public", "billing"]`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate,
					foundDrift{address, "excess", []any{"SELECT ON TABLE public.orders WITH GRANT OPTION"}}),
				ConfigStateChecks: []statecheck.StateCheck{state("excess", knownvalue.ListExact(nil))},
			},
			{ // later objects are covered
				PreConfig:        shop.changed(t, "CREATE TABLE billing.later (id int)"),
				Config:           shop.config(`schemas = ["public", "billing"]`),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
			{ // in place again
				Config: shop.config(`
					schemas       = ["public", "billing"]
					future_tables = false`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			},
			{ // and later objects are not
				PreConfig: shop.changed(t, "CREATE TABLE billing.uncovered (id int)"),
				Config: shop.config(`
					schemas       = ["public", "billing"]
					future_tables = false`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate, foundDrift{address, "missing", []any{"SELECT ON TABLE billing.uncovered"}}),
			},
			{ // only some tables, in place
				Config: shop.config(`
					schemas = ["public"]
					tables  = ["public.orders", "public.\"open_orders\""]`),
				ConfigPlanChecks:  planned(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: []statecheck.StateCheck{state("future_tables", knownvalue.Bool(false))},
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
				PreConfig: shop.changed(t, "CREATE ROLE "+shop.user),
				Config: shop.config(`
					schemas = ["public"]
					tables  = ["public.orders"]`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
			},
		},
	})
}

func TestAccSourceGrantsMistakes(t *testing.T) {
	shop := newGrantsShop(t)
	step := func(arguments, message string) resource.TestStep {
		return resource.TestStep{Config: shop.config(arguments), ExpectError: regexp.MustCompile(message)}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			step(`schemas = ["pg_catalog"]`, `holds\s+no\s+data\s+to\s+replicate`),
			step(`schemas = []`, `at least 1 elements`),
			step("schemas = [\"public\"]\ntables = [\"orders\"]", `write it as schema.table`),
			step("schemas = [\"public\"]\ntables = [\"billing.invoices\"]", `is in none of the schemas`),
			step("schemas = [\"public\"]\ntables = [\"public.orders\"]\nfuture_tables = true", `exclude each other`),
			step("schemas = [\"public\"]\ntables = []", `only\s+columns\s+are\s+granted`),
			step("schemas = [\"public\"]\ncolumns = {}", `at least 1 elements`),
			step("schemas = [\"public\"]\ncolumns = { \"public.orders\" = [] }", `at least 1 elements`),
			step("schemas = [\"public\"]\ncolumns = { \"orders\" = [\"id\"] }", `write it as schema.table`),
			step("schemas = [\"public\"]\ncolumns = { \"billing.invoices\" = [\"id\"] }", `is in none of the schemas`),
			step("schemas = [\"public\"]\ntables = [\"public.orders\"]\ncolumns = { \"public.\\\"orders\\\"\" = [\"id\"] }", `from\s+one\s+of\s+the\s+two`),
			step("schemas = [\"public\"]\ncolumns = { \"public.orders\" = [\"idd\"] }", `(?s)these do not exist:\s+COLUMN\s+idd\s+OF\s+TABLE\s+public.orders`),
			step("schemas = [\"public\"]\ntables = [\"public.odrers\"]", `(?s)these do not exist:\s+TABLE\s+public.odrers`),
			step(`schemas = ["public", "bilings"]`, `(?s)these do not exist:\s+SCHEMA\s+bilings`),
		},
	})
}

func TestAccSourceGrantsImportWithoutGrants(t *testing.T) {
	shop := newGrantsShop(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config:        shop.config(`schemas = ["public"]`),
				ResourceName:  "stitch_source_grants.app",
				ImportState:   true,
				ImportStateId: shop.importID(),
				ExpectError:   regexp.MustCompile(`(?s)schemas\s+on\s+which\s+USAGE\s+was\s+granted:\s+not\s+found`),
			},
			{
				Config:        shop.config(`schemas = ["public"]`),
				ResourceName:  "stitch_source_grants.app",
				ImportState:   true,
				ImportStateId: "app/" + shop.database,
				ExpectError:   regexp.MustCompile(`server/database/user`),
			},
		},
	})
}
