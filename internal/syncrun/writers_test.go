package syncrun

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Keys are drawn when a row is written, or are as old as the transaction that writes it: both
// are before keys that others have committed in the meantime.
const writtenSQL = `
	CREATE SEQUENCE ids START 1000;
	CREATE SEQUENCE numbers;
	CREATE TABLE keyed_by_number (id int PRIMARY KEY DEFAULT nextval('ids'), n bigint DEFAULT nextval('numbers'), v text);
	CREATE TABLE keyed_by_time (id int PRIMARY KEY DEFAULT nextval('ids'), at timestamptz DEFAULT now(), v text);
	CREATE TABLE keyless_by_number (n bigint DEFAULT nextval('numbers'), v text);
	CREATE TABLE keyless_by_time (at timestamptz DEFAULT now(), v text);
	INSERT INTO keyed_by_number (id) SELECT generate_series(0, 99);
	INSERT INTO keyed_by_time (id) SELECT generate_series(0, 99)`

var written = map[string]string{"keyed_by_number": "n", "keyed_by_time": "at", "keyless_by_number": "n", "keyless_by_time": "at"}

// No row is missing, however late its transaction commits: during runs, before the first one,
// long after it began, in another order, in subtransactions, or in two phases.
func TestWriters(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	if effort(t) == 1 {
		majors = slices.Compact([]int{majors[0], majors[len(majors)-1]})
	}
	for _, major := range majors {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			t.Parallel()
			source := sandbox.OwnServer(t, sandbox.Config{Major: major, Settings: map[string]string{"max_prepared_transactions": "20"}})
			testWriters(t, source)
		})
	}
}

func testWriters(t *testing.T, source *sandbox.Server) {
	const writers = 6
	seed := seedOf(t)
	t.Logf("seed %d", seed)
	e := newEnv(t, source, sandbox.Shared(t, 0))
	e.atSource(t, writtenSQL)
	for table, key := range written {
		e.definition.Tables["public."+table] = definition.Selection{Method: definition.Incremental, ReplicationKey: key}
	}
	var open []*writer // from before the first run until after most
	for i := range 2 {
		w := e.newWriter(t, seed, writers+i)
		w.execute("BEGIN; SELECT now()")
		open = append(open, w)
	}
	for range 8 {
		open[0].write()
	}
	var stop atomic.Bool
	var group sync.WaitGroup
	for i := range writers {
		w := e.newWriter(t, seed, i)
		group.Go(func() {
			for !stop.Load() && !t.Failed() {
				w.transaction()
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	e.create(t)
	for began, runs := time.Now(), 0; runs < 3 || time.Since(began) < time.Duration(3*effort(t))*time.Second; runs++ {
		e.run(t)
		if runs%3 == 1 {
			e.atSource(t, "VACUUM FREEZE") // rows then say less about what wrote them
		}
	}
	stop.Store(true)
	group.Wait()
	for range 8 {
		open[1].write() // with keys as old as its first statement
	}
	e.run(t)
	for _, w := range open {
		w.execute("COMMIT")
	}
	for range 2 {
		e.run(t)
	}
	for table := range written {
		e.wantSame(t, table)
	}
}

// A writer is a session at the source.
type writer struct {
	t      *testing.T
	conn   *pgx.Conn
	number int
	random *rand.Rand
	count  int // of its transactions
}

func (e *env) newWriter(t *testing.T, seed uint64, number int) *writer {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), e.source.URL(e.sourceDatabase))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.PgConn().Conn().Close() })
	return &writer{t: t, conn: conn, number: number, random: rand.New(rand.NewPCG(seed, uint64(number)))}
}

func (w *writer) execute(sql string) {
	if _, err := w.conn.PgConn().Exec(w.t.Context(), sql).ReadAll(); err != nil {
		w.t.Errorf("%s: %v", sql, err)
	}
}

// transaction writes some rows and, mostly, commits.
func (w *writer) transaction() {
	w.count++
	w.execute("BEGIN")
	if w.random.IntN(2) == 0 {
		w.execute("SELECT now()") // other writers continue before this one writes
		w.pause()
	}
	for range 1 + w.random.IntN(3) {
		w.write()
	}
	if w.random.IntN(2) == 0 {
		w.execute("SAVEPOINT s")
		w.write()
		w.execute([]string{"ROLLBACK TO SAVEPOINT s", "RELEASE SAVEPOINT s"}[w.random.IntN(2)])
		w.write()
	}
	w.pause()
	switch w.random.IntN(8) {
	case 0:
		w.execute("ROLLBACK")
	case 1, 2:
		name := fmt.Sprintf("'writer %d, %d'", w.number, w.count)
		w.execute("PREPARE TRANSACTION " + name)
		w.pause()
		w.execute([]string{"COMMIT", "COMMIT", "ROLLBACK"}[w.random.IntN(3)] + " PREPARED " + name)
	default:
		w.execute("COMMIT")
	}
}

// write inserts rows, or updates those that no other writer updates.
func (w *writer) write() {
	v := fmt.Sprintf("'%d %d %d'", w.number, w.count, w.random.IntN(1e9))
	mine := fmt.Sprintf("WHERE id = %d", w.number+10*w.random.IntN(10))
	switch w.random.IntN(6) {
	case 0:
		w.execute("INSERT INTO keyed_by_number (v) SELECT " + v + " FROM generate_series(1, 3)")
	case 1:
		w.execute("INSERT INTO keyed_by_time (v) VALUES (" + v + ")")
	case 2:
		w.execute("INSERT INTO keyless_by_number (v) SELECT " + v + " FROM generate_series(1, 3)")
	case 3:
		w.execute("INSERT INTO keyless_by_time (v) SELECT " + v + " FROM generate_series(1, 3)")
	case 4:
		w.execute("UPDATE keyed_by_number SET n = nextval('numbers'), v = " + v + " " + mine)
	case 5:
		w.execute("UPDATE keyed_by_time SET at = now(), v = " + v + " " + mine)
	}
}

// pause lets the other writers continue: mostly for less time than a run takes, sometimes for
// more.
func (w *writer) pause() {
	longest := 200
	if w.random.IntN(8) == 0 {
		longest = 2000
	}
	time.Sleep(time.Duration(w.random.IntN(longest)) * time.Millisecond)
}
