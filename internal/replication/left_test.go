package replication

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A replication that is created in the place of one that was deleted takes over the
// tables that it left, and what others keep beside them stays.
func TestCreateTakesOver(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int); INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO u VALUES (1), (2);
			CREATE TABLE keyless (at int); INSERT INTO keyless VALUES (1), (1)`)
		e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "id"}
		e.definition.Tables["public.u"] = Selection{Method: FullTable}
		e.definition.Tables["public.keyless"] = Selection{Method: Incremental, ReplicationKey: "at"}
		e.create(t)
		e.run(t)
		e.atDestination(t, `CREATE VIEW shop.mine AS SELECT id FROM shop.u`)
		recreate := func() error {
			if err := Delete(t.Context(), e.endpoint(), "shop", false); err != nil {
				t.Fatal(err)
			}
			return Create(t.Context(), e.endpoint(), e.definition, false, postgres.Identity{})
		}
		e.atSource(t, `DELETE FROM u WHERE id = 1; INSERT INTO keyless VALUES (2); UPDATE t SET v = 3; INSERT INTO t VALUES (4, 4)`)
		if err := recreate(); err != nil {
			t.Fatal(err)
		}
		e.run(t)
		e.wantSame(t, "t")
		e.wantSame(t, "u")
		e.wantSame(t, "keyless")
		e.wantRows(t, `SELECT count(*) FROM pg_description WHERE description LIKE 'Left by%'`, "0")

		// From another source, or into a table of another one, nothing is taken over.
		before := e.definition
		e.definition.Source.Database = "other"
		if err := recreate(); err == nil || !strings.Contains(err.Error(), "already holds keyless, mine, t, u, which") {
			t.Errorf("another source: %v", err)
		}
		e.definition = before
		e.definition.Tables = map[string]Selection{
			"public.t": {Method: FullTable, TableName: "u"}, "public.u": {Method: FullTable, TableName: "t"},
		}
		if err := Create(t.Context(), e.endpoint(), e.definition, false, postgres.Identity{}); err == nil || !strings.Contains(err.Error(), "already holds keyless, mine, t, u, which") {
			t.Errorf("tables that were exchanged: %v", err)
		}
		// Nor is what another role has put in a table's place.
		e.definition.Tables = map[string]Selection{"public.t": {Method: FullTable}, "public.u": {Method: FullTable}}
		e.atDestination(t, `ALTER TABLE shop.u OWNER TO `+s.Role(t))
		if err := Create(t.Context(), e.endpoint(), e.definition, false, postgres.Identity{}); err == nil || !strings.Contains(err.Error(), "already holds u, which") {
			t.Errorf("a table of another role: %v", err)
		}
		e.atDestination(t, `ALTER TABLE shop.u OWNER TO `+e.writer)
		if err := Create(t.Context(), e.endpoint(), e.definition, false, postgres.Identity{}); err != nil {
			t.Fatal(err)
		}
		e.run(t)
		e.wantSame(t, "t")
		e.atDestination(t, `DROP VIEW shop.mine; DROP TABLE shop.keyless`)
		if err := Delete(t.Context(), e.endpoint(), "shop", true); err != nil {
			t.Fatal(err)
		}
		e.wantRows(t, `SELECT nspname FROM pg_namespace WHERE nspname IN ('shop', '_stitch')`)
	})
}
