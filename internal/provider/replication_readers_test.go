package provider

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// mayRead checks which of the named roles may read a table of the schema shop.
func (p *pipe) mayRead(t *testing.T, table string, may []string, not ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, role := range slices.Concat(may, not) {
			got := p.Query(t, p.destination, `SELECT has_schema_privilege($1, 'shop', 'USAGE') AND has_table_privilege($1, 'shop.' || $2::text, 'SELECT')`, role, table)
			if want := fmt.Sprintf("%.1s", fmt.Sprint(slices.Contains(may, role))); !slices.Equal(got, []string{want}) {
				return fmt.Errorf("%q may read %s: %q, want %s", role, table, got, want)
			}
		}
		return nil
	}
}

// readersOf returns the argument for readers.
func readersOf(names ...string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return "readers = [" + strings.Join(quoted, ", ") + "]\n"
}

// lackingReaders checks which privileges a refresh found missing for readers. The plan then grants
// them.
type lackingReaders []string

func (want lackingReaders) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	items := make([]any, len(want))
	for i, item := range slices.Sorted(slices.Values(want)) {
		items[i] = item
	}
	for _, change := range req.Plan.ResourceChanges {
		before, _ := change.Change.Before.(map[string]any)
		after, _ := change.Change.After.(map[string]any)
		if change.Address == "stitch_replication.shop" && (!reflect.DeepEqual(before["readers_missing"], items) || !reflect.DeepEqual(after["readers_missing"], []any{})) {
			resp.Error = fmt.Errorf("readers_missing goes from %q to %q, want from %q to none", before["readers_missing"], after["readers_missing"], items)
		}
	}
}

// Readers come and go in place, without a run, and privileges that they lost are drift, item by
// item.
func TestAccReplication_readers(t *testing.T) {
	const address = "stitch_replication.shop"
	majors := sandbox.NeedMajors(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			p := newPipe(t, sandbox.Shared(t, major))
			analysts, auditors := p.Role(t), p.Role(t)
			p.atDestination(t, `REVOKE ALL ON DATABASE `+p.destination+` FROM PUBLIC; GRANT CONNECT, TEMPORARY ON DATABASE `+p.destination+` TO `+p.writer)
			config := func(readers, trigger string) string { return p.runConfig(readers+twoTables, trigger) }
			inPlace := func(run plancheck.ResourceActionType, checks ...plancheck.PlanCheck) resource.ConfigPlanChecks {
				return planned(address, plancheck.ResourceActionUpdate, append(checks, plancheck.ExpectResourceAction(syncRunAddress, run))...)
			}
			imported := resource.TestStep{
				ResourceName: address, ImportState: true, ImportStateId: p.id(), ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "id",
			}
			drift := func(sql string, missing ...string) resource.TestStep {
				return resource.TestStep{
					PreConfig:         func() { p.atDestination(t, sql) },
					Config:            config(readersOf(analysts), "1"),
					ConfigPlanChecks:  inPlace(plancheck.ResourceActionNoop, lackingReaders(missing)),
					Check:             p.mayRead(t, "orders", []string{analysts}, auditors),
					ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(address, tfjsonpath.New("readers_missing"), knownvalue.ListExact(nil))},
				}
			}
			resource.ParallelTest(t, resource.TestCase{
				ProtoV6ProviderFactories: factories(),
				CheckDestroy: func(*terraform.State) error { // the tables stay, the privileges do not
					if got := p.Query(t, p.destination, `SELECT relname FROM pg_class CROSS JOIN aclexplode(relacl) WHERE grantee = $1::text::regrole`, analysts); got != nil {
						return fmt.Errorf("%s may still read %q", analysts, got)
					}
					return nil
				},
				Steps: []resource.TestStep{
					{Config: config("", "1"), Check: p.mayRead(t, "orders", nil, analysts, auditors)},
					imported,
					{ // added: in place, without a run
						Config: config(readersOf(analysts, auditors), "1"), ConfigPlanChecks: inPlace(plancheck.ResourceActionNoop),
						Check: p.mayRead(t, "orders", []string{analysts, auditors}),
					},
					{Config: config(readersOf(auditors, analysts), "1"), PlanOnly: true},
					imported,
					{ // removed
						Config: config(readersOf(analysts), "1"), ConfigPlanChecks: inPlace(plancheck.ResourceActionNoop),
						Check: p.mayRead(t, "orders", []string{analysts}, auditors),
					},
					drift(`REVOKE SELECT ON shop.orders FROM `+analysts, "SELECT ON TABLE shop.orders TO "+analysts),
					drift(`REVOKE USAGE ON SCHEMA shop FROM `+analysts, "USAGE ON SCHEMA shop TO "+analysts),
					drift(`ALTER DEFAULT PRIVILEGES FOR ROLE `+p.writer+` IN SCHEMA shop REVOKE SELECT ON TABLES FROM `+analysts,
						"DEFAULT SELECT ON TABLES IN SCHEMA shop OF "+p.writer+" TO "+analysts),
					{ // a dropped role cannot be granted anything
						PreConfig:        func() { p.atDestination(t, `DROP OWNED BY `+analysts+`; DROP ROLE `+analysts) },
						Config:           config(readersOf(analysts), "1"),
						ConfigPlanChecks: inPlace(plancheck.ResourceActionNoop, lackingReaders{"ROLE " + analysts}),
						ExpectError:      says(`these readers do not exist on the destination server: ` + analysts),
					},
					drift(`CREATE ROLE `+analysts, "SELECT ON TABLE shop.countries TO "+analysts, "SELECT ON TABLE shop.orders TO "+analysts,
						"USAGE ON SCHEMA shop TO "+analysts, "DEFAULT SELECT ON TABLES IN SCHEMA shop OF "+p.writer+" TO "+analysts),
					{ // a table that comes
						Config: p.runConfig(readersOf(analysts)+threeTables, "1"), ConfigPlanChecks: inPlace(plancheck.ResourceActionUpdate),
						Check: p.mayRead(t, "billing_orders", []string{analysts}, auditors),
					},
					{Config: p.runConfig("readers = []\n"+threeTables, "1"), Check: p.mayRead(t, "orders", nil, analysts)},
					{Config: p.runConfig("readers = []\n"+threeTables, "1"), PlanOnly: true},
					imported,
					{Config: p.runConfig(readersOf(analysts)+threeTables, "1"), Check: p.mayRead(t, "orders", []string{analysts})},
				},
			})
		})
	}
}

// The run that creates the schema grants readers their privileges; names may be odd, and may be
// known only during the apply.
func TestAccReplication_readersOfNewSchema(t *testing.T) {
	const address = "stitch_replication.shop"
	s := sandbox.Shared(t, 0)
	odd := "odd \"'\n.ü " + s.RoleName(t)
	quoted := `"` + strings.ReplaceAll(odd, `"`, `""`) + `"`
	s.Exec(t, "postgres", `CREATE ROLE `+quoted)
	t.Cleanup(func() { s.Exec(t, "postgres", `DROP ROLE `+quoted) }) // after the databases
	p := newPipe(t, s)
	reader := p.Role(t)
	config := p.runConfig("readers = [terraform_data.odd.output, "+fmt.Sprintf("%q", reader)+"]\n"+twoTables, "1") + fmt.Sprintf(`
		resource "terraform_data" "odd" { input = %q }`, odd)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config: config,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectKnownValue(address, tfjsonpath.New("revision"), knownvalue.NotNull()),
				}},
				Check: p.mayRead(t, "countries", []string{odd, reader}),
			},
			{Config: config, PlanOnly: true},
			{ // a login that does not work yet keeps the state
				PreConfig: func() { p.Exec(t, p.source, `ALTER ROLE `+p.writer+` NOLOGIN`) },
				Config:    config, PlanOnly: true,
			},
			{
				PreConfig: func() { p.Exec(t, p.source, `ALTER ROLE `+p.writer+` LOGIN`) },
				Config:    config, PlanOnly: true,
			},
		},
	})
}

func TestAccReplication_readersMistakes(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	var steps []resource.TestStep
	for readers, message := range map[string]string{
		`["public"]`:                          `"public" stands for every role and cannot be a reader`,
		`["PUBLIC"]`:                          `"PUBLIC" stands for every role`,
		`[""]`:                                `a name is empty`,
		`[null]`:                              `null value`,
		`"analysts"`:                          `set of string required`,
		`["` + strings.Repeat("x", 64) + `"]`: `PostgreSQL allows at most 63`,
	} {
		steps = append(steps, resource.TestStep{Config: p.config("Shop", "readers = "+readers+"\n"+twoTables), PlanOnly: true, ExpectError: says(message)})
	}
	steps = append(steps,
		resource.TestStep{ // another resource of the same apply might create the role
			Config: p.config("Shop", readersOf("nobody")+twoTables), PlanOnly: true, ExpectNonEmptyPlan: true,
		},
		resource.TestStep{
			Config:      p.config("Shop", readersOf("nobody")+twoTables),
			ExpectError: says(`Create the role first, for instance with CREATE ROLE "nobody", or remove it from readers`),
		},
		resource.TestStep{ // known only during the apply
			Config: p.config("Shop", "readers = [terraform_data.all.output]\n"+twoTables) + `
				resource "terraform_data" "all" { input = "public" }`,
			ExpectError: says(`"public" stands for every role`),
		})
	resource.ParallelTest(t, resource.TestCase{ProtoV6ProviderFactories: factories(), Steps: steps, CheckDestroy: p.assertNoCatalog(t)})
}
