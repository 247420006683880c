package syncrun

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A function of a view that never ends does not hold up a plan.
func TestViewThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `
		CREATE FUNCTION endless() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
			LOOP
				BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
			END LOOP;
		END $$;
		CREATE VIEW v AS SELECT endless();
		GRANT SELECT ON v TO `+e.reader)
	e.definition.Tables["public.v"] = definition.Selection{Method: definition.FullTable}
	_, _, err := replication.CheckSource(t.Context(), e.sourceEndpoint(t), e.definition)
	if err == nil || !strings.Contains(err.Error(), "plan a query of public.v: it did not end within") {
		t.Error(err)
	}
	s.Query(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, e.reader)
}

// A view whose function needs another path than the engine's is reported at plan time if
// planning a query shows it. Otherwise the run says which function it is.
func TestViewPath(t *testing.T) {
	t.Parallel()
	for _, s := range oldestAndNewest(t) {
		e := newEnv(t, s, s)
		e.atSource(t, `
			CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
			CREATE FUNCTION helper(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
			CREATE FUNCTION inlined(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT helper($1)';
			CREATE FUNCTION hidden(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN helper($1); END';
			CREATE FUNCTION fine(int) RETURNS int LANGUAGE plpgsql SET search_path = public, pg_temp AS 'BEGIN RETURN helper($1); END';
			CREATE VIEW a AS SELECT inlined(id) FROM t;
			CREATE VIEW b AS SELECT hidden(id) FROM t;
			CREATE VIEW c AS SELECT fine(id) FROM t;
			GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+e.reader)
		for _, view := range []string{"a", "b", "c"} {
			e.definition.Tables["public."+view] = definition.Selection{Method: definition.FullTable}
		}
		problems, _, err := replication.CheckSource(t.Context(), e.sourceEndpoint(t), e.definition)
		if err != nil {
			t.Fatal(err)
		}
		if len(problems) != 1 || problems[0].Table != "public.a" || !strings.Contains(problems[0].Message, "ALTER FUNCTION inlined SET search_path =") {
			t.Errorf("PostgreSQL %d: %v", s.Major, problems)
		}
		e.create(t)
		run, err := e.tryRun(t.Context())
		if err == nil {
			t.Fatal("the run succeeded")
		}
		for table, want := range map[string]string{"a": "ALTER FUNCTION inlined SET search_path =", "b": "ALTER FUNCTION public.hidden(integer) SET search_path ="} {
			if got := report(run, "public."+table).Error; !strings.Contains(got, want) || !strings.Contains(got, "helper") {
				t.Errorf("PostgreSQL %d: %s", s.Major, got)
			}
		}
		e.wantSame(t, "c")
	}
}
