package provider

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A loaded table that is gone from the destination is drift, however it went. Tables that the
// replication no longer loads may go.
func TestAccSyncRun_missingTables(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	missing := tfjsonpath.New("missing_tables")
	check := resource.ComposeTestCheckFunc(
		p.same(t, "public.orders", "shop.orders", "id", "total", "updated_at"),
		p.same(t, "public.countries", "shop.countries", "code", "name"))
	gone := func(names string, sql string) resource.TestStep {
		return resource.TestStep{
			PreConfig: func() { p.atDestination(t, sql) }, RefreshState: true, ExpectNonEmptyPlan: true,
			Check: resource.ComposeTestCheckFunc(
				resource.TestCheckResourceAttr(syncRunAddress, "missing_tables.#", fmt.Sprint(len(strings.Fields(names)))),
				resource.TestCheckResourceAttr(syncRunAddress, "missing_tables.0", strings.Fields(names)[0])),
		}
	}
	again := resource.TestStep{
		Config: p.runConfig(twoTables, "1"), Check: check,
		ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
			plancheck.ExpectResourceAction(syncRunAddress, plancheck.ResourceActionUpdate),
			plancheck.ExpectUnknownValue(syncRunAddress, tfjsonpath.New("run_id")),
		}},
		ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(syncRunAddress, missing, knownvalue.ListSizeExact(0))},
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: p.runConfig(twoTables, "1"), Check: check},
			gone("orders", `DROP TABLE shop.orders`), again,
			gone("countries", `ALTER TABLE shop.countries RENAME TO countries_old`), again,
			gone("countries orders", `DROP SCHEMA shop CASCADE`), again,
			{Config: p.runConfig(`tables = { "public.orders" = { replication_method = "INCREMENTAL", replication_key = "updated_at", exclude_columns = ["note"] } }`, "1")},
			{
				PreConfig: func() { p.atDestination(t, `DROP TABLE shop.countries`) },
				Config:    p.runConfig(`tables = { "public.orders" = { replication_method = "INCREMENTAL", replication_key = "updated_at", exclude_columns = ["note"] } }`, "1"), PlanOnly: true,
			},
		},
	})
}

// A catalog that can no longer be read is drift: the plan says so, proposes to store the
// replication and to run it, and stops nothing else. It never advises to grant an administrator's
// role.
func TestAccSyncRun_catalogUnreadable(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	other := p.Role(t)
	w := newWorkspace(t, requiredProviders+p.runConfig(twoTables, "1"))
	w.run(t, "apply", "-auto-approve")
	for what, test := range map[string]struct {
		harm, repair string
		changes      int
		says         string
	}{
		"owner":  {`ALTER SCHEMA _stitch OWNER TO ` + p.Username, `ALTER SCHEMA _stitch OWNER TO ` + p.writer, 2, `belongs to "postgres"`},
		"role":   {`ALTER SCHEMA _stitch OWNER TO ` + other, `ALTER SCHEMA _stitch OWNER TO ` + p.writer, 2, `belongs to "` + other + `"`},
		"shape":  {`CREATE VIEW _stitch.mine AS SELECT 1 AS a`, `DROP VIEW _stitch.mine`, 2, `mine: kind view`},
		"newer":  {`UPDATE _stitch.version SET version = version + 1`, `UPDATE _stitch.version SET version = version - 1`, 2, `a newer release has upgraded the catalog`},
		"rights": {`REVOKE ALL ON _stitch.run FROM ` + p.writer, `GRANT ALL ON _stitch.run TO ` + p.writer, 1, `permission denied for table run`},
	} {
		before := p.latestRun(t)
		p.atDestination(t, test.harm)
		output, code := w.try(t, "plan", "-detailed-exitcode")
		if code != 2 || !strings.Contains(output, fmt.Sprintf("0 to add, %d to change, 0 to destroy", test.changes)) || !says(test.says).MatchString(output) {
			t.Errorf("%s: the plan: exit code %d\n%s", what, code, output)
		}
		if strings.Contains(output, "GRANT") {
			t.Errorf("%s: the plan advises to grant a role:\n%s", what, output)
		}
		if output, code := w.try(t, "apply", "-auto-approve"); code != 1 || !says(test.says).MatchString(output) {
			t.Errorf("%s: the apply: exit code %d\n%s", what, code, output)
		}
		p.atDestination(t, test.repair)
		w.run(t, "apply", "-auto-approve")
		if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 || p.latestRun(t) == "" {
			t.Errorf("%s: the plan after the repair: exit code %d, run %s after %s\n%s", what, code, p.latestRun(t), before, output)
		}
	}
	w.run(t, "destroy", "-auto-approve")
	if got := p.Query(t, p.destination, `SELECT nspname FROM pg_namespace WHERE nspname IN ('_stitch', 'shop')`); !slices.Equal(got, []string{"shop"}) {
		t.Errorf("destroy left %q", got)
	}
}
