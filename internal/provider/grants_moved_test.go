package provider

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// movedUsers is how many users have their grants moved at once: Terraform creates and destroys
// independent resources in a random order.
const movedUsers = 5

// movedGrants is a workspace whose administrator grants privileges in one database to some users.
func movedGrants(t *testing.T) (w *workspace, write func(resources string)) {
	t.Helper()
	w = newWorkspace(t, "")
	s := sandbox.Shared(t, 0)
	database := s.Database(t)
	s.Exec(t, database, `
		REVOKE ALL ON DATABASE `+database+` FROM PUBLIC;
		REVOKE ALL ON SCHEMA public FROM PUBLIC;
		CREATE TABLE public.orders (id int);
		CREATE VIEW public.open_orders AS SELECT * FROM public.orders;
		CREATE SCHEMA billing;
		CREATE TABLE billing.invoices (id int)`)
	var users []string
	for range movedUsers {
		name := s.RoleName(t)
		s.Exec(t, database, "CREATE ROLE "+name)
		users = append(users, fmt.Sprintf("%q", name))
	}
	return w, func(resources string) {
		t.Helper()
		w.write(t, "main.tf", requiredProviders+providerBlock(map[string]string{"app": administrator(s), "app2": administrator(s)})+
			fmt.Sprintf("locals {\n users = toset([%s])\n database = %q\n}\n", strings.Join(users, ", "), database)+resources)
	}
}

// grantsBlock returns a resource for each of the users.
func grantsBlock(kind, label, arguments string) string {
	if !strings.Contains(arguments, "server ") {
		arguments = "server = \"app\"\n" + arguments
	}
	return fmt.Sprintf("resource \"stitch_%s_grants\" %q {\n for_each = local.users\n database = local.database\n user = each.key\n%s\n}\n", kind, label, arguments)
}

// However a block is renamed, split or replaced, a complete apply leaves the privileges that the
// configuration asks for, and a second one changes nothing.
func TestAccGrantsMoved(t *testing.T) {
	t.Parallel()
	source := func(label, arguments string) string { return grantsBlock("source", label, arguments) }
	destination := func(label, arguments string) string { return grantsBlock("destination", label, arguments) }
	const beforeDestroy = "\nlifecycle { create_before_destroy = true }"
	tests := map[string]struct {
		before, after string
		replace       bool // everything
	}{
		"renamed": {
			before: source("old", `schemas = ["public", "billing"]`),
			after:  source("new", `schemas = ["public", "billing"]`),
		},
		"renamed destination": {
			before: destination("old", `system_catalogs = true`),
			after:  destination("new", `system_catalogs = true`),
		},
		"a schema moved": {
			before: source("one", `schemas = ["public", "billing"]`) + source("two", `schemas = ["public"]`+"\ntables = [\"public.orders\"]"),
			after:  source("one", `schemas = ["public"]`) + source("two", `schemas = ["billing"]`),
		},
		"a table moved": {
			before: source("one", "schemas = [\"public\", \"billing\"]\ntables = [\"public.orders\", \"billing.invoices\"]") +
				source("two", "schemas = [\"public\"]\ntables = [\"public.open_orders\"]"),
			after: source("one", "schemas = [\"public\", \"billing\"]\ntables = [\"public.open_orders\", \"billing.invoices\"]") +
				source("two", "schemas = [\"public\"]\ntables = [\"public.orders\"]"),
		},
		"one kind for the other": {
			before: source("one", `schemas = ["public"]`),
			after:  destination("one", ""),
		},
		"another entry, created before the old one is destroyed": {
			before: source("one", `schemas = ["public"]`+beforeDestroy) + destination("one", beforeDestroy),
			after: source("one", "server = \"app2\"\nschemas = [\"public\"]"+beforeDestroy) +
				destination("one", "server = \"app2\"\n"+beforeDestroy),
		},
		"replaced": {
			before:  source("one", `schemas = ["public"]`),
			after:   source("one", `schemas = ["public"]`),
			replace: true,
		},
		"replaced, created before the old one is destroyed": {
			before:  source("one", `schemas = ["public"]`+beforeDestroy),
			after:   source("one", `schemas = ["public"]`+beforeDestroy),
			replace: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, write := movedGrants(t)
			write(test.before)
			w.run(t, "apply", "-auto-approve")
			write(test.after)
			var more []string
			if test.replace {
				for _, address := range strings.Fields(w.run(t, "state", "list")) {
					more = append(more, "-replace="+address)
				}
			}
			if output := w.run(t, slices.Concat([]string{"apply", "-auto-approve"}, more)...); strings.Contains(output, "Two resources") || strings.Contains(output, "loses rights") {
				t.Errorf("a warning of what does not happen:\n%s", output)
			}
			if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
				t.Errorf("exit code %d\n%s", code, output)
			}
			w.run(t, "destroy", "-auto-approve")
		})
	}
}

// A plan warns when two resources grant the same to one user, and when one that goes would revoke
// what another one still needs.
func TestAccGrantsOverlap(t *testing.T) {
	t.Parallel()
	w, write := movedGrants(t)
	one, two := grantsBlock("source", "one", `schemas = ["public"]`), grantsBlock("source", "two", "schemas = [\"public\"]\ntables = [\"public.orders\"]")
	other := grantsBlock("source", "other", `schemas = ["billing"]`) + grantsBlock("destination", "other", "")
	write(one + two + other)
	if output := w.run(t, "apply", "-auto-approve"); !says(`both grant user`).MatchString(output) || !says(`"public"."orders". If one of them is destroyed or narrowed`).MatchString(output) {
		t.Errorf("no warning of two resources:\n%s", output)
	}
	write(one + other)
	if output := w.run(t, "plan"); !says(`"public"."orders". This apply revokes them`).MatchString(output) || says("both grant").MatchString(output) {
		t.Errorf("no warning of what is lost:\n%s", output)
	}
	write(two + other)
	w.run(t, "apply", "-auto-approve")
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 2 || !says(`- "SELECT ON TABLE public.orders"`).MatchString(output) {
		t.Errorf("exit code %d, no drift of what was lost:\n%s", code, output)
	}
	w.run(t, "apply", "-auto-approve")
	w.run(t, "destroy", "-auto-approve")
}

// A role reads either as a reader of a replication or by grants on its schema. When an apply
// replaces one by the other, in whatever order, the role can still read.
func TestAccReadersMoved(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	role := p.Role(t)
	config := func(readers string) string {
		text := requiredProviders + p.runConfig(readers+twoTables, "1")
		return strings.Replace(text, "servers = {", "servers = {\nadmin = "+administrator(p.Server), 1)
	}
	grants := fmt.Sprintf(`
		resource "stitch_source_grants" "r" {
			server        = "admin"
			database      = %q
			user          = %q
			schemas       = ["shop"]
			future_tables = true
		}`, p.destination, role)
	w := newWorkspace(t, config(readersOf(role)))
	w.run(t, "apply", "-auto-approve")
	for round := range 4 {
		next := config(readersOf(role))
		if round%2 == 0 {
			next = config("") + grants
		}
		w.write(t, "main.tf", next)
		w.run(t, "apply", "-auto-approve")
		if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
			t.Errorf("round %d: the plan after is not empty:\n%s", round, output)
		}
		if err := p.mayRead(t, "countries", []string{role})(nil); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	w.run(t, "destroy", "-auto-approve")
}
