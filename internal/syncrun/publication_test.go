package syncrun

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A publication of all tables at the destination refuses UPDATE and DELETE of a table without
// a key, and does so in the catalog as well.
func TestPublicationForAllTables(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		s.Exec(t, e.destinationDatabase, `CREATE PUBLICATION everything FOR ALL TABLES`)
		e.atSource(t, `
			CREATE TABLE keyed (id int PRIMARY KEY, v text); INSERT INTO keyed VALUES (1, 'a'), (2, 'b');
			CREATE TABLE keyless (at int, v text); INSERT INTO keyless VALUES (1, 'a'), (2, 'b');
			CREATE TABLE whole (v text); INSERT INTO whole VALUES ('a'), ('b');
			CREATE TABLE big AS SELECT g AS id, repeat('x', 500) AS v FROM generate_series(1, 400) AS g`)
		e.definition.Tables["public.keyed"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.definition.Tables["public.keyless"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
		e.definition.Tables["public.whole"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.big"] = definition.Selection{Method: definition.FullTable}
		e.runs.rangeBytes = 50 << 10
		e.create(t)
		for _, change := range []string{
			``,
			`INSERT INTO keyed VALUES (3, 'c'); INSERT INTO keyless VALUES (2, 'bb'), (3, 'c'); UPDATE whole SET v = v || 'x'; DELETE FROM big WHERE id % 2 = 0`,
			`UPDATE keyed SET id = 9 WHERE id = 3; UPDATE keyed SET v = 'z'; DELETE FROM whole`,
			`ALTER TABLE keyed ADD n int DEFAULT 7; ALTER TABLE keyless ADD n int DEFAULT 7; ALTER TABLE whole ADD n int DEFAULT 7`,
			`ALTER TABLE keyed DROP CONSTRAINT keyed_pkey, ADD PRIMARY KEY (id, v); ALTER TABLE keyless ADD PRIMARY KEY (at, v, n)`,
			`ALTER TABLE keyed DROP CONSTRAINT keyed_pkey; INSERT INTO keyed VALUES (9, 'z', 8)`,
			`INSERT INTO keyed VALUES (10, 'z', 8), (10, 'z', 8)`,
		} {
			if change != "" {
				e.atSource(t, change)
			}
			e.run(t)
			for _, table := range []string{"whole", "big"} {
				e.wantSame(t, table)
			}
		}
	})
}
