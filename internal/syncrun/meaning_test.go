package syncrun

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What stored values read as can change without a change of any row. Then the run reads all
// rows again, and the report says why. It does not after a change that leaves them as they
// were.
func TestMeaning(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		s := sandbox.Shared(t, major)
		for name, tt := range map[string]struct {
			since               int // major version
			create, change, why string
		}{
			"a label": {10, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, v mood); INSERT INTO t VALUES (1, 'sad'), (2, 'ok')`,
				`ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, `a label of an enum was renamed: "sad" is now "unhappy"`},
			"another label": {10, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, v mood); INSERT INTO t VALUES (1, 'sad'), (2, 'ok')`,
				`ALTER TYPE mood ADD VALUE 'great' BEFORE 'ok'`, ``},
			"labels swapped": {10, `CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (id int PRIMARY KEY, v mood); INSERT INTO t VALUES (1, 'a'), (2, 'b')`,
				`ALTER TYPE mood RENAME VALUE 'a' TO 'c'; ALTER TYPE mood RENAME VALUE 'b' TO 'a'; ALTER TYPE mood RENAME VALUE 'c' TO 'b'`, `a label of an enum was renamed`},
			"a label in an array of domains": {11, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN state AS mood; CREATE TABLE t (id int PRIMARY KEY, v state[]); INSERT INTO t VALUES (1, '{sad}'), (2, '{ok}')`,
				`ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, `a label of an enum`},
			"a label in a composite in a composite": {10, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE a AS (m mood[]); CREATE TYPE b AS (a a, n int); CREATE TABLE t (id int PRIMARY KEY, v b); INSERT INTO t VALUES (1, '("({sad})",1)'), (2, NULL)`,
				`ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, `a label of an enum`},
			"a label in a range": {10, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE moods AS RANGE (SUBTYPE = mood); CREATE TABLE t (id int PRIMARY KEY, v moods); INSERT INTO t VALUES (1, '[sad,ok]'), (2, NULL)`,
				`ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, `a label of an enum`},
			"a label in a multirange": {14, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE moods AS RANGE (SUBTYPE = mood); CREATE TABLE t (id int PRIMARY KEY, v moods_multirange); INSERT INTO t VALUES (1, '{[sad,ok]}'), (2, NULL)`,
				`ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, `a label of an enum`},
			"an attribute": {10, `CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, v pair); INSERT INTO t VALUES (1, '(1,2)'), (2, '(3,4)')`,
				`ALTER TYPE pair ADD ATTRIBUTE c int`, `attributes of a composite type`},
			"an attribute less": {10, `CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, v pair); INSERT INTO t VALUES (1, '(1,2)'), (2, '(3,4)')`,
				`ALTER TYPE pair DROP ATTRIBUTE a`, `attributes of a composite type`},
			"an attribute's name": {10, `CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, v pair); INSERT INTO t VALUES (1, '(1,2)'), (2, '(3,4)')`,
				`ALTER TYPE pair RENAME ATTRIBUTE a TO z`, ``},
			"a row of a table": {10, `CREATE TABLE other (a int); CREATE TABLE t (id int PRIMARY KEY, v other); INSERT INTO t VALUES (1, '(1)'), (2, '(3)')`,
				`ALTER TABLE other ADD b int`, `attributes of a composite type`},
			"a label that is not replicated": {10, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, v int, secret mood); INSERT INTO t VALUES (1, 1, 'sad'), (2, 2, 'ok')`,
				`ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, ``},
			"a virtual column": {18, `CREATE TABLE t (id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a + 1) VIRTUAL); INSERT INTO t VALUES (1, 1), (2, 2)`,
				`ALTER TABLE t ALTER v SET EXPRESSION AS (a + 2)`, `the expression of a generated column`},
			"a virtual column of a partition": {18, `CREATE TABLE t (id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a + 1) VIRTUAL) PARTITION BY RANGE (id); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (9); INSERT INTO t VALUES (1, 1), (2, 2)`,
				`ALTER TABLE t_1 ALTER v SET EXPRESSION AS (a + 2)`, `the expression of a generated column`},
			"a stored column": {17, `CREATE TABLE t (id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a + 1) STORED); INSERT INTO t VALUES (1, 1), (2, 2)`,
				`ALTER TABLE t ALTER v SET EXPRESSION AS (a + 2)`, `rewritten`},
			"a rewritten type": {10, `CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)`,
				`ALTER TABLE t ALTER v TYPE int USING v * 10`, `rewritten`},
			"a view": {10, `CREATE TABLE base (id int, v int); INSERT INTO base VALUES (1, 1), (2, 2); CREATE VIEW t AS SELECT id, v FROM base`,
				`CREATE OR REPLACE VIEW t AS SELECT id, v * 10 AS v FROM base`, `the definition of the view`},
			"a view below": {10, `CREATE TABLE base (id int, v int); INSERT INTO base VALUES (1, 1), (2, 2); CREATE VIEW below AS SELECT id, v FROM base; CREATE VIEW t AS SELECT id, v FROM below`,
				`CREATE OR REPLACE VIEW below AS SELECT id, v * 10 AS v FROM base`, `the definition of the view`},
			"a function of a view": {10, `CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE TABLE base (id int, v int); INSERT INTO base VALUES (1, 1), (2, 2); CREATE VIEW t AS SELECT id, public.f(v) AS v FROM base`,
				`CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 10'`, `a function that values or rows depend on was replaced`},
			"a label that a view makes text": {10, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE base (id int, v mood); INSERT INTO base VALUES (1, 'sad'), (2, 'ok'); CREATE VIEW t AS SELECT id, v::text AS v FROM base`,
				`ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, `a label of an enum`},
			"a view that is renamed below": {10, `CREATE TABLE base (id int, v int); INSERT INTO base VALUES (1, 1), (2, 2); CREATE VIEW t AS SELECT id, v FROM base`,
				`ALTER TABLE base RENAME TO basis; ALTER TABLE basis RENAME v TO w`, ``},
			"the collation of the key": {10, `CREATE TABLE t (id text PRIMARY KEY, v int); INSERT INTO t VALUES ('1', 1), ('2', 2)`,
				`ALTER TABLE t ALTER id TYPE text COLLATE "C"; INSERT INTO t VALUES ('0', 0)`, `the order of the replication key`},
			"nothing": {10, `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, v mood); INSERT INTO t VALUES (1, 'sad'), (2, 'ok')`, `ANALYZE t`, ``},
		} {
			if s.Major < tt.since {
				continue
			}
			t.Run(fmt.Sprintf("postgres%d/%s", major, name), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, s, s)
				e.atSource(t, tt.create)
				e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id", Columns: []string{"v"}}
				if s.Query(t, e.sourceDatabase, `SELECT FROM pg_class WHERE relname = 't' AND relkind = 'v'`) != nil {
					e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id", ViewKeyProperties: []string{"id"}}
				}
				e.create(t)
				e.run(t)
				for _, statement := range strings.Split(tt.change, "; ") {
					e.atSource(t, statement)
				}
				got := report(e.run(t), "public.t")
				if notes := strings.Join(got.Notes, "; "); !strings.Contains(notes, tt.why) || tt.why == "" && strings.Contains(notes, "whole") {
					t.Errorf("notes %q, want %q", notes, tt.why)
				}
				if name != "a view that is renamed below" {
					e.wantSame(t, "t", "id", "v")
				}
				if notes := strings.Join(report(e.run(t), "public.t").Notes, "; "); strings.Contains(notes, "whole") {
					t.Errorf("notes of the run after: %q", notes)
				}
			})
		}
	}
}
