package provider

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// The plan reports a problem of a table at its line, whether or not the attribute that would solve
// it is configured.
func TestAccReplication_lines(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	many := strings.TrimSuffix(strings.Repeat("c int, ", 1597), ", ")
	for i := 0; strings.Contains(many, "c int"); i++ {
		many = strings.Replace(many, "c int", "c"+strings.Repeat("x", i%40)+string(rune('a'+i/40%26))+string(rune('a'+i/1040))+" integer", 1)
	}
	p.atSource(t, `CREATE TABLE wide (`+many+`); CREATE TABLE nothing (); CREATE VIEW system AS SELECT 1 AS id, 2 AS xmin;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+p.reader)
	var steps []resource.TestStep
	for table, message := range map[string]string{
		`"public.wide" = { replication_method = "FULL_TABLE" }`:                                 `a table can have at most 1600 columns: exclude 1 of them`,
		`"public.nothing" = { replication_method = "FULL_TABLE" }`:                              `has no column`,
		`"public.system" = { replication_method = "FULL_TABLE" }`:                               `column "xmin" has a name that PostgreSQL reserves`,
		`"public.orders" = { replication_method = "FULL_TABLE", columns = ["x"] }`:              `has no column "x"`,
		`"public.countries" = { replication_method = "INCREMENTAL" }`:                           `needs a replication_key`,
		`"public.none" = { replication_method = "FULL_TABLE" }`:                                 `has no table or view`,
		`"public.countries" = { replication_method = "INCREMENTAL", replication_key = "none" }`: `has no column "none"`,
	} {
		key, _, _ := strings.Cut(table, " =")
		steps = append(steps, resource.TestStep{
			Config: p.config("Shop", "tables = {\n"+table+"\n}"), PlanOnly: true,
			ExpectError: regexp.MustCompile(`line \d+, in resource "stitch_replication" "shop":[\s│]+\d+: +` + regexp.QuoteMeta(key) + `[^~]*` + strings.TrimPrefix(says(message).String(), "^")),
		})
	}
	resource.ParallelTest(t, resource.TestCase{ProtoV6ProviderFactories: factories(), Steps: steps})
}

// INCREMENTAL on a table without a key keeps every version of a row: the plan says so once for all
// tables of a replication, and so does the run.
func TestAccReplication_versions(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	p.atSource(t, `CREATE VIEW open_orders AS SELECT id, updated_at FROM orders; CREATE VIEW closed_orders AS SELECT id, updated_at FROM orders;
		CREATE TABLE events (id int NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()); INSERT INTO events VALUES (1);
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+p.reader)
	incremental := ` = { replication_method = "INCREMENTAL", replication_key = "updated_at" }` + "\n"
	tables := `tables = {
		"public.open_orders"` + incremental + `"public.closed_orders"` + incremental + `"public.events"` + incremental + `"public.orders"` + incremental + `
	}`
	w := newWorkspace(t, requiredProviders+p.runConfig(tables, "1"))
	const all = "public.closed_orders, public.events, public.open_orders"
	output := w.run(t, "apply", "-auto-approve")
	for _, want := range []string{"Rows of " + all + " have no key that identifies them:", "- " + all + ": no key identifies the rows: when a row changes"} {
		if n := len(says(want).FindAllString(output, -1)); n != 1 {
			t.Errorf("%q is told %d times, want once:\n%s", want, n, output)
		}
	}
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 || strings.Contains(output, "dentifies") {
		t.Errorf("the plan after it:\n%s", output)
	}
}
