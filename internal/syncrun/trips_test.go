package syncrun

import (
	"fmt"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A table in which nothing has changed costs few round trips: servers may be far away.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{}) // other sessions on the server would make the run extract rows again
	e := newEnv(t, s, s)
	source, destination := newProxy(t, s), newProxy(t, s)
	e.atPorts(t, source.port(), destination.port())
	trips := map[int][2]int32{}
	for _, tables := range []int{1, 3} { // too few for a second worker
		e.definition.SchemaName = fmt.Sprintf("shop%d", tables)
		for n := range tables {
			name := fmt.Sprintf("t%d", n)
			e.atSource(t, fmt.Sprintf(`
				CREATE TABLE IF NOT EXISTS %[1]s (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
				INSERT INTO %[1]s VALUES (%[2]d)`, name, tables))
			e.definition.Tables["public."+name] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
		}
		e.create(t)
		e.run(t)
		e.servers.Close()
		before := [2]int32{source.trips.Load(), destination.trips.Load()}
		e.run(t)
		trips[tables] = [2]int32{source.trips.Load() - before[0], destination.trips.Load() - before[1]}
	}
	t.Logf("round trips to the source and the destination: %v", trips)
	for side, most := range []int32{7, 5} { // in one of those at the destination, the run locks the table before it takes the snapshot
		if each := (trips[3][side] - trips[1][side]) / 2; each > most {
			t.Errorf("side %d: a further table costs %d round trips, want at most %d", side, each, most)
		}
	}
}
