package syncrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// Workers of several processes do the units of one run, and share nothing but the catalog.
// Whichever process dies, the run ends, or the next one continues, and each table is right.

// leadRun begins a run, led by a worker that divides tables as if there were that many
// workers.
func (e *env) leadRun(t *testing.T, streams int) *worker {
	t.Helper()
	w := newWorker(t, e, catalog.Run{})
	w.sessions.Destination.Leads, w.Streams = w.Replication, streams
	if _, err := w.start(t.Context(), tablesync.VerifyNone); err != nil {
		t.Fatal(pgclient.Explain(err))
	}
	return w
}

// completed does the rest of a run, in the background.
func completed(t *testing.T, leader *worker) chan result {
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	go func() {
		defer cancel()
		run, err := complete(ctx, []*worker{leader})
		if err == nil && ctx.Err() != nil {
			err = errors.New("the run hung")
		}
		done <- result{run, err}
	}()
	return done
}

// worked is completed for a worker that does not lead the run.
func worked(t *testing.T, w *worker) chan error {
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	go func() {
		defer cancel()
		err := w.processUnits(ctx)
		if err == nil && ctx.Err() != nil {
			err = errors.New("the worker hung")
		}
		done <- err
	}()
	return done
}

// wantEnded fails unless a run has succeeded with all tables, and left nothing behind.
func (e *env) wantEnded(t *testing.T, got result) {
	t.Helper()
	if got.err != nil || len(got.run.Notes) > 0 {
		t.Errorf("%v, notes %q", got.err, got.run.Notes)
	}
	e.wantRows(t, fmt.Sprintf(`SELECT r.status, count(*), count(*) FILTER (WHERE p.status = 'succeeded') FROM _stitch.run AS r JOIN _stitch.report AS p ON p.run = r.id WHERE r.id = '%s' GROUP BY 1`, got.run.ID),
		fmt.Sprintf("succeeded|%d|%[1]d", len(e.definition.Tables)))
	if len(got.run.Tables) != len(e.definition.Tables) || got.run.Status != Succeeded {
		t.Errorf("the run is %s, with reports %+v", got.run.Status, got.run.Tables)
	}
	e.wantRows(t, `SELECT count(*) FROM _stitch.unit`, "0")
	e.wantRows(t, `SELECT count(*) FROM _stitch.run WHERE status = 'running'`, "0")
	e.wantNoStaging(t)
	for key := range e.definition.Tables {
		name, err := relation.ParseTableName(key)
		if err != nil {
			t.Fatal(err)
		}
		e.wantSame(t, name.Name)
	}
}

// A table that another process has loaded is part of the run.
func TestTableElsewhere(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 50)`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	leader := e.leadRun(t, 1)
	if err := newWorker(t, e, leader.Run).processUnits(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := <-completed(t, leader)
	e.wantEnded(t, got)
	if r := report(got.run, "public.a"); r.RowsLoaded != 50 {
		t.Errorf("%+v", r)
	}
}

// twoTables creates the tables a and b, the larger one first. The proxy holds their rows at
// "held a" and "held b".
func (e *env) twoTables(t *testing.T) *proxy {
	t.Helper()
	e.atSource(t, `
		CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, md5(g::text) FROM generate_series(2, 9000) g; INSERT INTO a VALUES (1, 'held a');
		CREATE TABLE b (id int PRIMARY KEY, v text); INSERT INTO b SELECT g, md5(g::text) FROM generate_series(2, 900) g; INSERT INTO b VALUES (1, 'held b')`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.b"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	return e.readHeld(t, 1, "held a", "held b")
}

// awaitRenewal waits until each unit in progress has a later lease than now.
func (e *env) awaitRenewal(t *testing.T, where string) {
	t.Helper()
	leases := e.destination.Query(t, e.destinationDatabase, `SELECT max(lease_expires_at) FROM _stitch.unit WHERE NOT done AND `+where)
	pgtest.Await(t, e.destination, e.destinationDatabase, fmt.Sprintf(`SELECT FROM _stitch.unit WHERE NOT done AND %s AND lease_expires_at > '%s' AND claimed_by IS NOT NULL AND attempt = 1`, where, leases[0]), 1)
}

// A run waits for a table that another process is loading, however long that takes: that
// process's worker cannot renew the lease in the middle of a COPY.
func TestWaitsForTable(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		p := e.twoTables(t)
		leader := e.leadRun(t, 1)
		other := worked(t, newWorker(t, e, leader.Run))
		p.awaitHeld(t, 1)
		done := completed(t, leader)
		p.awaitHeld(t, 2)
		p.release(t, "held b")
		pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM _stitch.unit WHERE source_table = 'public.b' AND done`, 1)
		for range 3 {
			e.awaitRenewal(t, `source_table = 'public.a'`)
		}
		p.releaseAll(t)
		e.wantEnded(t, <-done)
		if err := <-other; err != nil {
			t.Error(err)
		}
	})
}

// A run waits for a range that another process is copying, and uses it.
func TestWaitsForRange(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, twoRangesSQL, 20000)
	leader := e.leadRun(t, 2)
	done := completed(t, leader)
	p.awaitHeld(t, 1)
	other := worked(t, newWorker(t, e, leader.Run))
	p.release(t, ownRange(t, e, p))
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM _stitch.unit WHERE part_of IS NOT NULL AND done`, 1)
	for range 3 {
		e.awaitRenewal(t, `part_of IS NOT NULL`)
	}
	p.releaseAll(t)
	got := <-done
	e.wantEnded(t, got)
	if r := report(got.run, "public.t"); r.RowsExtracted != 20000 {
		t.Errorf("%+v", r)
	}
	if err := <-other; err != nil {
		t.Error(err)
	}
}

// peer is what a process that works on a run needs to know.
type peer struct {
	Configs     map[string]pgclient.Config
	Destination definition.Endpoint
	Schema      string
	Run         string // the run to work on; "" to begin one
	Streams     int
}

// TestPeerProcess is not a test of its own: the tests below run it in another process.
func TestPeerProcess(t *testing.T) {
	text := os.Getenv("STITCH_TEST_PEER")
	if text == "" {
		return
	}
	var p peer
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	w := workerOf(t, pgclient.NewServers(p.Configs), p.Destination, p.Schema, catalog.Run{ID: p.Run})
	w.Streams = p.Streams
	var err error
	if p.Run != "" {
		err = w.processUnits(t.Context())
	} else {
		w.sessions.Destination.Leads = w.Replication
		if _, err = w.start(t.Context(), tablesync.VerifyNone); err == nil {
			_, err = complete(t.Context(), []*worker{w})
		}
	}
	if err != nil {
		t.Fatal(pgclient.Explain(err))
	}
}

// startPeer starts a process that works on a run, or begins one if run is "".
func (e *env) startPeer(t *testing.T, run string, streams int) (kill func()) {
	t.Helper()
	text, err := json.Marshal(peer{
		Configs: map[string]pgclient.Config{
			"source":      {Host: e.source.Host, Port: e.sourcePort, Username: e.reader, Password: e.source.Password, MaxConnections: 1},
			"destination": {Host: e.destination.Host, Port: e.destinationPort, Username: e.writer, Password: e.destination.Password, MaxConnections: 1},
		},
		Destination: e.definition.Destination, Schema: e.definition.SchemaName, Run: run, Streams: streams,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPeerProcess$")
	cmd.Env = append(os.Environ(), "STITCH_TEST_PEER="+string(text))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("the process ended by itself: %v\n%s", err, output.String())
		}
	}
}

// begun waits until a run that another process leads has begun, and returns it.
func (e *env) begun(t *testing.T) catalog.Run {
	t.Helper()
	return catalog.Run{ID: pgtest.Await(t, e.destination, e.destinationDatabase, `SELECT id FROM _stitch.run WHERE status = 'running'`, 1)[0]}
}

// No process waits for one that is killed while it loads a table: others load it.
func TestKilledWithTable(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := e.twoTables(t)
	leader := e.leadRun(t, 1)
	done := completed(t, leader)
	p.awaitHeld(t, 1)
	kill := e.startPeer(t, leader.Run.ID, 1)
	p.awaitHeld(t, 2)
	kill()
	p.release(t, "held a")
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM _stitch.unit WHERE source_table = 'public.b' AND attempt = 2`, 1)
	p.releaseAll(t)
	e.wantEnded(t, <-done)
}

// No process waits for one that is killed while it copies a range either, and the table is
// not read again.
func TestKilledWithRange(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := inRanges(t, e, twoRangesSQL, 20000)
	leader := e.leadRun(t, 2)
	done := completed(t, leader)
	p.awaitHeld(t, 1)
	kill := e.startPeer(t, leader.Run.ID, 1)
	own := ownRange(t, e, p)
	kill()
	p.release(t, own)
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM _stitch.unit WHERE part_of IS NOT NULL AND attempt = 2`, 1)
	e.wantRows(t, `SELECT attempt FROM _stitch.unit WHERE part_of IS NULL`, "1")
	p.releaseAll(t)
	e.wantEnded(t, <-done)
}

// dividedElsewhere makes a leader load the table a, which is large and not divided, while
// another worker divides t. When a is done, the leader copies a range of t.
func (e *env) dividedElsewhere(t *testing.T) *proxy {
	t.Helper()
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, md5(g::text) FROM generate_series(2, 60000) g; INSERT INTO a VALUES (1, 'held a')`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	p := inRanges(t, e, twoRangesSQL, 20000)
	p.hold(t, "held a")
	return p
}

// When a process that has divided a table is killed, its ranges are deleted, including those
// that others copy: its snapshot is gone.
func TestKilledWithDividedTable(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	p := e.dividedElsewhere(t)
	leader := e.leadRun(t, 1)
	done := completed(t, leader)
	p.awaitHeld(t, 1)
	kill := e.startPeer(t, leader.Run.ID, 2)
	p.awaitHeld(t, 2)
	p.release(t, "held a")
	ownRange(t, e, p)
	kill()
	p.releaseAll(t)
	e.wantEnded(t, <-done)
}

// When the process that leads a run is killed, others finish what they do, and stop. The next
// run continues.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct {
		create  func(*env, *testing.T) *proxy
		streams int    // of the leader
		first   string // what is held of the leader before the other process begins
		loaded  string // by the other
	}{
		"with a table":         {(*env).twoTables, 1, "", "public.b"},
		"with a divided table": {func(e *env, t *testing.T) *proxy { return inRanges(t, e, twoRangesSQL, 20000) }, 2, "", ""},
		"with a range":         {(*env).dividedElsewhere, 1, "held a", "public.t"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			p := tt.create(e, t)
			kill := e.startPeer(t, "", tt.streams)
			p.awaitHeld(t, 1)
			w := newWorker(t, e, e.begun(t))
			w.Streams = 2
			other := worked(t, w)
			p.awaitHeld(t, 2)
			if tt.first != "" {
				p.release(t, tt.first)
				ownRange(t, e, p)
			}
			kill()
			p.releaseAll(t)
			// The other has nothing left to do, or no longer a leader to do it for.
			if err := <-other; !errors.Is(err, errNoLeader) && (err != nil || tt.first == "") {
				t.Errorf("the other process: %v", err)
			}
			if tt.loaded != "" {
				e.wantRows(t, `SELECT source_table FROM _stitch.report WHERE source_table <> 'public.a'`, tt.loaded)
			}
			e.wantRows(t, `SELECT status FROM _stitch.run`, "running")
			run, err := e.tryRun(t.Context())
			e.wantEnded(t, result{run, err})
			e.wantRows(t, `SELECT status FROM _stitch.run ORDER BY started_at`, "interrupted", "succeeded")
		})
	}
}

// The next run does not wait for a process that works on the run before, which can no longer
// commit.
func TestNextRunFences(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.twoTables(t).releaseAll(t)
	e.run(t)
	p := e.readHeld(t, 1, "held a", "held b")
	kill := e.startPeer(t, "", 1)
	p.awaitHeld(t, 1)
	interrupted := e.begun(t)
	other := worked(t, newWorker(t, e, interrupted))
	p.awaitHeld(t, 2)
	kill()
	e.atSource(t, `INSERT INTO b VALUES (0, 'later')`)
	e.sourcePort = s.Port
	e.servers = e.newServers(t, 1)
	run, err := e.tryRun(t.Context())
	e.wantEnded(t, result{run, err})
	p.releaseAll(t)
	if err := <-other; err != nil {
		t.Errorf("the other process: %v", err)
	}
	e.wantRows(t, `SELECT count(*) FROM _stitch.report WHERE run = '`+interrupted.ID+`'`, "0")
	e.wantEnded(t, result{run, err})
}
