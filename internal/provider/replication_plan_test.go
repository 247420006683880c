package provider

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What was replicated before and is gone at the source is a warning that names it, and stops
// nothing else: the run fails for that table alone. For what is new or changed in the
// configuration, it is an error.
func TestAccReplication_goneAtSource(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	three := strings.Replace(twoTables, "tables = {", `tables = { "billing.orders" = { replication_method = "FULL_TABLE", table_name = "billing_orders" }`, 1)
	config := func(tables, trigger string) string { return requiredProviders + p.runConfig(tables, trigger) }
	w := newWorkspace(t, config(three, "0"))
	w.run(t, "apply", "-auto-approve")
	p.atSource(t, `
		ALTER TABLE countries RENAME TO nations;
		ALTER TABLE orders RENAME COLUMN updated_at TO changed_at;
		INSERT INTO billing.orders VALUES (7)`)
	output, code := w.try(t, "plan", "-detailed-exitcode")
	for _, text := range []string{"Tables have changed at the source", "public.countries: database", "has no table or view public.countries. Schema public has nations, orders", `public.orders: public.orders has no column "updated_at"`} {
		if code != 0 || !says(text).MatchString(output) {
			t.Errorf("exit code %d, and the plan does not say %q\n%s", code, text, output)
		}
	}
	w.write(t, "main.tf", config(three, "1"))
	if output, code = w.try(t, "apply", "-auto-approve"); code != 1 || !says("Cannot replicate table public.countries").MatchString(output) || says("Cannot replicate table billing.orders").MatchString(output) {
		t.Errorf("the run: exit code %d\n%s", code, output)
	}
	if got := p.Query(t, p.destination, `SELECT id FROM shop.billing_orders`); !slices.Equal(got, []string{"7"}) {
		t.Errorf("the table that stayed holds %q", got)
	}
	for what, change := range map[string][2]string{
		"a new table":      {`"billing.orders" =`, `"public.none" = { replication_method = "FULL_TABLE" }, "billing.orders" =`},
		"a changed table":  {`"public.countries" = { `, `"public.countries" = { columns = ["code"], `},
		"another database": {`source      = { server = "app", database = "` + p.source, `source      = { server = "app", database = "` + p.destination},
	} {
		w.write(t, "main.tf", strings.Replace(config(three, "1"), change[0], change[1], 1))
		if output, code := w.try(t, "plan"); code != 1 || !says("has no table or view public.").MatchString(output) || !says("validate_at_plan = false").MatchString(output) {
			t.Errorf("%s: exit code %d\n%s", what, code, output)
		}
	}
	w.write(t, "main.tf", config(`tables = { "billing.orders" = { replication_method = "FULL_TABLE", table_name = "billing_orders" } }`, "2"))
	w.run(t, "apply", "-auto-approve")
	p.atSource(t, `DROP SCHEMA billing CASCADE`)
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 || !says(`Schema "billing" does not exist`).MatchString(output) {
		t.Errorf("no schema: exit code %d\n%s", code, output)
	}
	w.run(t, "destroy", "-auto-approve")
}
