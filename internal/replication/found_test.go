package replication

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What random tables found, as small as it gets.
func TestFound(t *testing.T) {
	t.Parallel()
	majors := sandbox.Majors()
	oldest, newest := majors[0], majors[len(majors)-1]
	for name, tt := range map[string]struct {
		source, destination int
		rounds              []string // at the source, before each run
		query               string   // of the destination, after the last one
		want                []string
	}{
		"a default of the one type whose arrays have no commas": {newest, newest, []string{
			`CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`,
			`ALTER TABLE t ADD v box DEFAULT '(2,2),(0,0)'`,
		}, `SELECT v FROM shop.t`, []string{"(2,2),(0,0)"}},
		"a type, then its array": {newest, newest, []string{
			`CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)`,
			`ALTER TABLE t ALTER v TYPE text`,
			`ALTER TABLE t ALTER v TYPE text[] USING ARRAY[v]`,
		}, `SELECT count(*) FROM shop.t WHERE v IS NULL AND v__text IS NULL`, []string{"1"}},
		"a value that became null with its type": {newest, newest, []string{
			`CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)`,
			`ALTER TABLE t ALTER v TYPE text USING nullif(v, 1)`,
		}, `SELECT id, v, v__text FROM shop.t ORDER BY id`, []string{"1|∅|∅", "2|∅|2"}},
		"a modifier that the destination does not know": {newest, oldest, []string{
			`CREATE TABLE t (id int PRIMARY KEY, v numeric(5,-2), w numeric(3,5)); INSERT INTO t VALUES (1, 12345, 0.00123)`,
		}, `SELECT v, w FROM shop.t`, []string{"12300|0.00123"}},
		"a vector without elements": {newest, newest, []string{
			`CREATE TABLE t (id int PRIMARY KEY, v oidvector); INSERT INTO t VALUES (1, '')`,
		}, `SELECT v::text = '' FROM shop.t`, []string{"t"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, sandbox.Shared(t, tt.source), sandbox.Shared(t, tt.destination))
			e.definition.Tables["public.t"] = Selection{Method: FullTable}
			for i, sql := range tt.rounds {
				e.atSource(t, sql)
				if i == 0 {
					e.create(t)
				}
				e.run(t)
			}
			e.wantRows(t, tt.query, tt.want...)
		})
	}
}
