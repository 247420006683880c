package syncrun

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const (
	hostileRunTimeout = 4 * time.Second // after which a run is cancelled, as by Ctrl-C
	hostileRunSlack   = 40 * time.Second
)

// Whatever a server sends instead of its answer, a run ends, at the latest when it is
// cancelled, and neither a panic nor the memory ends the process.
func TestHostileRun(t *testing.T) {
	t.Parallel()
	seed := sandbox.Seed(t)
	t.Logf("seed %d", seed)
	s := sandbox.Shared(t, 0)
	for i, trick := range sandbox.Tricks() {
		t.Run(trick.Name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, s, s)
			e.atSource(t, `
				CREATE DOMAIN positive AS int CHECK (VALUE > 0);
				CREATE TABLE keyed (id positive PRIMARY KEY, n int, list text[], pad text); CREATE INDEX ON keyed (n);
				INSERT INTO keyed SELECT g, g, ARRAY['a', 'b'], repeat('x', 100) FROM generate_series(1, 500) g;
				CREATE TABLE whole (n int, pad text) PARTITION BY LIST (n); CREATE TABLE whole_1 PARTITION OF whole DEFAULT;
				INSERT INTO whole SELECT g % 100, repeat('x', 100) FROM generate_series(1, 500) g;
				CREATE VIEW seen AS SELECT * FROM keyed`)
			e.definition.Tables = map[string]definition.Selection{
				"public.keyed": {Method: definition.Incremental, ReplicationKey: "n"},
				"public.whole": {Method: definition.FullTable},
				"public.seen":  {Method: definition.FullTable, ViewKeyProperties: []string{"id"}},
			}
			e.create(t)
			rng := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // repeatable is what it has to be
			for round := range sandbox.Effort(t) {
				side := (i + round) % 2
				from, seed := rng.IntN(1+rng.IntN(500)), rng.Uint64()
				middle := sandbox.StartMiddle(t, s, false, func(c *sandbox.Client) sandbox.Meddler {
					return trick.Meddler(c, from, rand.New(rand.NewPCG(seed, uint64(c.Number)))) //nolint:gosec // repeatable
				})
				ports := [2]int{s.Port, s.Port}
				ports[side] = middle.Port
				e.atPorts(t, ports[0], ports[1])
				ctx, cancel := context.WithTimeout(t.Context(), hostileRunTimeout)
				began := time.Now()
				_, _ = e.tryRun(ctx) // the test is that it ends: a run may believe a server that lies
				cancel()
				if took := time.Since(began); took > hostileRunTimeout+hostileRunSlack {
					t.Errorf("from message %d on, at the source %t: it took %v", from, side == 0, took)
				}
			}
		})
	}
}
