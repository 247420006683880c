package syncrun

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// killed is what the process that the test kills needs to know.
type killed struct {
	Configs     map[string]pgclient.Config
	Destination definition.Endpoint
	Schema      string
}

// TestKilledProcess is not a test of its own: TestKill runs it in a process that it kills. It
// runs the replication over and over.
func TestKilledProcess(t *testing.T) {
	text := os.Getenv("STITCH_TEST_KILLED")
	if text == "" {
		return
	}
	var k killed
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	servers := pgclient.NewServers(k.Configs)
	runner := Runner{Server: func(name string) (*pgclient.Server, error) {
		server, _ := servers.Server(name)
		return server, nil
	}, chunkRows: 300, rangeBytes: 200 << 10}
	destination, _ := runner.Server(k.Destination.Server)
	for {
		if _, err := runner.Run(context.Background(), pgclient.Endpoint{Server: destination, Database: k.Destination.Database}, k.Schema); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that is killed at any instant loses nothing and doubles nothing, while other
// sessions write to the source.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 10 * effort(t)
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `
		CREATE TABLE keyed (id int PRIMARY KEY, n int, pad text); CREATE INDEX ON keyed (n); INSERT INTO keyed SELECT g, g, repeat('x', 100) FROM generate_series(1, 20000) g;
		CREATE TABLE keyless (n int, pad text); INSERT INTO keyless SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g;
		CREATE TABLE whole (n int, pad text); INSERT INTO whole SELECT g % 1000, repeat('x', 100) FROM generate_series(1, 20000) g;
		CREATE SEQUENCE next START 100000`)
	e.definition.Tables = map[string]definition.Selection{
		"public.keyed":   {Method: definition.Incremental, ReplicationKey: "n"},
		"public.keyless": {Method: definition.Incremental, ReplicationKey: "n"},
		"public.whole":   {Method: definition.FullTable},
	}
	e.create(t)
	text, err := json.Marshal(killed{
		Configs: map[string]pgclient.Config{
			"source":      {Host: s.Host, Port: s.Port, Username: e.reader, Password: s.Password},
			"destination": {Host: s.Host, Port: s.Port, Username: e.writer, Password: s.Password},
		}, // with several connections each: ranges and chunks are in progress when it is killed
		Destination: e.definition.Destination, Schema: e.definition.SchemaName,
	})
	if err != nil {
		t.Fatal(err)
	}
	seed := seedOf(t)
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProcess$")
		cmd.Env = append(os.Environ(), "STITCH_TEST_KILLED="+string(text))
		before := s.Query(t, "postgres", `SELECT clock_timestamp()`)[0]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_stat_activity WHERE usename = '`+e.writer+`' AND backend_start > '`+before+`' LIMIT 1`, 1)
		began := time.Now()
		delay := time.Duration(random.IntN(1500)) * time.Millisecond
		for time.Since(began) < delay {
			e.atSource(t, fmt.Sprintf(`
				UPDATE keyed SET n = nextval('next') WHERE id %% 97 = %d;
				INSERT INTO keyless SELECT nextval('next'), 'new' FROM generate_series(1, 50);
				DELETE FROM whole WHERE ctid IN (SELECT ctid FROM whole LIMIT 20); INSERT INTO whole SELECT g, 'new' FROM generate_series(1, 30) g`, random.IntN(97)))
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("the process ended by itself: %v", err)
		}
	}
	e.run(t)
	for _, table := range []string{"keyed", "keyless", "whole"} {
		e.wantSame(t, table)
	}
	e.wantRows(t, `SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'shop' AND relkind = 'r' ORDER BY 1`, "keyed", "keyless", "whole")
	got := e.destination.Query(t, e.destinationDatabase, `SELECT count(*) FILTER (WHERE status = 'running'), count(*) FILTER (WHERE status = 'interrupted') > 0 FROM _stitch.run`)
	if got[0] != "0|t" {
		t.Errorf("runs that still run, and whether any was interrupted: %s", got[0])
	}
}
