package syncrun

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A replication that is created in the place of a deleted one takes over the tables that it
// left, and what others keep in the schema stays.
func TestCreateTakesOver(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int); INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO u VALUES (1), (2);
			CREATE TABLE keyless (at int); INSERT INTO keyless VALUES (1), (1)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.definition.Tables["public.u"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.keyless"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
		e.create(t)
		e.run(t)
		e.atDestination(t, `CREATE VIEW shop.mine AS SELECT id FROM shop.u`)
		source, err := replication.SourceIdentity(t.Context(), e.sourceEndpoint(t))
		if err != nil {
			t.Fatal(err)
		}
		recreate := func() error {
			if err := replication.Delete(t.Context(), e.endpoint(), "shop", false); err != nil {
				t.Fatal(err)
			}
			return replication.Create(t.Context(), e.endpoint(), e.definition, false, source)
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

		// From another source, or into a table loaded from another table, a replication takes
		// nothing over.
		database := source
		for what, other := range map[string]pgclient.Identity{
			"another cluster":  {System: "123", Started: source.Started, Database: source.Database},
			"another database": {System: source.System, Started: source.Started, Database: "123"},
		} {
			source = other
			if err := recreate(); err == nil || !strings.Contains(err.Error(), "already contains keyless, mine, t, u, which") || strings.Contains(err.Error(), "cannot tell") {
				t.Errorf("%s: %v", what, err)
			}
		}
		source = pgclient.Identity{}
		if err := recreate(); err == nil || !strings.Contains(err.Error(), "already contains keyless, mine, t, u, which") ||
			!strings.Contains(err.Error(), "An earlier replication of the same tables left keyless, t, u, but the provider cannot tell whether they came from the same database") {
			t.Errorf("a source that is not known: %v", err)
		}
		source = database
		e.definition.Tables = map[string]definition.Selection{
			"public.t": {Method: definition.FullTable, TableName: "u"}, "public.u": {Method: definition.FullTable, TableName: "t"},
		}
		if err := replication.Create(t.Context(), e.endpoint(), e.definition, false, source); err == nil || !strings.Contains(err.Error(), "already contains keyless, mine, t, u, which") {
			t.Errorf("tables that were exchanged: %v", err)
		}
		// Nor does it take over what another role has put in a table's place.
		e.definition.Tables = map[string]definition.Selection{"public.t": {Method: definition.FullTable}, "public.u": {Method: definition.FullTable}}
		e.atDestination(t, `ALTER TABLE shop.u OWNER TO `+s.Role(t))
		if err := replication.Create(t.Context(), e.endpoint(), e.definition, false, source); err == nil || !strings.Contains(err.Error(), "already contains u, which") {
			t.Errorf("a table of another role: %v", err)
		}
		e.atDestination(t, `ALTER TABLE shop.u OWNER TO `+e.writer)
		if err := replication.Create(t.Context(), e.endpoint(), e.definition, false, source); err != nil {
			t.Fatal(err)
		}
		e.run(t)
		e.wantSame(t, "t")
		e.atDestination(t, `DROP VIEW shop.mine; DROP TABLE shop.keyless`)
		if err := replication.Delete(t.Context(), e.endpoint(), "shop", true); err != nil {
			t.Fatal(err)
		}
		e.wantRows(t, `SELECT nspname FROM pg_namespace WHERE nspname IN ('shop', '_stitch')`)
	})
}

// A replication whose entries were renamed is the same: it takes over what it left, and reads
// no table whole again. It also does so if the login may not know which cluster the source
// is, as long as the source was not started again.
func TestRenamedEntries(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for _, rights := range []string{"", "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"} {
			e := newEnv(t, s, s)
			e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);`+rights)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
			e.create(t)
			e.run(t)
			revision := e.definition.Revision()
			e.rename(t, "old_source", "old_destination")
			if got := e.definition.Revision(); got != revision {
				t.Errorf("%s: the revision became another one", rights)
			}
			if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
				t.Fatal(err)
			}
			e.atSource(t, `INSERT INTO t VALUES (2)`)
			if got := report(e.run(t), "public.t"); len(got.Notes) > 0 || got.RowsLoaded != 1 {
				t.Errorf("%s: %d rows, notes %q", rights, got.RowsLoaded, got.Notes)
			}
			e.rename(t, "source", "destination")
			if err := replication.Delete(t.Context(), e.endpoint(), "shop", false); err != nil {
				t.Fatal(err)
			}
			source, err := replication.SourceIdentity(t.Context(), e.sourceEndpoint(t))
			if err != nil {
				t.Fatal(err)
			}
			restarted := source
			restarted.Started = "2026-01-01T00:00:00Z"
			err = replication.Create(t.Context(), e.endpoint(), e.definition, false, restarted)
			if known := rights == ""; known != (err == nil) || !known && !strings.Contains(err.Error(), "pg_control_system()") {
				t.Errorf("%s: created after a start: %v", rights, err)
			}
			if rights != "" {
				if err := replication.Create(t.Context(), e.endpoint(), e.definition, false, source); err != nil {
					t.Error(err)
				}
			}
			e.run(t)
			e.atDestination(t, `UPDATE _stitch.loaded_table SET source = 'started ' || source WHERE source LIKE 'started %'`)
			if notes := strings.Join(report(e.run(t), "public.t").Notes, "; "); strings.Contains(notes, "identify the cluster") != (rights != "") {
				t.Errorf("%s: after a start: notes %q", rights, notes)
			}
			e.wantSame(t, "t")
		}
	})
}

// rename makes the definition name other entries that lead to the same servers.
func (e *env) rename(t *testing.T, source, destination string) {
	from := pgclient.Config{Host: e.source.Host, Port: e.sourcePort, Username: e.reader, Password: e.source.Password, MaxConnections: 1}
	to := pgclient.Config{Host: e.destination.Host, Port: e.destinationPort, Username: e.writer, Password: e.destination.Password, MaxConnections: 1}
	e.servers = pgclient.NewServers(map[string]pgclient.Config{"source": from, source: from, "destination": to, destination: to})
	t.Cleanup(e.servers.Close)
	e.definition.Source.Server, e.definition.Destination.Server = source, destination
}
