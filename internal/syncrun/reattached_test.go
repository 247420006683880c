package syncrun

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Rows that were changed while their partition was detached, or their table not a child, are
// found when it is attached again, whatever their keys are.
func TestReattached(t *testing.T) {
	t.Parallel()
	const old = `now() - interval '10 days'`
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		partitions := `CREATE TABLE t (id int NOT NULL, at timestamptz, region int, v text{key}) PARTITION BY LIST (region);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1);
			CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2, 3) PARTITION BY LIST (region);
			CREATE TABLE t_2_2 PARTITION OF t_2 FOR VALUES IN (2); CREATE TABLE t_2_3 PARTITION OF t_2 FOR VALUES IN (3)`
		children := `CREATE TABLE t (id int PRIMARY KEY, at timestamptz, region int, v text);
			CREATE TABLE t_1 (PRIMARY KEY (id)) INHERITS (t); CREATE TABLE t_2 (PRIMARY KEY (id)) INHERITS (t); CREATE TABLE t_2_2 (PRIMARY KEY (id)) INHERITS (t_2); CREATE TABLE t_2_3 (PRIMARY KEY (id)) INHERITS (t_2)`
		for name, tt := range map[string]struct{ create, out, in string }{
			"a partition":                 {partitions, `ALTER TABLE t_2 DETACH PARTITION t_2_2`, `ALTER TABLE t_2 ATTACH PARTITION t_2_2 FOR VALUES IN (2)`},
			"a whole sub-tree":            {partitions, `ALTER TABLE t DETACH PARTITION t_2`, `ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES IN (2, 3)`},
			"a child":                     {children, `ALTER TABLE t_2_2 NO INHERIT t_2`, `ALTER TABLE t_2_2 INHERIT t_2`},
			"a whole sub-tree of a table": {children, `ALTER TABLE t_2 NO INHERIT t`, `ALTER TABLE t_2 INHERIT t`},
		} {
			for _, key := range []string{", PRIMARY KEY (id, region)", ""} {
				if key != "" && s.Major < 11 && tt.create == partitions {
					continue // a partitioned table cannot have one
				}
				t.Run(fmt.Sprintf("%s %t", name, key != ""), func(t *testing.T) {
					t.Parallel()
					e := newEnv(t, s, s)
					e.atSource(t, strings.ReplaceAll(tt.create, "{key}", key)+`;
						INSERT INTO t_1 SELECT g, now(), 1, 'v' FROM generate_series(1, 9) g; INSERT INTO t_2_2 SELECT g, `+old+`, 2, 'v' FROM generate_series(11, 19) g; INSERT INTO t_2_3 SELECT g, `+old+`, 3, 'v' FROM generate_series(21, 29) g`)
					e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
					e.create(t)
					for range 2 {
						e.run(t)
					}
					e.atSource(t, tt.out)
					e.atSource(t, `UPDATE t_2_2 SET v = 'changed'; INSERT INTO t_2_2 VALUES (10, `+old+`, 2, 'new')`)
					e.atSource(t, tt.in)
					changes := strings.Join(report(e.run(t), "public.t").Changes, "; ")
					if want := "partition public.t_2_2 was attached again"; !strings.Contains(changes, want) {
						t.Errorf("changes %q, want %q", changes, want)
					}
					e.wantSame(t, "t")
					if again := report(e.run(t), "public.t"); len(again.Changes) > 0 {
						t.Errorf("changes of the run after: %q", again.Changes)
					}
				})
			}
		}
	})
}
