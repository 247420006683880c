package syncrun

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// While a table is loaded for the first time, at once or in ranges, one reader is added and
// another removed: neither change fails the other. From the moment the table exists, the new
// reader may read it and the former one may not; no reader can read a staging table.
func TestReadersChangeDuringLoad(t *testing.T) {
	t.Parallel()
	for name, workers := range map[string]int{"at once": 1, "in ranges": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandbox.Shared(t, 0)
			stays, comes, goes := s.Role(t), s.Role(t), s.Role(t)
			e := withReaders(t, s, stays, comes, goes)
			e.definition.Readers = []string{goes, stays}
			p := inRanges(t, e, twoRangesSQL, 20000)
			e.servers = e.newServers(t, workers)
			done := e.start(t.Context())
			p.awaitHeld(t, workers)
			if workers > 1 {
				hidden := s.Query(t, e.destinationDatabase, `SELECT relname FROM pg_class WHERE relname LIKE '\_sdc\_loading\_%' AND relkind = 'r'`)
				if len(hidden) != 1 {
					t.Fatalf("hidden tables %q", hidden)
				}
				e.wantRead(t, stays, -1, hidden...)
			}
			e.servers = e.newServers(t, 1)
			e.definition.Readers = []string{comes, stays}
			e.update(t)

			reading := make(chan error, 1) // as the new reader, from the moment the table exists
			conn := e.as(t, comes)
			go func() {
				for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					_, err := conn.Exec(t.Context(), `SELECT FROM shop.t LIMIT 1`)
					if pgclient.Code(err) != "42P01" {
						reading <- err
						return
					}
				}
				reading <- context.DeadlineExceeded
			}()
			p.releaseAll(t)
			if got := <-done; got.err != nil || len(got.run.Notes) > 0 || len(report(got.run, "public.t").Notes) > 0 {
				t.Errorf("%v %q %v", got.run.Notes, report(got.run, "public.t").Notes, got.err)
			}
			if err := <-reading; err != nil {
				t.Error(err)
			}
			e.wantRead(t, comes, 20000, "t")
			e.wantRead(t, stays, 20000, "t")
			e.wantRead(t, goes, -1, "t")
			e.wantMissing(t)
			e.wantRows(t, `SELECT count(*) FROM (`+aclsOfShop+`) AS a (kind, name, grantee) WHERE grantee = '`+goes+`'::regrole`, "0")
		})
	}
}

// A load of a new table waits, at its end, for an uncommitted change of readers, and applies
// it.
func TestReadersHeld(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	goes, comes := s.Role(t), s.Role(t)
	e := withReaders(t, s, goes, comes)
	e.definition.Readers = []string{goes}
	p := inRanges(t, e, twoRangesSQL, 20000)
	e.servers = e.newServers(t, 1)
	done := e.start(t.Context())
	p.awaitHeld(t, 1)
	change := e.sessionAtDestination(t)
	pgtest.Do(t, change, `BEGIN; UPDATE _stitch.replication SET definition = definition || '{"readers": ["`+comes+`"]}';
		ALTER DEFAULT PRIVILEGES FOR ROLE `+e.writer+` IN SCHEMA shop REVOKE SELECT ON TABLES FROM `+goes)
	p.releaseAll(t)
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND a.usename = '`+e.writer+`'`, 1)
	pgtest.Do(t, change, `COMMIT`)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantRows(t, `SELECT has_table_privilege('`+goes+`', 'shop.t', 'SELECT'), has_table_privilege('`+comes+`', 'shop.t', 'SELECT')`, "f|t")
}

// A run that adds a column waits for a change of readers that has granted on the table and is
// not committed: it would fail otherwise.
func TestReadersChangeBeforeAlter(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		readers := []string{s.Role(t), s.Role(t)}
		slices.Sort(readers)
		e := withReaders(t, s, readers...)
		e.definition.Readers = readers[:1]
		e.atSource(t, `CREATE TABLE large (id int PRIMARY KEY, v text); INSERT INTO large SELECT g, CASE g WHEN 1 THEN 'held' END FROM generate_series(1, 5000) g;
			CREATE TABLE t (id int PRIMARY KEY)`)
		e.definition.Tables["public.large"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		e.atDestination(t, `REVOKE SELECT ON shop.t FROM `+readers[0])
		e.atSource(t, `ALTER TABLE t ADD COLUMN more int`)
		p := e.readHeld(t, 1, "held")
		done := e.start(t.Context())
		p.awaitHeld(t, 1) // at the larger table, which comes first
		change := e.sessionAtDestination(t)
		pgtest.Do(t, change, `BEGIN; GRANT USAGE ON SCHEMA shop TO pg_monitor`) // holds up the update after its GRANT for the first reader
		e.servers = e.newServers(t, 1)
		e.definition.Readers = readers
		updated := make(chan error, 1)
		go func() { updated <- replication.Update(t.Context(), e.endpoint(), e.definition) }()
		waits := `SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND a.usename = '` + e.writer + `'`
		pgtest.Await(t, s, e.destinationDatabase, waits, 1)
		p.releaseAll(t)
		pgtest.Await(t, s, e.destinationDatabase, waits, 2)
		pgtest.Do(t, change, `ROLLBACK`)
		if err := <-updated; err != nil {
			t.Error(pgclient.Explain(err))
		}
		if got := <-done; got.err != nil {
			t.Error(pgclient.Explain(got.err))
		}
		e.wantMissing(t)
	})
}

// While a run gives a table another key, a change of readers waits for it, and while a change
// of privileges is not committed, the run waits.
func TestReadersChangeDuringRekey(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		reader := s.Role(t)
		e := withReaders(t, s, reader)
		e.definition.Readers = nil
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL); INSERT INTO t VALUES (1, 1)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)

		// A trigger holds up the load when it has the lock on the table.
		e.atDestination(t, `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN new; END';
			CREATE TRIGGER wait BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE PROCEDURE wait()`)
		holder := e.sessionAtDestination(t)
		pgtest.Do(t, holder, `SELECT pg_advisory_lock(7)`)
		e.atSource(t, `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (other)`)
		done := e.start(t.Context())
		pgtest.Await(t, s, e.destinationDatabase, waitingSQL, 1)
		e.servers = e.newServers(t, 1)
		e.definition.Readers = []string{reader}
		updated := make(chan error, 1)
		go func() { updated <- replication.Update(t.Context(), e.endpoint(), e.definition) }()
		select {
		case err := <-updated:
			t.Errorf("the update did not wait: %v", err)
			updated <- err
		case <-time.After(time.Second):
		}
		pgtest.Do(t, holder, unlockAllSQL)
		if got := <-done; got.err != nil {
			t.Error(pgclient.Explain(got.err))
		}
		if err := <-updated; err != nil {
			t.Error(pgclient.Explain(err))
		}
		e.wantRead(t, reader, 1, "t")

		// The other way round, with the locks of a change of readers.
		e.atDestination(t, `DROP TRIGGER wait ON shop.t`)
		e.atSource(t, `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)`)
		pgtest.Do(t, holder, `BEGIN; LOCK TABLE shop.t IN ACCESS SHARE MODE; REVOKE SELECT ON shop.t FROM `+reader)
		done = e.start(t.Context())
		pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_locks WHERE NOT granted AND relation = 'shop.t'::regclass`, 1)
		pgtest.Do(t, holder, `COMMIT`)
		if got := <-done; got.err != nil {
			t.Error(pgclient.Explain(got.err))
		}
		e.wantMissing(t, "SELECT ON TABLE shop.t TO "+reader)
		e.run(t) // the next apply grants what is missing
		e.wantMissing(t, "SELECT ON TABLE shop.t TO "+reader)
	})
}

// Many changes of readers, by several processes, run while runs give tables another key:
// nothing fails.
func TestReadersChangeOften(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	readers := []string{s.Role(t), s.Role(t)}
	e := withReaders(t, s, readers...)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL); INSERT INTO t VALUES (1, 1); CREATE TABLE u (id int PRIMARY KEY)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.definition.Tables["public.u"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	stop := make(chan struct{})
	ended := make(chan error, 2)
	for i := range 2 {
		d, servers := e.definition, e.newServers(t, 1)
		server, _ := servers.Server("destination")
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				d.Readers = readers[:(n+i)%3]
				if err := replication.Update(t.Context(), pgclient.Endpoint{Server: server, Database: e.destinationDatabase}, d); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	for n := range 10 {
		e.atSource(t, fmt.Sprintf(`ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (%s); ALTER TABLE u ADD COLUMN c%d int`, []string{"other", "id"}[n%2], n))
		e.run(t)
	}
	close(stop)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(pgclient.Explain(err))
		}
	}
	e.update(t)
	e.wantMissing(t)
}
