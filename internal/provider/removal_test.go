package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A plan that removes something says who loses access and which tables go, or that the tables will
// make its last steps fail.
func TestAccRemoval(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	reader, database := p.Role(t), p.DatabaseName(t)
	config := func(readers string, forceReplication, forceDatabase bool) string {
		text := requiredProviders + p.runConfig(fmt.Sprintf("readers = [%s]\nforce_destroy = %v\n", readers, forceReplication)+twoTables, "1")
		return strings.Replace(text, "servers = {", "servers = {\nadmin = "+administrator(p.Server), 1) + fmt.Sprintf(`
			resource "stitch_destination_schema" "shop" {
				server   = "admin"
				database = %q
				name     = "shop"
				owner    = %q
			}
			resource "stitch_destination_database" "other" {
				server        = "admin"
				name          = %q
				force_destroy = %v
			}`, p.destination, p.writer, database, forceDatabase)
	}
	w := newWorkspace(t, config(fmt.Sprintf("%q", reader), false, false))
	w.run(t, "apply", "-auto-approve", "-target=stitch_destination_schema.shop")
	w.run(t, "apply", "-auto-approve")
	p.Exec(t, database, "CREATE TABLE kept (id int)")
	plans := func(what string, arguments []string, want ...string) {
		t.Helper()
		output := w.run(t, append([]string{"plan"}, arguments...)...)
		for _, text := range want {
			if !says(text).MatchString(output) {
				t.Errorf("%s: the plan does not say %q\n%s", what, text, output)
			}
		}
	}
	p.atDestination(t, "ANALYZE")
	plans("destroy", []string{"-destroy"},
		"Readers lose access to schema shop", `The plan revokes from `+reader,
		`Removing destination schema "shop" will be refused`, "- shop.orders, about 10 rows",
		`Removing destination database "`+database+`" will be refused`, "- public.kept")
	w.write(t, "main.tf", config("", false, false))
	plans("a reader", nil, "Readers lose access to schema shop")
	w.write(t, "main.tf", config("", true, true))
	w.run(t, "apply", "-auto-approve")
	plans("destroy by force", []string{"-destroy"},
		`Removing replication "shop" removes its tables`, "- shop.countries, about 2 rows",
		`Removing destination database "`+database+`" removes its tables`)
	w.run(t, "taint", "stitch_replication.shop")
	w.run(t, "taint", "stitch_destination_database.other")
	plans("taint", nil,
		`Removing replication "shop" removes its tables`, `Removing destination database "`+database+`" removes its tables`)
	w.run(t, "untaint", "stitch_replication.shop")
	w.run(t, "untaint", "stitch_destination_database.other")
	w.write(t, "main.tf", strings.ReplaceAll(config("", true, true), database, database+"_2"))
	plans("another name", nil, `Removing destination database "`+database+`" removes its tables`)
	w.write(t, "main.tf", config("", true, true))
	if output := w.run(t, "plan"); strings.Contains(output, "Removing") {
		t.Errorf("nothing is removed:\n%s", output)
	}
	w.run(t, "destroy", "-auto-approve", "-target=stitch_replication.shop")
	w.run(t, "destroy", "-auto-approve")
}
