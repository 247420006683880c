package syncrun

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A login whose sessions begin as another role, as those of a secrets engine do, reads and
// loads with that role's privileges.
func TestLoginSetToARole(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		for _, login := range []*string{&e.reader, &e.writer} {
			group := *login
			*login = s.Role(t)
			s.Exec(t, "postgres", `ALTER ROLE `+*login+` NOINHERIT; GRANT `+group+` TO `+*login+`; ALTER ROLE `+*login+` SET role = `+group)
		}
		e.servers = e.newServers(t, 1)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');
			CREATE VIEW v AS SELECT id, set_config('role', 'none', false) AS role FROM t`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.definition.Tables["public.v"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		e.atSource(t, `INSERT INTO t VALUES (2, 'b')`)
		e.run(t)
		e.wantSame(t, "t")
	})
}
