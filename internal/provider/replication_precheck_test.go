package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// The plan reports what an apply would meet at the source and the destination.
func TestAccReplication_precheck(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	config := func(arguments string) string { return requiredProviders + p.runConfig(arguments, "1") }
	elsewhere := func(database, other string) string {
		return strings.Replace(config(twoTables), `database = "`+database+`"`, `database = "`+other+`"`, 1)
	}
	w := newWorkspace(t, config(twoTables))
	says1 := func(what string, code int, want ...string) {
		t.Helper()
		output, got := w.try(t, "plan")
		for _, text := range want {
			if got != code || !says(text).MatchString(output) {
				t.Errorf("%s: exit code %d, and the plan does not say %q\n%s", what, got, text, output)
			}
		}
	}

	// No replication exists yet.
	w.write(t, "main.tf", elsewhere(p.source, "none"))
	says1("no source database", 0, `The source database "none" does not exist`)
	w.write(t, "main.tf", elsewhere(p.destination, "none"))
	says1("no destination database", 0, `The destination database "none" does not exist`)
	w.write(t, "main.tf", config(`readers = ["nobody"]`+"\n"+twoTables))
	says1("no reader", 0, "Readers do not exist", "does not have these roles: nobody")
	p.atDestination(t, `CREATE SCHEMA shop AUTHORIZATION `+p.writer+`; CREATE TABLE shop.mine (id int)`)
	w.write(t, "main.tf", config(twoTables))
	says1("tables", 1, `Schema "shop" of the destination already contains mine, which this replication did not load. Set adopt = true`)
	w.write(t, "main.tf", config("adopt = true\n"+twoTables))
	says1("adopt", 0, "2 to add")
	p.atDestination(t, `DROP SCHEMA shop CASCADE`)
	p.atSource(t, `REVOKE SELECT ON countries FROM `+p.reader+`; REVOKE USAGE ON SCHEMA billing FROM `+p.reader)
	w.write(t, "main.tf", config(threeTables))
	says1("rights", 0, "The login of the source cannot read all tables", "- public.countries: SELECT", "- billing.orders: USAGE on schema billing")
	p.atSource(t, `GRANT SELECT (code) ON countries TO `+p.reader+`; GRANT USAGE ON SCHEMA billing TO `+p.reader)
	if output, code := w.try(t, "plan"); code != 0 || says("cannot read all tables").MatchString(output) {
		t.Errorf("a right on the columns that are replicated: exit code %d\n%s", code, output)
	}

	// Another replication has the schema.
	p.atSource(t, `GRANT SELECT ON countries TO `+p.reader)
	w.write(t, "main.tf", config(twoTables))
	w.run(t, "apply", "-auto-approve")
	other := newWorkspace(t, config(twoTables))
	if output, code := other.try(t, "plan"); code != 0 || !says("Schema shop is taken").MatchString(output) || !says(`It already belongs to the replication "Shop"`).MatchString(output) {
		t.Errorf("taken: exit code %d\n%s", code, output)
	}

	// The source is in a cluster other than before.
	identity := p.Query(t, "postgres", `SELECT system_identifier FROM pg_control_system()`)[0]
	p.atDestination(t, `UPDATE _stitch.replication SET source_system = '123'`)
	says1("another cluster", 0, "The source is in a different cluster than before", fmt.Sprintf(`set accept_source_identity = %q`, identity))
	w.write(t, "main.tf", config(`accept_source_identity = "124"`+"\n"+twoTables))
	says1("another cluster than accepted", 1, "The source is in a different cluster than before")
	w.write(t, "main.tf", config(fmt.Sprintf("accept_source_identity = %q\n", identity)+twoTables))
	if output, code := w.try(t, "plan"); code != 0 || (says("another cluster").MatchString(output) || says("different cluster").MatchString(output)) {
		t.Errorf("accepted: exit code %d\n%s", code, output)
	}
	w.run(t, "destroy", "-auto-approve")
}
