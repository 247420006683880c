package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// The ways, as printed.
const (
	stitch  = "stitch"
	distant = "stitch, 20 ms further away"
	idle    = "idle"
)

const roundTrip = 20 * time.Millisecond

// A scale is a number of users, each with grants on each of a number of schemas.
type scale struct {
	database string
	users    int
	schemas  int
	tables   int // of each schema
	rounds   int // of plans
	bars     func(plans *group) []bar
}

func manyResources(s size) scale {
	return scale{database: "shop", users: 20, schemas: 10, tables: 200, rounds: s.plans, bars: resourcesBars}
}

func manyTables(s size) scale {
	return scale{database: "large", users: 1, schemas: 1, tables: 100_000, rounds: s.largePlans, bars: tablesBars}
}

func (s scale) String() string {
	return fmt.Sprintf("%s resources, %s tables", thousands(float64(s.users*(1+s.schemas))), thousands(float64(s.schemas*s.tables)))
}

func checkProvisioning(size) error {
	if _, err := exec.LookPath("terraform"); err != nil {
		return fmt.Errorf("run Terraform, version 1.11 or later: %w", err)
	}
	return nil
}

// measureProvisioning measures what Terraform takes with the provider, and with a provider that
// does nothing.
func (b *bench) measureProvisioning(ctx context.Context, size size) (groups []*group, err error) {
	dir, err := os.MkdirTemp("", "stitch-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b.progress("build the provider, and the idle one")
	if err := buildProviders(ctx, dir); err != nil {
		return nil, err
	}
	for _, s := range []scale{manyResources(size), manyTables(size)} {
		applies := newGroup("apply: "+s.String(), idle, stitch, idle)
		plans := newGroup("plan, nothing changed: "+s.String(), idle, stitch, distant, idle)
		if s.rounds > 0 {
			if err := b.provision(ctx, dir, s, applies, plans); err != nil {
				return nil, err
			}
		}
		plans.bars = s.bars(plans)
		groups = append(groups, applies, plans)
	}
	return groups, nil
}

// provision measures applying a scale and then planning it again. It leaves nothing on the server.
func (b *bench) provision(ctx context.Context, dir string, s scale, applies, plans *group) error {
	if err := b.createDatabase(ctx, s); err != nil {
		return err
	}
	near, errNear := newWorkspace(dir, stitch, s, b.source)
	double, errDouble := newWorkspace(dir, idle, s, b.source)
	if err := errors.Join(errNear, errDouble); err != nil {
		return err
	}
	for _, w := range []*workspace{near, double} {
		b.progress("%s, %s", applies.title, w.provider)
		m, err := b.measure(ctx, func() error { return w.apply(ctx) })
		if err := applies.add(w.provider, m, err); err != nil {
			return err
		}
	}
	if err := b.plan(ctx, s, near, double, plans); err != nil {
		return err
	}
	if err := errors.Join(near.destroy(ctx), double.destroy(ctx), b.source.alone(ctx)); err != nil {
		return err
	}
	return b.source.execute(ctx, "DROP DATABASE "+s.database)
}

// plan measures plans that have nothing to do.
func (b *bench) plan(ctx context.Context, s scale, near, double *workspace, g *group) error {
	d, err := newDelay(ctx, net.JoinHostPort(b.source.Host, strconv.Itoa(b.source.Port)), roundTrip/2)
	if err != nil {
		return err
	}
	defer d.stop()
	way := func(name string, w *workspace) func() error {
		return func() error {
			m, err := b.measure(ctx, func() error { return w.plan(ctx) })
			return g.add(name, m, err)
		}
	}
	ways := []func() error{way(stitch, near), way(distant, near.through(d.port())), way(idle, double)}
	for round := range s.rounds {
		b.progress("%s, round %d of %d", g.title, round+1, s.rounds)
		if err := inTurn(round, ways); err != nil {
			return err
		}
	}
	effort, err := near.effort(ctx, b.source)
	for i := range g.measures[stitch] {
		g.measures[stitch][i].effort = effort
	}
	return err
}

// createDatabase creates what Terraform finds, as autovacuum would leave it.
func (b *bench) createDatabase(ctx context.Context, s scale) error {
	b.progress("fill the source: %s", s)
	if err := b.source.execute(ctx, "CREATE DATABASE "+s.database); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, b.source.URL(s.database))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	at := server{b.source.Server, conn}
	err = at.execute(ctx, fmt.Sprintf(`
		DO $$ BEGIN
			FOR s IN 0..%d LOOP
				EXECUTE format('CREATE SCHEMA s_%%s', s);
				FOR t IN 1..%d LOOP
					EXECUTE format('CREATE TABLE s_%%s.t_%%s (id int)', s, t);
					IF t %% 1000 = 0 THEN COMMIT; END IF; -- there is not room for so many locks
				END LOOP;
			END LOOP;
		END $$`, s.schemas-1, s.tables))
	if err != nil {
		return fmt.Errorf("create %s: %w", s, err)
	}
	return at.execute(ctx, "VACUUM ANALYZE")
}

// resourcesBars are the bars of many resources.
func resourcesBars(g *group) []bar {
	near := g.measures[stitch]
	sessions := func(m measure) float64 { return float64(m.sessions) }
	statements := func(m measure) float64 { return float64(m.statements) }
	return []bar{
		{"plan, 220 resources, nothing changed: stitch / idle", "", ratios(near, g.measures[idle], seconds), "<=", 1.5},
		{"plan, 220 resources, nothing changed: in two databases", "sessions", values(near, sessions), "<=", 4},
		{"plan, 220 resources, nothing changed: in all", "statements", values(near, statements), "<=", 20},
		{"plan, 220 resources, nothing changed: what 20 ms of latency add", "s", differences(g.measures[distant], near, seconds), "<", 1},
	}
}

// tablesBars are the bars of many tables.
func tablesBars(g *group) []bar {
	near := g.measures[stitch]
	onTables := func(m measure) float64 { return float64(m.onTables) }
	memory := func(m measure) float64 { return float64(m.providerMemory) / (1 << 20) }
	return []bar{
		{"plan, 100,000 tables, nothing changed", "s", values(near, seconds), "<", 10},
		{"plan, 100,000 tables, nothing changed: read pg_class", "statements", values(near, onTables), "<=", 1},
		{"plan, 100,000 tables, nothing changed: peak memory", "MiB", values(near, memory), "<", 64},
	}
}
