package syncrun

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// The owner of a schema who replaces a loaded table with a table of her own, or attaches one
// to it, cannot run anything with the privileges of the role that loads.
func TestTableOfAnother(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for name, tt := range map[string]struct{ before, as, attack, want string }{
			"a table in her schema": {`CREATE SCHEMA shop AUTHORIZATION {m}; GRANT ALL ON SCHEMA shop TO {l}`, `{m}`, `DROP TABLE IF EXISTS shop.t; GRANT ALL ON SCHEMA shop TO {l};
				CREATE TABLE shop.t (id int PRIMARY KEY, _sdc_received_at timestamptz, _sdc_batched_at timestamptz, _sdc_sequence bigint, _sdc_table_version bigint); GRANT ALL ON shop.t TO {l};
				CREATE TRIGGER planted BEFORE INSERT ON shop.t FOR EACH STATEMENT EXECUTE PROCEDURE evil.fire()`, `schema "shop" of the destination belongs to "{m}"`},
			"a trigger of hers": {``, `postgres`, `CREATE TRIGGER planted BEFORE INSERT ON shop.t FOR EACH STATEMENT EXECUTE PROCEDURE evil.fire()`, `trigger planted on shop.t: function evil.fire() of "{m}"`},
			"a foreign key of hers": {``, `{m}`, `CREATE TABLE evil.child (id int REFERENCES shop.t ON DELETE CASCADE); INSERT INTO evil.child VALUES (1);
				CREATE TRIGGER planted AFTER DELETE ON evil.child FOR EACH ROW EXECUTE PROCEDURE evil.fire()`, `on evil.child: table evil.child of "{m}"`},
		} {
			t.Run(name, func(t *testing.T) {
				e := newEnv(t, s, s)
				mallory := s.Role(t)
				fill := strings.NewReplacer("{m}", mallory, "{l}", e.writer)
				e.atDestination(t, `GRANT CREATE ON DATABASE `+e.destinationDatabase+` TO `+mallory+`;`+fill.Replace(tt.before))
				e.atDestination(t, `SET SESSION AUTHORIZATION `+mallory+`;`+pgtest.ForeignCodeSQL)
				e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
				e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
				e.create(t)
				_, err := e.tryRun(t.Context())
				if err != nil && tt.before == "" {
					t.Fatal(err)
				}
				if err == nil {
					e.atDestination(t, `GRANT REFERENCES ON shop.t TO `+mallory+`; GRANT USAGE ON SCHEMA shop TO `+mallory)
				}
				e.atDestination(t, fill.Replace(`SET SESSION AUTHORIZATION `+tt.as+`; `+tt.attack))
				e.destination.Query(t, e.destinationDatabase, `SELECT setval('evil.ran', 1, false)`)
				e.atSource(t, `UPDATE t SET id = 2`)
				if _, err := e.tryRun(t.Context()); err == nil || !strings.Contains(err.Error(), fill.Replace(tt.want)) {
					t.Errorf("got %v\nwant %s", err, fill.Replace(tt.want))
				}
				e.wantRows(t, `SELECT is_called FROM evil.ran`, "f")
			})
		}
	})
}

// A run, and everything that manages replications, succeeds while another session holds every
// advisory lock that it can see.
func TestAdvisoryLocks(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		attacker := pgtest.Connect(t, s, e.destinationDatabase)
		pgtest.Do(t, attacker, `SELECT pg_advisory_lock(5707716, n), pg_advisory_lock(n) FROM generate_series(0, 99) AS n`)
		pgtest.Do(t, attacker, `SET SESSION AUTHORIZATION `+s.Role(t))
		const take = `DO $$ DECLARE k record; BEGIN
			FOR k IN SELECT classid::bigint << 32 | objid::bigint AS key, classid, objid, objsubid FROM pg_locks
				WHERE locktype = 'advisory' AND pid <> pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LOOP
				PERFORM CASE k.objsubid WHEN 1 THEN pg_try_advisory_lock(k.key) ELSE pg_try_advisory_lock(k.classid::int8::bit(32)::int, k.objid::int8::bit(32)::int) END;
			END LOOP; END $$`
		ctx, stop := context.WithCancel(t.Context())
		taking := make(chan error, 1)
		go func() {
			var err error
			for ctx.Err() == nil && err == nil {
				_, err = attacker.Exec(context.WithoutCancel(ctx), take)
			}
			taking <- err
		}()
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		began := time.Now()
		e.create(t)
		e.run(t)
		e.run(t)
		if err := errors.Join(replication.Update(t.Context(), e.endpoint(), e.definition), replication.Delete(t.Context(), e.endpoint(), "shop", true)); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		stop()
		if err := <-taking; err != nil {
			t.Error(err)
		}
	})
}

// No other session can attach anything to a table between the check and the load: the table
// is locked from before the check to the end of the load.
func TestAttachedMeanwhile(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'first')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atSource(t, `UPDATE t SET v = 'held here'`)
	p := e.readHeld(t, 1, "held here")
	done := e.start(t.Context())
	p.awaitHeld(t, 1)
	other := e.sessionAtDestination(t)
	pgtest.Do(t, other, `SET lock_timeout = '100ms'`)
	for _, sql := range []string{
		`CREATE TRIGGER planted BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE PROCEDURE suppress_redundant_updates_trigger()`,
		`ALTER TABLE shop.t ALTER id SET DEFAULT 1`,
		`CREATE INDEX ON shop.t ((id + 1))`,
		`CREATE TABLE public.child (id int REFERENCES shop.t)`,
		`ALTER TABLE shop.t RENAME TO other`,
		`DROP TABLE shop.t`,
	} {
		if _, err := other.Exec(t.Context(), sql); pgclient.Code(err) != "55P03" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	p.releaseAll(t)
	if got := <-done; got.err != nil {
		t.Error(pgclient.Explain(got.err))
	}
	e.wantSame(t, "t")
}
