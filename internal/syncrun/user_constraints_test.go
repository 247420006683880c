package syncrun

import (
	"regexp"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A load that conflicts with an index or a constraint which a user added to a loaded table
// names it, and says what makes the next run succeed.
func TestConstraintsOfUsers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, constraint, change string
		want, remedy             string // the test runs the remedy as the error gives it
	}{
		{"unique index", `CREATE UNIQUE INDEX mine ON shop.t (v, n)`, `UPDATE t SET v = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id < 3`,
			`The index "mine"`, `DROP INDEX "shop"."mine"; ALTER TABLE "shop"."t" ADD CONSTRAINT "mine" UNIQUE ("v", "n") DEFERRABLE`},
		{"unique constraint", `ALTER TABLE shop.t ADD CONSTRAINT "my own" UNIQUE (v)`, `UPDATE t SET v = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id < 3`,
			`The constraint "my own"`, `ALTER TABLE "shop"."t" DROP CONSTRAINT "my own", ADD CONSTRAINT "my own" UNIQUE ("v") DEFERRABLE`},
		{"unique index on an expression", `CREATE UNIQUE INDEX mine ON shop.t (lower(v))`, `UPDATE t SET v = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id < 3`,
			`The index "mine"`, `DROP INDEX "shop"."mine"`},
		{"unique index on some rows", `CREATE UNIQUE INDEX mine ON shop.t (v) WHERE n > 0`, `UPDATE t SET v = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id < 3`,
			`The index "mine"`, `DROP INDEX "shop"."mine"`},
		{"exclusion", `ALTER TABLE shop.t ADD CONSTRAINT mine EXCLUDE USING btree (v WITH =)`, `UPDATE t SET v = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id < 3`,
			`The constraint "mine"`, `ALTER TABLE "shop"."t" DROP CONSTRAINT "mine"`},
		{"check", `ALTER TABLE shop.t ADD CONSTRAINT mine CHECK (n < 5)`, `UPDATE t SET n = 6 WHERE id = 1`,
			`The constraint "mine"`, `ALTER TABLE "shop"."t" DROP CONSTRAINT "mine"`},
		{"foreign key", `CREATE TABLE shop.parents (n int PRIMARY KEY); INSERT INTO shop.parents VALUES (1), (2); ALTER TABLE shop.parents OWNER TO writer;
			ALTER TABLE shop.t ADD CONSTRAINT mine FOREIGN KEY (n) REFERENCES shop.parents`, `UPDATE t SET n = 6 WHERE id = 1`,
			`The constraint "mine"`, `ALTER TABLE "shop"."t" DROP CONSTRAINT "mine"`},
		{"not null", `ALTER TABLE shop.t ALTER v SET NOT NULL`, `UPDATE t SET v = NULL WHERE id = 1`,
			`column "v"`, `ALTER TABLE "shop"."t" ALTER COLUMN "v" DROP NOT NULL`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{definition.FullTable, definition.Incremental} {
				e := newEnv(t, sandbox.Shared(t, 0), sandbox.Shared(t, 0))
				e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text, n int, at timestamptz NOT NULL DEFAULT now()); INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 2)`)
				e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
				if method == definition.Incremental {
					e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
				}
				e.create(t)
				e.run(t)
				e.atDestination(t, strings.ReplaceAll(tt.constraint, "writer", e.writer))
				e.atSource(t, tt.change)
				run, err := e.tryRun(t.Context())
				if err == nil {
					t.Fatal("the run succeeded")
				}
				got := report(run, "public.t").Error
				if !strings.Contains(got, tt.want) || !strings.Contains(got, tt.remedy) || regexp.MustCompile(`give it a default`).MatchString(got) {
					t.Fatalf("got %q, want %q", got, tt.want+" ... "+tt.remedy)
				}
				e.atDestination(t, tt.remedy)
				e.run(t)
				e.wantSame(t, "t")
			}
		})
	}
}
