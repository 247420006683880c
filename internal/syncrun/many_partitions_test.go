package syncrun

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A run reads a table with more partitions than the server has room to lock, even when few
// locks are left. At the end it checks again the partitions that it has not locked.
func TestMorePartitionsThanLocks(t *testing.T) {
	t.Parallel()
	destination := sandbox.SharedFrom(t, 12) // older majors lock all partitions when they plan
	source := sandbox.OwnServer(t, sandbox.Config{Major: destination.Major, Settings: map[string]string{"max_locks_per_transaction": "40", "max_connections": "30"}})
	e := newEnv(t, source, destination)
	e.atSource(t, `CREATE TABLE t (id int, at timestamptz NOT NULL, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
		DO $$ BEGIN FOR i IN 0..249 LOOP
			EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%L) TO (%L)', i, '2026-01-01'::timestamptz + i * interval '1 day', '2026-01-01'::timestamptz + (i + 1) * interval '1 day');
		END LOOP; END $$;
		INSERT INTO t SELECT i, '2026-01-01'::timestamptz + i * interval '1 day', 'a' FROM generate_series(0, 240) AS i`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
	e.create(t)
	e.run(t)
	e.wantSame(t, "t")

	// Another session leaves little room in the lock table.
	other := e.session(t)
	pgtest.Do(t, other, `DO $$ BEGIN
		BEGIN
			FOR i IN 1..100000 LOOP PERFORM pg_advisory_lock(i); END LOOP;
		EXCEPTION WHEN out_of_memory OR insufficient_resources THEN NULL;
		END;
		FOR i IN 1..100 LOOP PERFORM pg_advisory_unlock(i); END LOOP;
	END $$`)
	e.atSource(t, `INSERT INTO t VALUES (1000, '2026-09-01', 'new')`)
	run, err := e.tryRun(t.Context())
	pgtest.Do(t, other, `SELECT pg_advisory_unlock_all()`)
	if err != nil {
		t.Fatal(pgclient.Explain(err))
	}
	if got := report(run, "public.t"); got.RowsLoaded != 1 {
		t.Errorf("%d rows were loaded", got.RowsLoaded)
	}
	e.wantSame(t, "t")
}
