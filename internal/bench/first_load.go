package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// The ways, as printed.
const (
	oneStream    = "engine, 1 connection"
	moreStreams  = "engine, 4 connections"
	engineAgain  = "engine again, nothing changed"
	psqlPipe     = "psql | psql"
	psqlToNull   = "psql to nowhere"
	engineMerges = "engine, 1 % changed"
	psqlMerges   = "psql | psql, 1 % changed"
)

// firstLoads measures what it takes to load a dataset for the first time.
func (b *bench) firstLoads(ctx context.Context, d dataset) (*group, error) {
	g := newGroup("first load: "+d.name, psqlPipe, oneStream, moreStreams, engineAgain, psqlPipe, psqlToNull)
	ways := []func() error{
		func() error { return b.firstLoad(ctx, d, 1, g, oneStream, false) },
		func() error { return b.firstLoad(ctx, d, 4, g, moreStreams, d.again) },
		func() error {
			m, err := b.pipe(ctx, d)
			return g.add(psqlPipe, m, err)
		},
		func() error {
			m, err := b.sourceOnly(ctx, d)
			return g.add(psqlToNull, m, err)
		},
	}
	for round := range d.rounds {
		b.progress("%s, round %d of %d", g.title, round+1, d.rounds)
		if err := inTurn(round, ways); err != nil {
			return nil, err
		}
	}
	g.sameBytes(oneStream, psqlPipe, psqlToNull)
	if d.bars != nil {
		g.bars = d.bars(g)
	}
	return g, nil
}

// inTurn does all ways. Each round begins with another way, so that no way always runs after the
// same one.
func inTurn(round int, ways []func() error) error {
	for i := range ways {
		if err := ways[(round+i)%len(ways)](); err != nil {
			return err
		}
	}
	return nil
}

// firstLoad measures a first load by the engine and, if again is set, another run after it.
func (b *bench) firstLoad(ctx context.Context, d dataset, connections int, g *group, way string, again bool) error {
	return b.firstLoadFrom(ctx, b.source.config(), d, connections, g, way, again)
}

// firstLoadFrom is firstLoad with another connection to the source.
func (b *bench) firstLoadFrom(ctx context.Context, source pgclient.Config, d dataset, connections int, g *group, way string, again bool) error {
	e, err := b.newEngineFrom(ctx, source, d, "bench", connections)
	if err != nil {
		return err
	}
	m, _, err := e.run(ctx)
	if err == nil && m.rows != d.rows() {
		err = fmt.Errorf("it extracted %d rows of %d", m.rows, d.rows())
	}
	if err := g.add(way, m, err); err != nil {
		return err
	}
	if again {
		m, err := e.runUnchanged(ctx)
		if err := g.add(engineAgain, m, err); err != nil {
			return err
		}
	}
	return e.remove(ctx, false)
}

// wideBars are the bars of the wide table.
func wideBars(g *group) []bar {
	one, more, again, pipe := g.measures[oneStream], g.measures[moreStreams], g.measures[engineAgain], g.measures[psqlPipe]
	perRows := func(m measure) float64 { return m.client.Seconds() / float64(m.rows) * 3e6 }
	memory := func(m measure) float64 { return float64(m.memory) / (1 << 20) }
	wal := func(m measure) float64 { return float64(m.wal) }
	return []bar{
		{"first load, wide: engine / psql, one stream each", "", ratios(one, pipe, seconds), "<=", 0.90},
		{"first load, wide: CPU of the engine for 3 million rows", "s", values(one, perRows), "<=", 1},
		{"first load, wide: 4 connections / 1 (5 % are noise)", "", ratios(more, one, seconds), "<=", 1.05},
		{"first load, wide: peak memory above idle", "MiB", []float64{slices.Max(values(slices.Concat(one, more), memory))}, "<", 64},
		{"re-load, wide, nothing changed: WAL / first load's WAL", "", ratios(again, more, wal), "<", 0.1},
	}
}

// smallBars are the bars of many small tables.
func smallBars(g *group) []bar {
	again := g.measures[engineAgain]
	tables := again[0].tables
	return []bar{
		{fmt.Sprintf("%d small tables, nothing changed: one run (1,000: 15 s)", tables), "s", values(again, seconds), "<", 15 * float64(tables) / 1000},
	}
}

const (
	million        = "engine, 1 million wide rows"
	tenMillion     = "engine, 10 million wide rows"
	psqlMillion    = "psql | psql, 1 million"
	psqlTenMillion = "psql | psql, 10 million"
)

// growth measures first loads of one million rows and of ten, if the size asks for it. psql's
// additional time for more rows shows how much of the growth is due to the servers.
func (b *bench) growth(ctx context.Context, s size) (*group, error) {
	g := newGroup("first load: growth", "", million, tenMillion, psqlMillion, psqlTenMillion)
	few := dataset{name: million, tables: []table{{"wide_1", wideSQL, 1_000_000, fullTable}}}
	many := dataset{name: tenMillion, tables: []table{{"wide_10", wideSQL, 10_000_000, fullTable}}}
	if s.growth > 0 {
		if err := errors.Join(b.fill(ctx, few), b.fill(ctx, many)); err != nil {
			return nil, err
		}
	}
	for round := range s.growth {
		b.progress("%s, round %d of %d", g.title, round+1, s.growth)
		err := inTurn(round, []func() error{
			func() error { return b.firstLoad(ctx, few, 4, g, million, false) },
			func() error { return b.firstLoad(ctx, many, 4, g, tenMillion, false) },
			func() error {
				m, err := b.pipe(ctx, few)
				return g.add(psqlMillion, m, err)
			},
			func() error {
				m, err := b.pipe(ctx, many)
				return g.add(psqlTenMillion, m, err)
			},
		})
		if err != nil {
			return nil, err
		}
	}
	perRow := func(m measure) float64 { return m.wall.Seconds() / float64(m.rows) }
	g.bars = []bar{
		{"first load, wide: 10 million rows / 1 million, per row", "", ratios(g.measures[tenMillion], g.measures[million], perRow), "<=", 1.2},
		{"  the same of psql, which has one stream", "", ratios(g.measures[psqlTenMillion], g.measures[psqlMillion], perRow), "", 0},
	}
	return g, nil
}
