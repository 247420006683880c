package syncrun

import (
	"errors"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// through makes the engine reach both sides through PgBouncers of these modes, or directly
// where the mode is "".
func (e *env) through(t *testing.T, source, destination string, connections int) {
	t.Helper()
	entry := func(s *sandbox.Server, mode, user string) pgclient.Config {
		config := pgclient.Config{Host: s.Host, Port: s.Port, Username: user, Password: s.Password, MaxConnections: connections}
		if mode == "" {
			return config
		}
		p := sandbox.OwnPgBouncer(t, s, mode, user)
		config.Host, config.Port = p.Host, p.Port
		return config
	}
	e.servers = pgclient.NewServers(map[string]pgclient.Config{
		"source":      entry(e.source, source, e.reader),
		"destination": entry(e.destination, destination, e.writer),
	})
	t.Cleanup(e.servers.Close)
}

// A run never begins through a pool that gives it no session of its own.
func TestTransactionPool(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	for side, modes := range map[string][2]string{"source": {"transaction", ""}, "destination": {"", "transaction"}} {
		e.through(t, modes[0], modes[1], 4)
		_, err := e.tryRun(t.Context())
		var refused *pgclient.PoolingError
		if !errors.As(err, &refused) || refused.Server != side || !strings.Contains(err.Error(), "pool_mode = session") {
			t.Errorf("%s: got %v", side, err)
		}
	}
	e.wantRows(t, `SELECT count(*) FROM _stitch.run WHERE status <> 'failed'`, "0")
	e.wantRows(t, `SELECT count(*) FROM _stitch.loaded_table`, "0")
	e.through(t, "session", "session", 1)
	if _, err := e.tryRun(t.Context()); err == nil || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("one connection through pools: got %v", err)
	}
}

// Through a pool that lends sessions for as long as connections last, runs work as they do
// without one: several tables at a time, a large one in ranges, and the next run in sessions
// that others have used.
func TestSessionPool(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `
		CREATE TABLE large (id int PRIMARY KEY, v text); INSERT INTO large SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g;
		CREATE TABLE small (id int PRIMARY KEY, at timestamptz); INSERT INTO small SELECT g, now() FROM generate_series(1, 10) g`)
	e.definition.Tables["public.large"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.small"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
	e.through(t, "session", "session", 4)
	e.runs.rangeBytes = 256 << 10
	e.create(t)
	for _, change := range []string{"", `UPDATE large SET v = 'new' WHERE id % 100 = 0; DELETE FROM large WHERE id = 1; INSERT INTO small VALUES (11, now())`, ""} {
		if change != "" {
			e.atSource(t, change)
		}
		run := e.run(t)
		if len(run.Notes) > 0 {
			t.Errorf("notes %q", run.Notes)
		}
		e.wantSame(t, "large")
		e.wantSame(t, "small")
	}
}
