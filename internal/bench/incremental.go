package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// incrementals measures runs that find one row in a hundred changed, and runs that find none. The
// table already exists at the source.
func (b *bench) incrementals(ctx context.Context, t table) (*group, error) {
	t.selection = incremental
	const rounds = 7
	d := dataset{tables: []table{t}}
	g := newGroup("INCREMENTAL: wide", psqlMerges, engineMerges, psqlMerges, engineAgain)
	b.progress("%s, first loads", g.title)
	e, bookmark, err := b.loadTwice(ctx, d)
	if err != nil {
		return nil, err
	}
	for round := range rounds {
		b.progress("%s, round %d of %d", g.title, round+1, rounds)
		if err := b.change(ctx, t); err != nil {
			return nil, err
		}
		next := bookmark
		err := inTurn(round, []func() error{
			func() error {
				m, run, err := e.run(ctx)
				if err == nil {
					next = run.Tables[0].Bookmark
				}
				return g.add(engineMerges, m, err)
			},
			func() error {
				m, err := b.merge(ctx, t.name, hand+"."+t.name, bookmark)
				return g.add(psqlMerges, m, err)
			},
		})
		if err != nil {
			return nil, err
		}
		bookmark = next
		// Nothing has changed in the table, but other transactions run at the source.
		if err := b.source.execute(ctx, "UPDATE unrelated SET n = n + 1"); err != nil {
			return nil, err
		}
		m, err := e.runUnchanged(ctx)
		if err := g.add(engineAgain, m, err); err != nil {
			return nil, err
		}
	}
	g.sameBytes(engineMerges, psqlMerges)
	if err := b.compare(ctx, t.name); err != nil {
		return nil, err
	}
	g.bars = incrementalBars(g)
	return g, e.remove(ctx, false)
}

// hand is the schema of the copy that psql keeps current.
const hand = "hand"

// loadTwice loads a table into two copies that are identical to the byte: one for the engine, which
// continues from the returned bookmark, and one for psql.
func (b *bench) loadTwice(ctx context.Context, d dataset) (e *engine, bookmark string, err error) {
	if err := b.source.execute(ctx, "CREATE TABLE unrelated AS SELECT 0 AS n"); err != nil {
		return nil, "", err
	}
	for _, schema := range []string{hand, "bench"} {
		if e, err = b.newEngine(ctx, d, schema, 4); err != nil {
			return nil, "", err
		}
		_, run, err := e.run(ctx)
		if err != nil {
			return nil, "", err
		}
		bookmark = run.Tables[0].Bookmark
		if schema == hand {
			if err := e.remove(ctx, true); err != nil {
				return nil, "", err
			}
		}
		// Autovacuum does the same after that many rows.
		if err := b.destination.execute(ctx, "VACUUM ANALYZE "+schema+"."+d.tables[0].name); err != nil {
			return nil, "", err
		}
	}
	return e, bookmark, nil
}

// change changes one row in a hundred, each at its own time as an application would.
func (b *bench) change(ctx context.Context, t table) error {
	return b.source.execute(ctx, fmt.Sprintf(`
		UPDATE %[1]s SET a = md5(random()::text), n = n + 1, updated_at = clock_timestamp()
		WHERE id IN (SELECT 1 + floor(random() * %[2]d)::bigint FROM generate_series(1, %[2]d / 100))`, t.name, t.rows))
}

// compare fails unless both copies of a table hold what the source holds.
func (b *bench) compare(ctx context.Context, name string) error {
	d, err := b.definition(ctx, name)
	if err != nil {
		return err
	}
	var sums []string
	for _, side := range []struct {
		at    *server
		table string
	}{{b.source, name}, {b.destination, "bench." + name}, {b.destination, hand + "." + name}} {
		sum, err := value[string](ctx, side.at, fmt.Sprintf("SELECT count(*) || ' ' || sum(hashtextextended(ROW(%s)::text, 0)) FROM %s",
			strings.Join(d.names, ", "), side.table))
		if err != nil {
			return err
		}
		sums = append(sums, sum)
	}
	if sums[0] != sums[1] || sums[0] != sums[2] {
		return fmt.Errorf("rows and their sum differ: source %s, engine %s, psql %s", sums[0], sums[1], sums[2])
	}
	return nil
}

func incrementalBars(g *group) []bar {
	merges, again := g.measures[engineMerges], g.measures[engineAgain]
	milliseconds := func(m measure) float64 { return seconds(m) * 1000 }
	report := func(m measure) float64 { return m.report.Seconds() * 1000 }
	heap := func(m measure) float64 { return float64(m.heap) }
	return []bar{
		{"incremental, 1 % changed: engine / psql", "", ratios(merges, g.measures[psqlMerges], seconds), "<=", 1.15},
		{"incremental, nothing changed: the table's part of a run", "ms", values(again, report), "<", 20},
		{"  the whole run, with connecting to both servers", "ms", values(again, milliseconds), "", 0},
		{"incremental, nothing changed: written to the heap", "rows", []float64{slices.Max(values(again, heap))}, "<=", 0},
	}
}
