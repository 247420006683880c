package syncrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// ctl runs pg_ctl on a server, as the account that the server runs as.
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

// A restart of the source costs no table, and no worker takes the source for another server.
func TestSourceRestarts(t *testing.T) {
	t.Parallel()
	source := sandbox.OwnServer(t, sandbox.Config{})
	t.Cleanup(func() { _ = ctl(source, "stop") }) // after a restart, it is not a child of the test's process
	e := newEnv(t, source, sandbox.Shared(t, 0))
	for i := range 8 {
		e.atSource(t, fmt.Sprintf(`CREATE TABLE t%d (id int PRIMARY KEY, v text); INSERT INTO t%[1]d VALUES (1, 'held')`, i))
		e.definition.Tables[fmt.Sprintf("public.t%d", i)] = definition.Selection{Method: definition.FullTable}
	}
	e.create(t)
	p := e.readHeld(t, 2, "held")
	done := e.start(t.Context())
	p.awaitHeld(t, 2)
	options, err := os.ReadFile(source.Dir + "/data/postmaster.opts") // after the program's name
	if err != nil {
		t.Fatal(err)
	}
	if err := ctl(source, "stop"); err != nil {
		t.Fatal(err)
	}
	p.cutHeld(t, "held")
	p.release(t, "held")
	if err := ctl(source, "-l", source.Dir+"/log2", "-o", string(options[bytes.IndexByte(options, ' '):]), "start"); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	if len(got.run.Notes) > 0 {
		t.Errorf("notes %q", got.run.Notes)
	}
}

// A run waits for a destination that is away for some seconds, as during a restart.
func TestDestinationAway(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'held'); CREATE TABLE b (id int)`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.b"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	source, destination := e.readHeld(t, 1, "held"), newProxy(t, s)
	e.loadThrough(t, destination)
	done := e.start(t.Context())
	source.awaitHeld(t, 1)
	destination.block()
	time.AfterFunc(3*time.Second, destination.unblock)
	source.releaseAll(t)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantSame(t, "a")
	e.wantSame(t, "b")
}

// A panic in a worker ends that worker, but not the provider, which has the state of all
// other resources.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	for _, table := range []string{"a", "b"} {
		e.atSource(t, `CREATE TABLE `+table+` (id int PRIMARY KEY)`)
		e.definition.Tables["public."+table] = definition.Selection{Method: definition.FullTable}
	}
	e.create(t)
	e.onProgress(func(message string, _ map[string]any) {
		if message == "table succeeded" {
			panic("odd answer")
		}
	})
	run, err := e.tryRun(t.Context())
	var failed *TablesError
	if !errors.As(err, &failed) || len(failed.Reports) != 1 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"bug in this provider", "odd answer", "TestPanic"} {
		if got := failed.Reports[0].Error; !strings.Contains(got, want) || !strings.Contains(strings.Join(run.Notes, "\n"), want) {
			t.Errorf("%q is missing from the notes %q, or from %s", want, run.Notes, got)
		}
	}
	e.wantRows(t, `SELECT status FROM _stitch.run`, "failed")
	e.runs.Logger = nil
	e.run(t)
}

// Workers do not disturb each other, whatever isolation level the login has.
func TestIsolation(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.servers = e.newServers(t, 4)
	for i := range 40 {
		e.atSource(t, fmt.Sprintf(`CREATE TABLE t%d (id int PRIMARY KEY)`, i))
		e.definition.Tables[fmt.Sprintf("public.t%d", i)] = definition.Selection{Method: definition.FullTable}
	}
	s.Exec(t, "postgres", `ALTER ROLE `+e.writer+` SET default_transaction_isolation = 'repeatable read'`)
	e.create(t)
	for range 3 {
		if run := e.run(t); len(run.Notes) > 0 {
			t.Errorf("notes %q", run.Notes)
		}
	}
}

// While the engine waits for a long query of the destination to end, because it follows
// another key, sessions that come later are let through.
func TestReadersQueue(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, b int NOT NULL); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atSource(t, `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)`)
	long, short := e.sessionAtDestination(t), e.sessionAtDestination(t)
	pgtest.Do(t, long, `BEGIN; SELECT count(*) FROM shop.t`)
	done := e.start(t.Context())
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_locks WHERE NOT granted AND relation = 'shop.t'::regclass`, 1)
	began := time.Now()
	pgtest.Do(t, short, `SELECT count(*) FROM shop.t`)
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("a reader waited for %s", waited)
	}
	pgtest.Do(t, long, `COMMIT`)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantSame(t, "t")
}

// While the engine waits for another table, whose foreign key refers to a column that it
// widens, readers of the loaded table are let through.
func TestReadersQueueForReferences(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id varchar(3) PRIMARY KEY); INSERT INTO t VALUES ('a')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atDestination(t, `SET ROLE `+e.writer+`; CREATE TABLE shop.child (id varchar(3) REFERENCES shop.t)`)
	e.atSource(t, `ALTER TABLE t ALTER id TYPE varchar(9); INSERT INTO t VALUES ('abcdefghi')`)
	long, short := e.sessionAtDestination(t), e.sessionAtDestination(t)
	pgtest.Do(t, long, `BEGIN; SELECT count(*) FROM shop.child`)
	done := e.start(t.Context())
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_locks WHERE NOT granted AND relation = 'shop.child'::regclass`, 1)
	pgtest.Do(t, short, `SET lock_timeout = '10s'; SELECT count(*) FROM shop.t`)
	pgtest.Do(t, long, `COMMIT`)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantSame(t, "t")
	e.wantRows(t, `SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'shop.t'::regclass AND attname = 'id'`, "character varying(9)")
}

// An error in COMMIT, from a deferred constraint, is an ordinary failure and not an unknown
// outcome: the engine retries nothing.
func TestDeferredConstraint(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
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

// The report on a table that failed does not say that something was done that was not.
func TestRekeyReport(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, b int NOT NULL); INSERT INTO t VALUES (1, 1)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atDestination(t, `CREATE VIEW shop.mine AS SELECT id, b FROM shop.t GROUP BY id`) // depends on the key
	e.atSource(t, `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)`)
	run, err := e.tryRun(t.Context())
	got := report(run, "public.t")
	var failed *TablesError
	if !errors.As(err, &failed) || got.Status != catalog.Failed {
		t.Fatalf("the view did not hinder it: %v", err)
	}
	if strings.Contains(strings.Join(got.Changes, ""), "was replicated whole") {
		t.Errorf("the report says %q", got.Changes)
	}
}

// Where the source does not guarantee that a key identifies a row, in views and in tables
// that others inherit from, no row replaces another.
func TestSharedKey(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE base (id int, v text); INSERT INTO base VALUES (1, 'a'), (2, 'b'); CREATE VIEW w AS SELECT * FROM base;
		CREATE TABLE p (id int PRIMARY KEY, v text); INSERT INTO p VALUES (1, 'a'); CREATE TABLE c () INHERITS (p); INSERT INTO c VALUES (2, 'b')`)
	e.definition.Tables["public.w"] = definition.Selection{Method: definition.FullTable, ViewKeyProperties: []string{"id"}}
	e.definition.Tables["public.p"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atSource(t, `INSERT INTO base VALUES (1, 'c'); INSERT INTO c VALUES (1, 'c')`)
	run, _ := e.tryRun(t.Context())
	for _, key := range []string{"public.w", "public.p"} {
		if got := report(run, key); got.Status != catalog.Failed || !strings.Contains(got.Error, "have the same key (id)") {
			t.Errorf("%s %s: %s", key, got.Status, got.Error)
		}
	}
	e.atSource(t, `DELETE FROM base WHERE v = 'a'; DELETE FROM c WHERE id = 1`)
	e.run(t)
	e.wantSame(t, "w")
	e.wantSame(t, "p")
}

// Row-level security that also binds the owner of a destination table would hide rows from
// the comparison.
func TestRowSecurityAtDestination(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atSource(t, `DELETE FROM t WHERE id = 2`)
	e.atDestination(t, `ALTER TABLE shop.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON shop.t USING (id = 1)`)
	if _, err := e.tryRun(t.Context()); err == nil || !strings.Contains(err.Error(), "row-level security") ||
		!strings.Contains(err.Error(), "NO FORCE ROW LEVEL SECURITY") || strings.Contains(err.Error(), "stitch_destination_grants") {
		t.Errorf("got %v", err)
	}
	e.atDestination(t, `ALTER TABLE shop.t NO FORCE ROW LEVEL SECURITY`)
	e.run(t)
	e.wantSame(t, "t")
}

// A run does not execute operators that a user created for the types of keys, even if they
// match better than PostgreSQL's own.
func TestForeignOperators(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE DOMAIN number AS int;
			CREATE TABLE t (id varchar(10) PRIMARY KEY, n number); INSERT INTO t VALUES ('1', 1), ('2', 2); CREATE TABLE u AS TABLE t; ALTER TABLE u ADD PRIMARY KEY (id)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.u"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		trap := func(typ string) string {
			sql := `CREATE FUNCTION public.trap(` + typ + `, ` + typ + `) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''caught''; END';`
			for _, operator := range []string{"=", "<", "<=", ">", ">="} {
				sql += `CREATE OPERATOR public.` + operator + ` (LEFTARG = ` + typ + `, RIGHTARG = ` + typ + `, PROCEDURE = public.trap);`
			}
			return sql
		}
		e.atSource(t, trap("varchar")+trap("number")+`INSERT INTO t VALUES ('3', 3); INSERT INTO u VALUES ('3', 3)`)
		e.atDestination(t, trap("varchar")+`GRANT USAGE ON SCHEMA public TO PUBLIC`)
		e.run(t)
		e.definition.Tables["public.u"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "n"}
		if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			e.run(t)
			e.atSource(t, `INSERT INTO u SELECT count(*) + 1, count(*) + 1 FROM u`)
		}
	})
}

// A table that another session has locked at the source does not hold up the others.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.servers = e.newServers(t, 2)
	e.atSource(t, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1); CREATE TABLE b AS TABLE a; ALTER TABLE b ADD PRIMARY KEY (id)`)
	e.definition.Tables["public.a"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.b"] = definition.Selection{Method: definition.FullTable}
	for n := range 2 * tablesPerStream { // so that there are two workers
		e.atSource(t, fmt.Sprintf(`CREATE TABLE t%d (id int)`, n))
		e.definition.Tables[fmt.Sprintf("public.t%d", n)] = definition.Selection{Method: definition.FullTable}
	}
	e.create(t)
	holder, err := pgx.Connect(t.Context(), s.URL(e.sourceDatabase))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.WithoutCancel(t.Context()))
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	done := e.start(t.Context())
	pgtest.Await(t, s, e.destinationDatabase, `SELECT 1 FROM _stitch.report WHERE source_table = 'public.b' AND status = 'succeeded'`, 1)
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err != nil {
		t.Fatal(pgclient.Explain(r.err))
	}
	e.wantSame(t, "a")
	e.wantSame(t, "b")
}
