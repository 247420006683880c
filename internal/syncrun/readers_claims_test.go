package syncrun

import (
	"fmt"
	"sync"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// besideGrants returns an env with a loaded table and a reader, and an administrator of the
// destination in the same provider block, with grants that would let the reader read as well.
func besideGrants(t *testing.T, s *sandbox.Server) (e *env, administrator *pgclient.Server, grants privilege.SourceGrants) {
	t.Helper()
	reader := s.Role(t)
	e = withReaders(t, s, reader)
	e.servers = pgclient.NewServers(map[string]pgclient.Config{
		"source":      {Host: s.Host, Port: s.Port, Username: e.reader, Password: s.Password},
		"destination": {Host: s.Host, Port: s.Port, Username: e.writer, Password: s.Password},
		"admin":       {Host: "localhost", Port: s.Port, Username: s.Username, Password: s.Password},
	})
	t.Cleanup(e.servers.Close)
	administrator, _ = e.servers.Server("admin")
	e.atDestination(t, `GRANT CONNECT ON DATABASE `+e.destinationDatabase+` TO PUBLIC`) // readers are not granted that
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, other int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	return e, administrator, privilege.SourceGrants{Resource: "grants", Database: e.destinationDatabase, User: reader, Schemas: []string{"shop"}, FutureTables: true}
}

// When a reader is removed while grants are added that let the same role read the same
// schema, the role keeps what these grant. When grants are removed, a reader that is added
// keeps what it may do.
func TestReadersAndGrants(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e, administrator, grants := besideGrants(t, s)
		reader := grants.User
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(pgclient.Explain(err))
			}
		}
		e.create(t)
		e.run(t)
		readsAll := func(when string, rows int) {
			t.Helper()
			e.atDestination(t, `SET ROLE `+e.writer+`; CREATE TABLE shop.later (id int); INSERT INTO shop.later SELECT generate_series(1, 10)`)
			t.Log(when)
			e.wantRead(t, reader, rows, "t", "later")
			e.atDestination(t, `DROP TABLE shop.later`)
		}
		readsAll("before", 10)

		must(privilege.GrantSource(t.Context(), administrator, grants))
		e.definition.Readers = []string{}
		e.update(t)
		readsAll("once it is no reader, but was granted it", 10)

		e.definition.Readers = []string{reader}
		e.update(t)
		must(privilege.RevokeSource(t.Context(), administrator, grants))
		readsAll("once it is a reader again, and the grants are gone", 10)

		must(privilege.GrantSource(t.Context(), administrator, grants))
		must(replication.Delete(t.Context(), e.endpoint(), "shop", false))
		readsAll("once the replication is gone", 10)
		must(privilege.RevokeSource(t.Context(), administrator, grants))
		readsAll("in the end", -1)

		e.adopt = true
		must(privilege.GrantSource(t.Context(), administrator, grants))
		e.create(t)
		must(privilege.RevokeSource(t.Context(), administrator, grants))
		readsAll("of a replication that is new", 10)
		e.definition.Readers = []string{}
		e.update(t)
		readsAll("when nobody grants it", -1)
	})
}

// That also holds while both are in progress.
func TestReadersAndGrantsTogether(t *testing.T) {
	t.Parallel()
	e, administrator, grants := besideGrants(t, sandbox.Shared(t, 0))
	e.create(t)
	e.run(t)
	reader := e.definition.Readers
	for round := range 10 {
		comes, goes := round%2 == 0, []string{}
		change := func() error { return privilege.GrantSource(t.Context(), administrator, grants) }
		if !comes {
			change, goes = func() error { return privilege.RevokeSource(t.Context(), administrator, grants) }, reader
		}
		e.definition.Readers = goes
		var both sync.WaitGroup
		var failures [2]error
		both.Go(func() { failures[0] = change() })
		both.Go(func() { failures[1] = replication.Update(t.Context(), e.endpoint(), e.definition) })
		both.Wait()
		if failures != [2]error{} {
			t.Fatal(failures)
		}
		e.wantRead(t, grants.User, 10, "t")
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// A reader keeps what it was granted on columns of a table, apart from the replication:
// PostgreSQL revokes that together with SELECT on the table.
func TestReadersKeepColumns(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e, _, grants := besideGrants(t, s)
		other := s.Role(t)
		e.definition.Readers = append(e.definition.Readers, other)
		e.create(t)
		e.run(t)
		e.atDestination(t, fmt.Sprintf(`
			SET ROLE %s;
			GRANT SELECT (id) ON shop.t TO %s;
			GRANT SELECT (other) ON shop.t TO %[2]s WITH GRANT OPTION`, e.writer, grants.User))
		columns := `
			SELECT a.attname, e.grantee::regrole, e.grantor::regrole, e.privilege_type, e.is_grantable
			FROM pg_attribute AS a CROSS JOIN aclexplode(a.attacl) AS e
			WHERE a.attrelid = 'shop.t'::regclass ORDER BY 1, 2`
		before := s.Query(t, e.destinationDatabase, columns)
		e.definition.Readers = []string{other}
		e.update(t)
		e.wantRows(t, columns, before...)
		e.wantRead(t, grants.User, -1, "t")
		if err := replication.Delete(t.Context(), e.endpoint(), "shop", false); err != nil {
			t.Fatal(pgclient.Explain(err))
		}
		e.wantRows(t, columns, before...)
	})
}
