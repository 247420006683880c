package syncrun

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Adopt takes over a definition as Create left it, with its readers, and no longer once
// anything has become of it.
func TestAdopt(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.definition.Readers = []string{s.Role(t)}
		e.atDestination(t, `CREATE SCHEMA shop AUTHORIZATION `+e.writer)
		adopt := func(what string, want ...string) {
			t.Helper()
			refusals, err := replication.Adopt(t.Context(), e.endpoint(), e.definition, e.adopt, pgclient.Identity{})
			if err != nil || !slices.Equal(refusals, want) {
				t.Errorf("%s: refused because of %q, %v, want %q", what, refusals, err, want)
			}
		}
		if _, err := replication.Adopt(t.Context(), e.endpoint(), e.definition, false, pgclient.Identity{}); !replication.IsNotFound(err) {
			t.Errorf("before it was created: %v", err)
		}
		e.create(t)
		if err := replication.Create(t.Context(), e.endpoint(), e.definition, false, pgclient.Identity{}); !replication.IsExisting(err) {
			t.Errorf("created twice: %v", err)
		}
		e.atDestination(t, `REVOKE USAGE ON SCHEMA shop FROM `+e.definition.Readers[0])
		adopt("whole")
		e.wantRows(t, `SELECT has_schema_privilege('`+e.definition.Readers[0]+`', 'shop', 'USAGE')`, "t")

		e.definition.Name = "Other"
		adopt("another name", `name is "Shop", not "Other"`)
		e.definition.Name = "Shop"
		e.atDestination(t, `CREATE TABLE shop.mine (id int)`)
		if _, err := replication.Adopt(t.Context(), e.endpoint(), e.definition, false, pgclient.Identity{}); err == nil || !strings.Contains(err.Error(), "already contains mine") {
			t.Errorf("with a table: %v", err)
		}
		e.adopt = true
		adopt("with a table that may be adopted")
		e.atDestination(t, `DROP TABLE shop.mine`)
		e.run(t)
		refusals, err := replication.Adopt(t.Context(), e.endpoint(), e.definition, true, pgclient.Identity{})
		if err != nil || !slices.Contains(refusals, "recorded runs: 1") || !slices.Contains(refusals, "loaded tables: 1") {
			t.Errorf("with a run: refused because of %q, %v", refusals, err)
		}
	})
}
