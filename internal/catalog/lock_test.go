package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// withReplication creates a database with a catalog and one replication, and returns its id.
func withReplication(t *testing.T, s *sandbox.Server) (database, owner string, id int64) {
	t.Helper()
	database, owner = s.Database(t), s.Role(t)
	s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+owner)
	conn := connect(t, s, database, owner)
	inTx(t, conn, func(tx pgx.Tx) (err error) {
		if err := Install(t.Context(), tx); err != nil {
			return err
		}
		id, err = InsertReplication(t.Context(), tx, Replication{SchemaName: "shop", Definition: json.RawMessage(`{}`)})
		return err
	})
	return database, owner, id
}

// lock makes a session the leader, which it may have been before.
func lock(ctx context.Context, conn *pgx.Conn, replication int64) error {
	session, err := BeginSession(ctx, conn, time.Minute)
	if err != nil {
		return err
	}
	return Lock(ctx, conn, replication, session)
}

func do(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Advisory locks, which anyone can take, stop nothing: neither those that exist nor any of
// those that this package once used.
func TestAdvisoryLocks(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, id := withReplication(t, s)
		attacker := connect(t, s, database, s.Role(t))
		do(t, attacker, fmt.Sprintf("SELECT pg_advisory_lock(5707716, n) FROM generate_series(0, %d) AS n", id+100))
		do(t, attacker, fmt.Sprintf("SELECT pg_advisory_lock(n) FROM generate_series(0, %d) AS n", id+100))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		conn := connect(t, s, database, owner)
		inTx := func(f func(context.Context, pgx.Tx) error) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return f(ctx, tx) })
		}
		if err := errors.Join(inTx(Install), inTx(Open), OpenSession(ctx, conn), lock(ctx, conn, id)); err != nil {
			t.Fatal(err)
		}
		// No other session leads with the key that is in use, now or afterwards.
		do(t, attacker, `SET lock_timeout = '100ms'`)
		take := `DO $$ DECLARE k record; BEGIN
			FOR k IN SELECT classid::bigint << 32 | objid::bigint AS key FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid() LOOP
				PERFORM pg_try_advisory_lock(k.key);
			END LOOP; END $$`
		do(t, attacker, take)
		key := s.Query(t, database, "SELECT key FROM _stitch.leader")[0]
		if err := Unlock(ctx, conn, id); err != nil {
			t.Fatal(err)
		}
		do(t, attacker, "SELECT pg_advisory_lock("+key+")")
		if err := errors.Join(lock(ctx, conn, id), inTx(OpenExclusive)); err != nil {
			t.Fatal(err)
		}
		if err := inTx(func(ctx context.Context, tx pgx.Tx) error {
			return errors.Join(OpenExclusive(ctx, tx), DeleteReplication(ctx, tx, id), DropIfEmpty(ctx, tx))
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// One session leads, and the server knows whether it lives, whichever session asks.
func TestLeader(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, id := withReplication(t, s)
		member := s.Role(t)
		s.Exec(t, database, "GRANT "+owner+" TO "+member)
		first, second := connect(t, s, database, owner), connect(t, s, database, member)
		if err := errors.Join(OpenSession(t.Context(), first), OpenSession(t.Context(), second)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a session that leads already leads
			if err := lock(t.Context(), first, id); err != nil {
				t.Fatal(err)
			}
		}
		leads := func(conn *pgx.Conn) bool {
			t.Helper()
			leads, err := tryLead(t.Context(), conn, id, Session{key: 1, lease: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			return leads
		}
		if leads(second) {
			t.Error("a second session leads while the first one does")
		}
		want := fmt.Sprintf("the replication is being run by pid %d of the destination server (user %s", first.PgConn().PID(), owner)
		if err := anotherLeads(t.Context(), second, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
		if err := Unlock(t.Context(), first, id); err != nil || !leads(second) {
			t.Errorf("after Unlock nobody else leads: %v", err)
		}
		// A leader that ends abruptly does not lead, and no other role takes its place.
		if err := lock(t.Context(), first, id); err != nil { // key 1 was never locked
			t.Fatal(err)
		}
		key, pid := s.Query(t, database, "SELECT key FROM _stitch.leader")[0], first.PgConn().PID()
		stranger := connect(t, s, database, s.Role(t))
		waits := make(chan error, 1)
		go func() {
			_, err := stranger.Exec(context.WithoutCancel(t.Context()), "SELECT pg_advisory_lock("+key+")")
			waits <- err
		}()
		s.Query(t, database, "SELECT pg_terminate_backend($1)", pid)
		if err := <-waits; err != nil {
			t.Fatal(err)
		}
		if err := lock(t.Context(), second, id); err != nil {
			t.Errorf("a stranger who took the lock of a leader that ended keeps others away: %v", err)
		}
		if err := lock(t.Context(), second, id+1); !errors.Is(err, ErrNotFound) {
			t.Errorf("a replication that there is not: %v", err)
		}
	})
}

// A run that waits for another one does so for a limited time, and its error names the other.
func TestLockWaits(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	database, owner, id := withReplication(t, s)
	first, second := connect(t, s, database, owner), connect(t, s, database, owner)
	if err := lock(t.Context(), first, id); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var running *leaderError
	if err := lock(t.Context(), second, id); !errors.As(err, &running) {
		t.Errorf("got %v", err)
	}
	if waited := time.Since(began); waited < maxLeaderWait || waited > 3*maxLeaderWait {
		t.Errorf("waited %v", waited)
	}
	if held := s.Query(t, database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1", second.PgConn().PID()); held[0] != "0" {
		t.Errorf("the session that waited holds %s advisory locks", held)
	}
}

// A wait for another session's lock ends, and the error names that session.
func TestHoldersAreNamed(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct {
		held   string
		do     func(context.Context, pgx.Tx) error
		within time.Duration
	}{
		"a catalog that is locked":         {"LOCK TABLE _stitch.version IN ACCESS EXCLUSIVE MODE", Open, maxLockWait},
		"a catalog that is being replaced": {"LOCK TABLE _stitch.version IN SHARE MODE", Install, maxLockWait},
		"a catalog that is being written":  {"LOCK TABLE _stitch.version IN ROW EXCLUSIVE MODE", OpenExclusive, maxLockWait},
		"a catalog that is read": {"LOCK TABLE _stitch.report IN ACCESS SHARE MODE", func(ctx context.Context, tx pgx.Tx) error {
			if err := OpenExclusive(ctx, tx); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "DELETE FROM _stitch.replication"); err != nil {
				return err
			}
			return DropIfEmpty(ctx, tx)
		}, lockTimeout},
		"a catalog that is not there yet": {"DROP SCHEMA _stitch CASCADE; COMMIT; BEGIN; CREATE SCHEMA _stitch", Install, maxLockWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database, owner, _ := withReplication(t, s)
			holder, conn := connect(t, s, database, ""), connect(t, s, database, owner)
			do(t, holder, "SET application_name = 'nightly job'; BEGIN; "+tt.held)
			began := time.Now()
			err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return tt.do(t.Context(), tx) })
			if pgclient.Code(err) != pgclient.LockNotAvailable {
				t.Fatalf("got %v", err)
			}
			if waited := time.Since(began); waited < tt.within || waited > tt.within+maxLockWait/2 {
				t.Errorf("waited %v", waited)
			}
			want := fmt.Sprintf("pid %d (user postgres, application 'nightly job')", holder.PgConn().PID())
			if !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "pid ") != 1 {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}

// A prepared transaction holds locks without a session, so a search for sessions does not
// find it.
func TestPreparedHolders(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{Settings: map[string]string{"max_prepared_transactions": "5"}})
	database, owner, _ := withReplication(t, s)
	s.Exec(t, database, "BEGIN; LOCK TABLE _stitch.version; PREPARE TRANSACTION 'left''over'")
	inTx(t, connect(t, s, database, owner), func(tx pgx.Tx) error {
		err := nameHolders(t.Context(), tx, using, errors.New("not had"))
		if want := "not had; probably blocked by prepared transaction 'left''over' (user postgres)"; err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		return nil
	})
	s.Exec(t, database, "ROLLBACK PREPARED 'left''over'")
}
