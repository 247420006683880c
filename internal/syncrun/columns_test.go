package syncrun

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Columns that swap places leave none of each other's values.
func TestReplacedColumns(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct{ destination, source, want string }{
		"of another type":          {``, `ALTER TABLE t DROP x; ALTER TABLE t ADD x text; UPDATE t SET x = 'new'`, `SELECT count(*) FROM shop.t WHERE x__text = 'new'`},
		"by renaming":              {``, `ALTER TABLE t DROP x; ALTER TABLE t RENAME y TO x`, `SELECT count(*) FROM shop.t WHERE x__text = 'y'`},
		"the user's own, in place": {`ALTER TABLE shop.t ADD note text; UPDATE shop.t SET note = 'mine'`, `ALTER TABLE t ADD note text`, `SELECT count(*) FROM shop.t WHERE note IS NULL`},
		"less precise":             {``, `ALTER TABLE t ALTER n TYPE numeric(10,2)`, `SELECT count(*) FROM pg_attribute WHERE attrelid = 'shop.t'::regclass AND attname = 'n__numeric_10_2' OR attnum BETWEEN 1 AND 4 AND attrelid = 'shop.t'::regclass`},
	} {
		e := newEnv(t, s, s)
		e.ignoreLateCommits()
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, x int, y text, n numeric); INSERT INTO t SELECT g, 1, 'y', 1.2345 FROM generate_series(1, 5) g`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		e.atDestination(t, tt.destination)
		e.atSource(t, tt.source)
		e.run(t)
		if got := e.destination.Query(t, e.destinationDatabase, tt.want); got[0] != "5" {
			t.Errorf("%s: %s of 5", name, got[0])
		}
		if got := report(e.run(t), "public.t"); got.RowsExtracted != 1 || got.RowsLoaded != 0 {
			t.Errorf("%s: the run after extracted %d rows and loaded %d", name, got.RowsExtracted, got.RowsLoaded)
		}
	}
}

// A plain default is known without reading all rows, whatever its type.
func TestDefaults(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		if s.Major < 11 {
			return // PostgreSQL 10 writes a default into each row
		}
		e := newEnv(t, s, s)
		e.ignoreLateCommits()
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		e.atSource(t, `ALTER TABLE t ADD a boolean DEFAULT true, ADD b char(5) DEFAULT 'x', ADD c inet DEFAULT '10.0.0.1', ADD d int[] DEFAULT '{1,NULL}',
			ADD e json DEFAULT '{"a": 1}', ADD f numeric(6,2) DEFAULT 1.5, ADD g timestamptz DEFAULT '2026-01-01 00:00+05', ADD h text DEFAULT 'it''s',
			ADD i box DEFAULT '(2,2),(0,0)'`) // whose arrays have no commas
		if got := report(e.run(t), "public.t"); got.RowsExtracted != 1 {
			t.Errorf("extracted %d rows", got.RowsExtracted)
		}
		e.wantSame(t, "t")
	})
}

// A column whose type changes is loaded into a column of the new type, which then holds only
// what the source does.
func TestTypeChanges(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct {
		changes []string // of t, which has a column v of type int with the values 1 and 2
		query   string
		want    []string
	}{
		"to text, then to its array": {
			[]string{`ALTER TABLE t ALTER v TYPE text`, `ALTER TABLE t ALTER v TYPE text[] USING ARRAY[v]`},
			`SELECT id, v, v__text, v__text_array FROM shop.t ORDER BY id`, []string{"1|∅|∅|{1}", "2|∅|∅|{2}"},
		},
		"with a value that becomes null": {
			[]string{`ALTER TABLE t ALTER v TYPE text USING nullif(v, 1)`},
			`SELECT id, v, v__text FROM shop.t ORDER BY id`, []string{"1|∅|∅", "2|∅|2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, s, s)
			e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
			e.create(t)
			e.run(t)
			for _, change := range tt.changes {
				e.atSource(t, change)
				e.run(t)
			}
			e.wantRows(t, tt.query, tt.want...)
		})
	}
}
