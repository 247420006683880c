package provider

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A replication and its run that are replaced, tainted, or destroyed by target and applied again
// take over the tables that were loaded before, load them again in the same apply, and let their
// readers read.
func TestAccReplication_replaced(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	reader := p.Role(t)
	for what, triggers := range map[string]string{"with the revision": "", "without": "triggers = {}"} {
		config := requiredProviders + p.runConfig(`readers = ["`+reader+`"]`+"\n"+twoTables, "1")
		if triggers != "" {
			before, _, _ := strings.Cut(config, "triggers    = ")
			config = before + triggers + "\n}"
		}
		w := newWorkspace(t, config)
		w.run(t, "apply", "-auto-approve")
		p.atDestination(t, `CREATE VIEW shop.mine AS SELECT id FROM shop.orders`)
		for _, how := range [][]string{
			{"apply", "-auto-approve", "-replace=stitch_replication.shop"},
			{"taint", "stitch_replication.shop"},
			{"taint", "stitch_sync_run.shop"},
			{"apply", "-auto-approve", "-replace=stitch_sync_run.shop"},
			{"destroy", "-auto-approve", "-target=stitch_replication.shop"},
			{"destroy", "-auto-approve", "-target=stitch_sync_run.shop"},
		} {
			p.atSource(t, `INSERT INTO orders SELECT max(id) + 1, 7, '{}', '2026-02-01' FROM orders; UPDATE countries SET name = name || '.'`)
			before := p.latestRun(t)
			w.run(t, how...)
			if how[0] != "apply" { // which is enough
				w.run(t, "apply", "-auto-approve")
			}
			if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
				t.Errorf("%s, %v: the plan after: exit code %d\n%s", what, how, code, output)
			}
			if p.latestRun(t) == before {
				t.Errorf("%s, %v: nothing ran", what, how)
			}
			for _, err := range []error{
				p.same(t, "public.orders", "shop.orders", "id", "total", "updated_at")(nil),
				p.same(t, "public.countries", "shop.countries", "code", "name")(nil),
			} {
				if err != nil {
					t.Errorf("%s, %v: %v", what, how, err)
				}
			}
			if got := p.Query(t, p.destination, `SELECT has_schema_privilege($1, 'shop', 'USAGE') AND has_table_privilege($1, 'shop.orders', 'SELECT') AND has_table_privilege($1, 'shop.countries', 'SELECT')`, reader); got[0] != "t" {
				t.Errorf("%s, %v: the reader may not read", what, how)
			}
		}
		p.atDestination(t, `DROP VIEW shop.mine`)
		w.write(t, "main.tf", strings.Replace(config, "readers =", "force_destroy = true\nreaders =", 1))
		w.run(t, "apply", "-auto-approve")
		w.run(t, "destroy", "-auto-approve")
		if got := p.Query(t, p.destination, `SELECT nspname FROM pg_namespace WHERE nspname IN ('shop', '_stitch')`); len(got) > 0 {
			t.Errorf("%s: destroy left %q", what, got)
		}
	}
}
