package catalog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// beginRun begins a run of the tables public.a and public.b, led by a session.
func beginRun(t *testing.T, conn *pgx.Conn, replication int64) string {
	t.Helper()
	run := Run{ID: "11111111-2222-3333-4444-555555555555"}
	if err := errors.Join(OpenSession(t.Context(), conn), lock(t.Context(), conn, replication)); err != nil {
		t.Fatal(err)
	}
	inTx(t, conn, func(tx pgx.Tx) error {
		return send(t.Context(), tx, func(batch *pgx.Batch) {
			QueueStart(batch, replication, &run)
			QueueTables(batch, run.ID, []Unit{{Table: "public.a", Kind: "r", Verify: "none"}, {Table: "public.b", Kind: "r", Verify: "none"}})
		})
	})
	return run.ID
}

// A unit is its worker's while the session that claimed it lives, without that session doing
// anything, and then for the rest of a lease. After that others can claim it, even if the
// worker's login is another one, and the first worker cannot commit.
func TestTend(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		const lease = time.Second
		database, owner, id := withReplication(t, s)
		member := s.Role(t)
		s.Exec(t, database, "GRANT "+owner+" TO "+member)
		conn, lost := connect(t, s, database, owner), connect(t, s, database, member)
		run := beginRun(t, conn, id)
		begin := func(conn *pgx.Conn) Session {
			t.Helper()
			session, err := BeginSession(t.Context(), conn, lease)
			if err = errors.Join(err, OpenSession(t.Context(), conn)); err != nil {
				t.Fatal(err)
			}
			return session
		}
		mine, others := begin(conn), begin(lost)
		table, err := Claim(t.Context(), lost, run, 0, others, "other")
		if err != nil {
			t.Fatal(err)
		}
		inTx(t, lost, func(tx pgx.Tx) error {
			return send(t.Context(), tx, func(batch *pgx.Batch) {
				QueueRanges(batch, run, table, []Range{{Snapshot: "0-1-1", First: 0, End: 9, Attempt: table.Attempt}, {Snapshot: "0-1-1", First: 9, Attempt: table.Attempt}})
			})
		})
		piece, err := Claim(t.Context(), conn, run, 0, mine, "mine")
		if err != nil || piece.Parent != table.ID {
			t.Fatal(piece, err)
		}
		expired := fmt.Sprintf("SELECT id FROM _stitch.unit WHERE lease_expires_at < clock_timestamp() AND claimed_by IS NOT NULL AND id = %d", table.ID)
		maintain := func() {
			t.Helper()
			found, err := MaintainLeases(t.Context(), conn, run, mine, piece.ID, 2)
			if err != nil || !found.Unfinished || !found.HasLeader {
				t.Fatalf("%+v, %v", found, err)
			}
		}
		for range 2 {
			await(t, s, database, expired, 1)
			maintain()
			if rows := s.Query(t, database, expired); len(rows) != 0 {
				t.Error("nobody has renewed the lease of a session that lives")
			}
		}
		key := s.Query(t, database, fmt.Sprintf("SELECT key FROM _stitch.unit WHERE id = %d", table.ID))[0]
		s.Query(t, database, "SELECT pg_terminate_backend($1)", lost.PgConn().PID())
		await(t, s, database, fmt.Sprintf("SELECT FROM pg_stat_activity WHERE pid = %d", lost.PgConn().PID()), 0)
		stranger := connect(t, s, database, s.Role(t))
		do(t, stranger, "SELECT pg_advisory_lock("+key+")") // stops no other session
		await(t, s, database, expired, 1)
		maintain()
		if rows := s.Query(t, database, fmt.Sprintf("SELECT claimed_by FROM _stitch.unit WHERE id = %d AND claimed_by IS NOT NULL", table.ID)); len(rows) != 0 {
			t.Errorf("%s still has the unit, whose session is gone", rows)
		}
		if rows := s.Query(t, database, "SELECT id FROM _stitch.unit WHERE part_of IS NOT NULL"); len(rows) != 0 {
			t.Errorf("ranges %s outlive the worker of their table", rows)
		}
		late := func(f func(pgx.Tx) error) {
			t.Helper()
			if err := pgx.BeginFunc(t.Context(), conn, f); !errors.Is(err, ErrFenced) {
				t.Errorf("a worker that was lost goes on: %v", err)
			}
		}
		fence := func() {
			t.Helper()
			late(func(tx pgx.Tx) error {
				return send(t.Context(), tx, func(batch *pgx.Batch) { QueueFinishUnit(batch, table, 1, 1) })
			})
			late(func(tx pgx.Tx) error {
				return send(t.Context(), tx, func(batch *pgx.Batch) { QueueRenewLease(batch, table) })
			})
			late(func(tx pgx.Tx) error { _, err := Reclaim(t.Context(), tx, table, mine); return err })
			late(func(tx pgx.Tx) error { return FailUnit(t.Context(), tx, table, "late", "") })
			late(func(tx pgx.Tx) error { return Release(t.Context(), tx, table) })
		}
		fence()
		again, err := Claim(t.Context(), conn, run, 0, mine, "again")
		if err != nil || again.ID != table.ID || again.Attempt != table.Attempt+1 {
			t.Fatal(again, err)
		}
		fence()
		// MaintainLeases gives back a unit that a session has claimed and does not know of, and fails
		// one that was tried often enough.
		if found, err := MaintainLeases(t.Context(), conn, run, mine, 0, 2); err != nil || !found.Unfinished {
			t.Fatal(found, err)
		}
		next, err := Claim(t.Context(), conn, run, 0, mine, "next")
		if err != nil || next.Table != "public.b" {
			t.Fatal(next, err)
		}
		inTx(t, conn, func(tx pgx.Tx) error {
			return send(t.Context(), tx, func(batch *pgx.Batch) { QueueFinishUnit(batch, next, 1, 1) })
		})
		if found, err := MaintainLeases(t.Context(), conn, run, mine, 0, 2); err != nil || found.Unfinished {
			t.Error(found, err)
		}
		inTx(t, conn, func(tx pgx.Tx) error {
			unfinished, err := EndUnits(t.Context(), tx, run)
			if len(unfinished) != 1 || !strings.Contains(unfinished["public.a"], "each of 2 attempts") {
				t.Errorf("unfinished %q", unfinished)
			}
			return err
		})
	})
}

// No worker begins another table of a run without a leader. Workers finish what they have
// begun.
func TestNotLed(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	database, owner, id := withReplication(t, s)
	leader, conn := connect(t, s, database, owner), connect(t, s, database, owner)
	run := beginRun(t, leader, id)
	session, err := BeginSession(t.Context(), conn, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	table, err := Claim(t.Context(), conn, run, 0, session, "first")
	if err != nil {
		t.Fatal(err)
	}
	inTx(t, conn, func(tx pgx.Tx) error {
		return send(t.Context(), tx, func(batch *pgx.Batch) { QueueRanges(batch, run, table, []Range{{Snapshot: "0-1-1"}}) })
	})
	runOut := "UPDATE _stitch.leader SET lease_expires_at = clock_timestamp() - interval '1s'"
	maintain := func(led bool) {
		t.Helper()
		found, err := MaintainLeases(t.Context(), conn, run, session, table.ID, 5)
		if err != nil || found.HasLeader != led || !found.Unfinished {
			t.Errorf("%+v, %v", found, err)
		}
	}
	s.Exec(t, database, runOut)
	maintain(true) // the session lives, and its lease is renewed
	s.Query(t, database, "SELECT pg_terminate_backend($1)", leader.PgConn().PID())
	await(t, s, database, fmt.Sprintf("SELECT FROM pg_stat_activity WHERE pid = %d", leader.PgConn().PID()), 0)
	maintain(true) // the worker may return
	s.Exec(t, database, runOut)
	maintain(false)
	if unit, err := Claim(t.Context(), conn, run, 0, session, "second"); err != nil || unit.Parent != table.ID {
		t.Errorf("%+v, %v", unit, err)
	}
	if unit, err := Claim(t.Context(), conn, run, 0, session, "third"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%+v, %v", unit, err)
	}
}

// If several ranges failed, text and code come from the same one.
func TestProgress(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	database, owner, id := withReplication(t, s)
	conn := connect(t, s, database, owner)
	run := beginRun(t, conn, id)
	session, err := BeginSession(t.Context(), conn, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	table, err := Claim(t.Context(), conn, run, 0, session, "table")
	if err != nil {
		t.Fatal(err)
	}
	inTx(t, conn, func(tx pgx.Tx) error {
		return send(t.Context(), tx, func(batch *pgx.Batch) { QueueRanges(batch, run, table, make([]Range, 4)) })
	})
	for i, failure := range []struct{ text, code string }{{}, {"a text", ""}, {"b text", "22P03"}} {
		unit, err := Claim(t.Context(), conn, run, table.ID, session, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		inTx(t, conn, func(tx pgx.Tx) error {
			if failure.text != "" {
				return FailUnit(t.Context(), tx, unit, failure.text, failure.code)
			}
			return send(t.Context(), tx, func(batch *pgx.Batch) { QueueFinishUnit(batch, unit, 7, 70) })
		})
	}
	inTx(t, conn, func(tx pgx.Tx) error {
		got, err := ProgressOf(t.Context(), tx, table.ID)
		if want := (Progress{Waiting: 1, Rows: 7, Bytes: 70, Error: "a text"}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		return err
	})
}

// await waits until a query returns that many rows.
func await(t *testing.T, s *sandbox.Server, database, query string, n int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		rows := s.Query(t, database, query)
		if len(rows) == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s\n still returns %q, want %d rows", query, rows, n)
		}
	}
}
