package syncrun

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// endSessions ends the sessions of a role, and returns when they are gone.
func endSessions(t *testing.T, s *sandbox.Server, role string) {
	t.Helper()
	s.Query(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
	pgtest.Await(t, s, "postgres", "SELECT pid FROM pg_stat_activity WHERE usename = '"+role+"'", 0)
}

// A run replaces sessions that end between two tables, or after the last.
func TestSessionsEndBetweenTables(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for side, last := range map[string]int{"source": 1, "destination": 1, "destination at last": 3} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			for n := range 3 {
				e.atSource(t, fmt.Sprintf("CREATE TABLE t%[1]d (id int PRIMARY KEY); INSERT INTO t%[1]d VALUES (1)", n))
				e.definition.Tables[fmt.Sprintf("public.t%d", n)] = definition.Selection{Method: definition.FullTable}
			}
			e.create(t)
			done := 0
			e.onProgress(func(message string, _ map[string]any) {
				if message != "table succeeded" {
					return
				}
				if done++; done == last {
					role := e.writer
					if side == "source" {
						role = e.reader
					}
					endSessions(t, s, role)
				}
			})
			run := e.run(t)
			if len(run.Notes) > 0 {
				t.Errorf("notes %q", run.Notes)
			}
			for n := range 3 {
				e.wantSame(t, fmt.Sprintf("t%d", n))
			}
			recorded, err := LastRun(t.Context(), e.endpoint(), "shop")
			if err != nil || recorded.ID != run.ID || recorded.Status != Succeeded {
				t.Errorf("the run was recorded as %+v, %v", recorded, err)
			}
		})
	}
}

// A claim whose answer is lost leaves no table behind.
func TestClaimNotHeard(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	for n := range 3 {
		e.atSource(t, fmt.Sprintf("CREATE TABLE t%[1]d (id int PRIMARY KEY); INSERT INTO t%[1]d VALUES (1)", n))
		e.definition.Tables[fmt.Sprintf("public.t%d", n)] = definition.Selection{Method: definition.FullTable}
	}
	e.create(t)
	proxy := newProxy(t, s)
	e.loadThrough(t, proxy)
	e.onProgress(func(message string, _ map[string]any) {
		if message == "table succeeded" && proxy.cuts.Load() == 0 {
			proxy.armedClaim.Store(true)
		}
	})
	if run := e.run(t); len(run.Notes) > 0 {
		t.Errorf("notes %q", run.Notes)
	}
	if cut := proxy.cuts.Load(); cut != 1 {
		t.Errorf("%d connections were cut", cut)
	}
	for n := range 3 {
		e.wantSame(t, fmt.Sprintf("t%d", n))
	}
}

// A run whose replication is deleted during the run says so: it has nothing to report on its
// tables.
func TestDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, others := range map[string]int{"the catalog stays": 1, "the catalog goes": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			for n := range 2 {
				e.atSource(t, fmt.Sprintf("CREATE TABLE t%[1]d (id int PRIMARY KEY); INSERT INTO t%[1]d VALUES (1)", n))
				e.definition.Tables[fmt.Sprintf("public.t%d", n)] = definition.Selection{Method: definition.FullTable}
			}
			for n := range others {
				other := e.definition
				other.SchemaName = fmt.Sprintf("other%d", n)
				if err := replication.Create(t.Context(), e.endpoint(), other, false, pgclient.Identity{}); err != nil {
					t.Fatal(err)
				}
			}
			e.create(t)
			destination, _ := e.newServers(t, 1).Server("destination")
			deleted := false
			e.onProgress(func(message string, _ map[string]any) {
				if message == "table succeeded" && !deleted {
					deleted = true
					if err := replication.Delete(t.Context(), pgclient.Endpoint{Server: destination, Database: e.destinationDatabase}, "shop", false); err != nil {
						t.Error(err)
					}
				}
			})
			run, err := e.tryRun(t.Context())
			if err == nil || !strings.Contains(err.Error(), "the replication was deleted") || run.Status == Succeeded {
				t.Errorf("got %q, %v", run.Status, err)
			}
		})
	}
}

// Tables that a run did not reach, because its units are gone, say so.
func TestUnitsGone(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	for n := range 2 {
		e.atSource(t, fmt.Sprintf("CREATE TABLE t%[1]d (id int PRIMARY KEY); INSERT INTO t%[1]d VALUES (1)", n))
		e.definition.Tables[fmt.Sprintf("public.t%d", n)] = definition.Selection{Method: definition.FullTable}
	}
	e.create(t)
	e.onProgress(func(message string, _ map[string]any) {
		if message == "table succeeded" {
			e.atDestination(t, `DELETE FROM _stitch.unit`)
		}
	})
	run, err := e.tryRun(t.Context())
	var failed *TablesError
	if !errors.As(err, &failed) || len(failed.Reports) != 1 || !strings.Contains(failed.Reports[0].Error, "did not reach the table") {
		t.Errorf("got %v", err)
	}
	if len(run.Tables) != 2 || run.Status != "failed" {
		t.Errorf("the run was %s: %+v", run.Status, run.Tables)
	}
	e.wantRows(t, `SELECT r.status, count(*), count(*) FILTER (WHERE p.status = 'failed') FROM _stitch.run AS r JOIN _stitch.report AS p ON p.run = r.id GROUP BY 1`, "failed|2|1")
}
