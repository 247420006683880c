package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// later lets time go by for what the catalog remembers.
func (e *env) later(t *testing.T, d time.Duration) {
	t.Helper()
	e.atDestination(t, fmt.Sprintf(`
		UPDATE _stitch.bookmark SET horizon = jsonb_set(horizon, '{passed}', (
			SELECT jsonb_agg(jsonb_set(p, '{at}', to_jsonb((p->>'at')::bigint - %d)) ORDER BY n)
			FROM jsonb_array_elements(horizon->'passed') WITH ORDINALITY AS e (p, n)))
		WHERE horizon ? 'passed'`, int64(d.Seconds())))
}

// A daily run (1440 minutes is a documented frequency), or one after a weekend:
// a row that is committed a second late is missed, because the window is counted
// back from the run that looks, not from the one that did not see the row.
func TestReviewDailyRuns(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 10)`)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.later(t, 24*time.Hour)
	late := e.session(t)
	do(t, late, `BEGIN; INSERT INTO t (v) VALUES ('late')`)
	e.atSource(t, `INSERT INTO t (v) VALUES ('early')`)
	e.run(t)
	do(t, late, `COMMIT`)
	e.later(t, 24*time.Hour)
	e.run(t)
	e.wantSame(t, "t")
	e.run(t)
	e.wantSame(t, "t")
}

// Rows that come with a partition were committed before it was attached, and
// have keys before the bookmark.
func TestReviewAttachedPartition(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for _, key := range []string{"id", "at"} {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int, at timestamptz, region int) PARTITION BY LIST (region);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); INSERT INTO t SELECT g, now() - interval '10 seconds', 1 FROM generate_series(1, 10) g;
			CREATE TABLE t_2 (LIKE t); INSERT INTO t_2 SELECT g, now(), 2 FROM generate_series(11, 20) g;
			INSERT INTO t SELECT g, now() + interval '1 second', 1 FROM generate_series(21, 30) g`)
		e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: key}
		e.create(t)
		e.run(t)
		e.run(t)
		e.atSource(t, `ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES IN (2)`)
		e.run(t)
		e.wantSame(t, "t")
	}
}

// slow makes a type of the source whose values take their time, in milliseconds.
const slow = `
	CREATE TYPE slow AS (ms int);
	CREATE FUNCTION slow_text(slow) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(($1).ms / 1000.0); RETURN ($1).ms::text; END';
	CREATE CAST (slow AS text) WITH FUNCTION slow_text(slow);`

// inParts prepares a table of two parts, whose first and last row take so long,
// and two workers for it. The one whose table it is copies the first part.
func inParts(t *testing.T, e *env, first, last int) {
	t.Helper()
	e.servers = e.again(t, 2)
	e.atSource(t, slow+fmt.Sprintf(`
		CREATE TABLE t (id int PRIMARY KEY, v text, s slow);
		INSERT INTO t SELECT g, md5(g::text), CASE g WHEN 1 THEN ROW(%d)::slow WHEN 20000 THEN ROW(%d)::slow END FROM generate_series(1, 20000) g`, first, last))
	e.runs.partBytes = 500 << 10
	e.definition.Tables["public.t"] = Selection{Method: FullTable}
	e.create(t)
}

type result struct {
	run Run
	err error
}

// start begins a run, which has a minute.
func (e *env) start(t *testing.T) chan result {
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	go func() {
		defer cancel()
		run, err := e.tryRun(ctx)
		if err == nil && ctx.Err() != nil {
			err = fmt.Errorf("the run hung: %v", run.Tables)
		}
		done <- result{run, err}
	}()
	return done
}

// await waits until a query returns rows.
func await(t *testing.T, s *sandbox.Server, database, query string) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if rows := s.Query(t, database, query); len(rows) > 0 {
			return rows
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing came of %s", query)
		}
	}
}

// copying is a condition of pg_stat_activity for who loads a hidden table.
const loadingParts = `SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY %_sdc_loading_%' AND datname = current_database() AND pid <> pg_backend_pid()`

// A worker that dies with a part in its hands, and can not say so, is waited for
// without end: the run hangs, with its snapshot of the source open.
func TestReviewLostHelper(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	inParts(t, e, 1500, 5000)
	done := e.start(t)
	for { // until both copy, then until only the helper does
		if len(await(t, s, e.destinationDatabase, loadingParts)) == 2 {
			break
		}
	}
	var helper []string
	for helper = await(t, s, e.destinationDatabase, loadingParts); len(helper) != 1; helper = await(t, s, e.destinationDatabase, loadingParts) {
	}
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT 1`) // as if others had taken the connections
	s.Query(t, "postgres", `SELECT pg_terminate_backend($1::text::int)`, helper[0])
	began := time.Now()
	got := <-done
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT -1`)
	if time.Since(began) > 40*time.Second {
		t.Errorf("the run waited until it was cancelled: %+v, %v", got.run, got.err)
	}
}

// The source restarts while the worker whose table it is waits for the part of
// another: that passes. But the other one can not say that it failed, because it
// has tried twice and speaks of its first attempt, and is waited for without end.
func TestReviewSourceSessionsEnd(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	inParts(t, e, 1000, 4000)
	done := e.start(t)
	for len(await(t, s, e.destinationDatabase, loadingParts)) != 2 {
	}
	for len(await(t, s, e.destinationDatabase, loadingParts)) != 1 {
	}
	s.Query(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, e.reader)
	if got := <-done; got.err != nil {
		t.Errorf("%s", postgres.Explain(got.err))
	}
}

// The worker whose table it is fails, in a way that passes, while another one
// copies a long part: the retry finds its own hidden table.
func TestReviewOwnerFails(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	inParts(t, e, 27000, 27000)
	done := e.start(t)
	for len(await(t, s, e.destinationDatabase, loadingParts)) != 2 {
	}
	of := s.Query(t, e.destinationDatabase, `SELECT p.work->'part'->>'copy_out' FROM _stitch.unit u JOIN _stitch.unit p ON p.part_of = u.id AND p.claimed_by = u.claimed_by`)
	if n := s.Query(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND query = $2`, e.reader, of[0]); len(n) != 1 {
		t.Fatal(n)
	}
	if got := <-done; got.err != nil {
		t.Errorf("%s", postgres.Explain(got.err))
	}
	e.wantRows(t, `SELECT relname FROM pg_class WHERE relname LIKE '\_sdc%' AND relkind = 'r'`)
	e.wantRows(t, `SELECT count(*) FROM shop.t`, "20000")
}

// A partition that is attached while parts are read is there in some of them.
func TestReviewAttachedWhileRead(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.servers = e.again(t, 2)
	e.atSource(t, slow+`
		CREATE TABLE t (id int, v text, s slow) PARTITION BY RANGE (id);
		CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100000);
		INSERT INTO t SELECT g, md5(g::text), CASE WHEN g IN (1, 20000) THEN ROW(1500)::slow END FROM generate_series(1, 40000) g;
		CREATE TABLE t_2 (id int, v text, s slow); INSERT INTO t_2 SELECT g, md5(g::text), NULL FROM generate_series(100001, 140000) g`)
	e.runs.partBytes = 500 << 10
	e.definition.Tables["public.t"] = Selection{Method: FullTable}
	e.create(t)
	done := e.start(t)
	for len(await(t, s, e.destinationDatabase, loadingParts)) != 2 {
	}
	e.atSource(t, `ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (100000) TO (200000)`)
	if got := <-done; got.err != nil {
		t.Errorf("%s", postgres.Explain(got.err))
	}
	if n := e.destination.Query(t, e.destinationDatabase, `SELECT count(*) FROM shop.t WHERE id > 100000`)[0]; n != "0" && n != "40000" {
		t.Errorf("%s of 40000 rows of the new partition are there", n)
	}
}

// ctl runs pg_ctl on a server, as the account that it runs as.
func ctl(s *sandbox.Server, args ...string) error {
	info, err := os.Stat(s.Dir + "/data")
	if err != nil {
		return err
	}
	cmd := exec.Command(s.Program("pg_ctl"), append([]string{"-D", s.Dir + "/data", "-w", "-m", "fast"}, args...)...)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		owner := info.Sys().(*syscall.Stat_t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	return cmd.Run()
}

// The source restarts. Workers other than the leader take it for another server,
// say so, and their tables fail.
func TestReviewSourceRestarts(t *testing.T) {
	t.Parallel()
	source := ownServer(t, sandbox.Config{})
	t.Cleanup(func() { _ = ctl(source, "stop") }) // once restarted, it is nobody's child
	e := newEnv(t, source, sandbox.Shared(t, 0))
	e.servers = e.again(t, 2)
	e.atSource(t, slow)
	for i := range 8 {
		e.atSource(t, fmt.Sprintf(`CREATE TABLE t%d (id int PRIMARY KEY, s slow); INSERT INTO t%[1]d VALUES (1, ROW(1000))`, i))
		e.definition.Tables[fmt.Sprintf("public.t%d", i)] = Selection{Method: FullTable}
	}
	e.create(t)
	done := e.start(t)
	for len(await(t, source, e.sourceDatabase, `SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY %' AND pid <> pg_backend_pid()`)) != 2 {
	}
	if err := ctl(source, "-l", source.Dir+"/log2", "restart"); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil {
		t.Errorf("%s", postgres.Explain(got.err))
	}
	if notes := strings.Join(got.run.Notes, "; "); strings.Contains(notes, "load balancer") {
		t.Errorf("notes %s", notes)
	}
}

// A gate is between the engine and a server, and can be shut.
type gate struct {
	listener net.Listener
	shut     atomic.Bool
	mu       sync.Mutex
	open     []net.Conn
}

func newGate(t *testing.T, s *sandbox.Server) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	g := &gate{listener: listener}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
			if g.shut.Load() || err != nil {
				_ = client.Close()
				continue
			}
			g.mu.Lock()
			g.open = append(g.open, client, server)
			g.mu.Unlock()
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		}
	}()
	return g
}

func (g *gate) close() {
	g.shut.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.open {
		_ = conn.Close()
	}
}

// The destination is away for three seconds, as when it restarts.
func TestReviewDestinationAway(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, slow+`CREATE TABLE a (id int PRIMARY KEY, s slow); INSERT INTO a VALUES (1, ROW(2000)); CREATE TABLE b (id int)`)
	e.definition.Tables["public.a"] = Selection{Method: FullTable}
	e.definition.Tables["public.b"] = Selection{Method: FullTable}
	e.create(t)
	g := newGate(t, s)
	e.servers = postgres.NewServers(map[string]postgres.Config{
		"source":      {Host: s.Host, Port: s.Port, Username: e.reader, Password: s.Password},
		"destination": {Host: "127.0.0.1", Port: g.listener.Addr().(*net.TCPAddr).Port, Username: e.writer, Password: s.Password},
	})
	t.Cleanup(e.servers.Close)
	done := e.start(t)
	await(t, s, e.destinationDatabase, `SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY %' AND datname = current_database() AND pid <> pg_backend_pid()`)
	g.close()
	time.AfterFunc(3*time.Second, func() { g.shut.Store(false) })
	if got := <-done; got.err != nil {
		t.Errorf("%s", postgres.Explain(got.err))
	}
}

// Sessions take numbers of a sequence beforehand (CACHE, or hi/lo of an
// application): later transactions have keys before the first bookmark.
func TestReviewCachedSequence(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE SEQUENCE s CACHE 50; CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'), v text)`)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "id"}
	e.create(t)
	a, b := e.session(t), e.session(t)
	do(t, a, `INSERT INTO t (v) VALUES ('a')`)
	do(t, b, `INSERT INTO t (v) VALUES ('b')`) // 51
	e.run(t)
	do(t, a, `INSERT INTO t (v) VALUES ('a')`) // 2, seconds after it was taken
	e.run(t)
	e.wantSame(t, "t")
}

// One row with a time ahead does not hide those that follow.
func TestReviewKeyAhead(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, k timestamptz DEFAULT now()); INSERT INTO t SELECT FROM generate_series(1, 5)`)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "k"}
	e.create(t)
	e.run(t)
	e.atSource(t, `INSERT INTO t (k) VALUES (now() + interval '2 days')`)
	for range 2 {
		e.later(t, 24*time.Hour)
		e.run(t)
	}
	e.atSource(t, `INSERT INTO t (k) VALUES (now())`)
	e.run(t)
	e.wantSame(t, "t")
}

// The window is turned on while a transaction is open.
func TestReviewWindowTurnedOn(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.byKeyAlone()
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 10)`)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.definition.LateCommitWindow = nil
	if err := Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	late := e.session(t)
	do(t, late, `BEGIN; INSERT INTO t (v) VALUES ('late')`)
	e.atSource(t, `INSERT INTO t (v) VALUES ('early')`)
	if notes := report(e.run(t), "public.t").Notes; len(notes) > 0 {
		t.Skip("it is said")
	}
	do(t, late, `COMMIT`)
	e.run(t)
	e.wantSame(t, "t")
}

// A date is that of the day's beginning: a window of an hour does not reach back
// over midnight.
func TestReviewDates(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	window := time.Hour
	e.definition.LateCommitWindow = &window
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, k date); INSERT INTO t (k) VALUES ('2026-01-01')`)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "k"}
	e.create(t)
	e.run(t)
	late := e.session(t)
	do(t, late, `BEGIN; INSERT INTO t (k) VALUES ('2026-01-01')`) // a second before midnight
	e.atSource(t, `INSERT INTO t (k) VALUES ('2026-01-02')`)      // a second after
	e.run(t)
	do(t, late, `COMMIT`)
	e.run(t)
	e.wantSame(t, "t")
}

// The login's isolation level makes workers get in each other's way.
func TestReviewIsolation(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.servers = e.again(t, 4)
	for i := range 40 {
		e.atSource(t, fmt.Sprintf(`CREATE TABLE t%d (id int PRIMARY KEY)`, i))
		e.definition.Tables[fmt.Sprintf("public.t%d", i)] = Selection{Method: FullTable}
	}
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` SET default_transaction_isolation = 'repeatable read'`)
	e.create(t)
	for range 3 {
		run, err := e.tryRun(t.Context())
		if err != nil {
			t.Fatal(postgres.Explain(err))
		}
		if len(run.Notes) > 0 {
			t.Errorf("notes %q", run.Notes)
		}
	}
}

// What a killed run left hidden is left for good when the replication is deleted.
func TestReviewDeleteAfterKill(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	inParts(t, e, 3000, 3000)
	e.servers = e.again(t, 2)
	done := e.start(t)
	for len(await(t, s, e.destinationDatabase, loadingParts)) != 2 {
	}
	// As kill -9: nothing is said to the catalog any more.
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT 0`)
	s.Query(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, e.writer)
	if got := <-done; got.err == nil {
		t.Fatal("it succeeded")
	}
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` CONNECTION LIMIT -1`)
	if err := Delete(t.Context(), e.endpoint(), "shop", true); err != nil {
		t.Fatal(err)
	}
	e.wantRows(t, `SELECT nspname, relname FROM pg_namespace n LEFT JOIN pg_class c ON relnamespace = n.oid AND relkind = 'r' WHERE nspname IN ('shop', '_stitch')`)
}

// Another key type than before, while a transaction is open: rows are loaded,
// and the bookmark says that there are none.
func TestReviewKeyBecomesTime(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO t SELECT FROM generate_series(1, 10)`)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "id"}
	e.create(t)
	open := e.session(t)
	do(t, open, `BEGIN; SELECT`)
	e.run(t)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "at"}
	if err := Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	if got := report(e.run(t), "public.t"); got.Bookmark == "" {
		t.Errorf("%d rows and no bookmark", got.RowsExtracted)
	}
}

// While a long query reads the destination, another key is followed: all who
// come later wait with the engine, for up to a minute.
func TestReviewReadersQueue(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, b int NOT NULL); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g`)
	e.definition.Tables["public.t"] = Selection{Method: FullTable}
	e.create(t)
	e.run(t)
	e.atSource(t, `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)`)
	there := *e
	there.source, there.sourceDatabase = e.destination, e.destinationDatabase
	long, short := there.session(t), there.session(t)
	do(t, long, `BEGIN; SELECT count(*) FROM shop.t`)
	time.AfterFunc(20*time.Second, func() { _ = long.PgConn().Conn().Close() })
	done := e.start(t)
	await(t, s, e.destinationDatabase, `SELECT FROM pg_locks WHERE NOT granted AND relation = 'shop.t'::regclass`)
	began := time.Now()
	do(t, short, `SELECT count(*) FROM shop.t`)
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("a reader waited for %s", waited)
	}
	if got := <-done; got.err != nil {
		t.Logf("%v", got.err)
	}
}

// The snapshot of a table that was read in parts is kept while it is merged.
func TestReviewSnapshotHeld(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	inParts(t, e, 0, 0)
	e.run(t)
	e.atDestination(t, `CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(4); RETURN NULL; END';
		CREATE TRIGGER nap BEFORE INSERT ON shop.t FOR EACH STATEMENT EXECUTE PROCEDURE nap()`)
	done := e.start(t)
	await(t, s, e.destinationDatabase, `SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`)
	if open := s.Query(t, e.sourceDatabase, `SELECT state, now() - xact_start FROM pg_stat_activity WHERE usename = $1 AND xact_start IS NOT NULL`, e.reader); len(open) > 0 {
		t.Errorf("while rows are merged, the source has %q", open)
	}
	<-done
}

// A table is emptied and numbered anew. Its rows are not found, those of before
// are taken for them, and nothing is said.
func TestReviewRestartIdentity(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'old' FROM generate_series(1, 10)`)
	e.definition.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "id"}
	e.create(t)
	e.run(t)
	e.atSource(t, `TRUNCATE t RESTART IDENTITY; INSERT INTO t (v) SELECT 'new' FROM generate_series(1, 5)`)
	got := report(e.run(t), "public.t")
	if n := e.destination.Query(t, e.destinationDatabase, `SELECT count(*) FROM shop.t WHERE v = 'new'`)[0]; n != "5" && len(got.Notes) == 0 {
		t.Errorf("%s of 5 new rows are there, and the report says %+v", n, got)
	}
}

// An error in COMMIT, of a constraint that is deferred, is no unknown outcome.
func TestReviewDeferredConstraint(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
	e.definition.Tables["public.t"] = Selection{Method: FullTable}
	e.create(t)
	e.run(t)
	e.atSource(t, `INSERT INTO t VALUES (2)`)
	e.atDestination(t, `CREATE SEQUENCE tries; GRANT ALL ON tries TO PUBLIC;
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''public.tries''); RAISE check_violation; END';
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON shop.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE refuse()`)
	if _, err := e.tryRun(t.Context()); err == nil {
		t.Error("it succeeded")
	}
	e.wantRows(t, `SELECT last_value FROM tries`, "1")
}

// The report says what was not done.
func TestReviewRekeyReport(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, b int NOT NULL); INSERT INTO t VALUES (1, 1)`)
	e.definition.Tables["public.t"] = Selection{Method: FullTable}
	e.create(t)
	e.run(t)
	e.atDestination(t, `CREATE VIEW shop.mine AS SELECT id, b FROM shop.t GROUP BY id`) // depends on the key
	e.atSource(t, `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)`)
	run, err := e.tryRun(t.Context())
	var failed *TablesError
	if got := report(run, "public.t"); errors.As(err, &failed) && got.Status == catalog.Failed && strings.Contains(strings.Join(got.Changes, ""), "was replicated whole") {
		t.Errorf("the table failed, and the report says %q", got.Changes)
	}
}
