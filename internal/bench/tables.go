package main

import (
	"context"
	"fmt"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
)

// A table is a table of the source.
type table struct {
	name      string
	create    string // SQL; %[1]s is the name, %[2]d the number of rows
	rows      int
	selection definition.Selection
}

// A dataset is a set of tables that are copied together.
type dataset struct {
	name    string
	tables  []table
	rounds  int
	bars    func(*group) []bar // of its first loads; may be nil
	again   bool               // whether the engine runs once more after a first load
	changes bool               // whether its first table is then measured as it changes
}

func (d dataset) rows() (n int64) {
	for _, t := range d.tables {
		n += int64(t.rows)
	}
	return n
}

var (
	fullTable   = definition.Selection{Method: definition.FullTable}
	incremental = definition.Selection{Method: definition.Incremental, ReplicationKey: "updated_at"}
)

// pgbenchSQL creates what pgbench creates.
const pgbenchSQL = `
	CREATE TABLE %[1]s AS
	SELECT g AS aid, g %% 10 AS bid, 0 AS abalance, ''::char(84) AS filler
	FROM generate_series(1, %[2]d) AS g;
	ALTER TABLE %[1]s ADD PRIMARY KEY (aid)`

// wideSQL has rows that changed at intervals of one minute, up to now.
const wideSQL = `
	CREATE TABLE %[1]s AS
	SELECT g::bigint AS id, md5(g::text) AS a, repeat(md5(g::text), 4) AS b, (g * 1.37)::numeric(12,4) AS n,
		now() - (%[2]d - g) * interval '1 minute' AS updated_at,
		jsonb_build_object('id', g, 'tags', array['x', 'y'], 'name', md5((g + 1)::text)) AS j,
		g / 3.0::float8 AS f, g %% 2 = 0 AS flag, NULL::text AS nothing
	FROM generate_series(1, %[2]d) AS g;
	ALTER TABLE %[1]s ADD PRIMARY KEY (id);
	CREATE INDEX ON %[1]s (updated_at)`

// toastSQL has values of 8 kB that PostgreSQL stores out of line.
const toastSQL = `
	CREATE TABLE %[1]s AS
	SELECT g AS id, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 250) AS i) AS body
	FROM generate_series(1, %[2]d) AS g;
	ALTER TABLE %[1]s ADD PRIMARY KEY (id)`

const smallSQL = `
	CREATE TABLE %[1]s AS
	SELECT g AS id, md5(g::text) AS name, now() - (%[2]d - g) * interval '1 minute' AS updated_at
	FROM generate_series(1, %[2]d) AS g;
	ALTER TABLE %[1]s ADD PRIMARY KEY (id);
	CREATE INDEX ON %[1]s (updated_at)`

func narrow(s size) dataset {
	return dataset{name: "narrow", rounds: s.rounds,
		tables: []table{{"pgbench_accounts", pgbenchSQL, 300_000 * s.factor, fullTable}}}
}

func toast(s size) dataset {
	return dataset{name: "TOAST", rounds: s.rounds,
		tables: []table{{"toast", toastSQL, 6_000 * s.factor, fullTable}}}
}

func wide(s size) dataset {
	return dataset{name: "wide", rounds: s.rounds, bars: wideBars, again: true, changes: true,
		tables: []table{{"wide", wideSQL, 300_000 * s.factor, fullTable}}}
}

// small has tables of which one half is read whole and the other half has a replication key.
func small(s size) dataset {
	d := dataset{name: fmt.Sprintf("%d small tables", s.smallTables), rounds: 3, bars: smallBars, again: true}
	for i := range s.smallTables {
		t := table{fmt.Sprintf("small_%04d", i), smallSQL, 100, fullTable}
		if i%2 == 1 {
			t.rows, t.selection = 1000, incremental
		}
		d.tables = append(d.tables, t)
	}
	return d
}

// fill creates the tables at the source, in the state after a VACUUM.
func (b *bench) fill(ctx context.Context, d dataset) error {
	b.progress("fill the source: %s", d.name)
	for _, t := range d.tables {
		if err := b.source.execute(ctx, fmt.Sprintf(t.create, t.name, t.rows)); err != nil {
			return fmt.Errorf("fill %s: %w", t.name, err)
		}
		if err := b.source.execute(ctx, "VACUUM ANALYZE "+t.name); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the tables of a dataset.
func (s *server) drop(ctx context.Context, d dataset) error {
	for _, t := range d.tables {
		if err := s.execute(ctx, "DROP TABLE "+t.name); err != nil {
			return err
		}
	}
	return nil
}
