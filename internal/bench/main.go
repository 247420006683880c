// Bench is the program behind "make bench": it measures the engine against
// psql piped into psql, between two servers of its own, in one run.
//
// Only ratios mean something on a machine that others use too. So the two
// sides of a ratio take turns, and the medians are compared.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("SIZE")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A table is what is copied.
type table struct {
	name   string
	create string // SQL; %d is the number of rows
	rows   int
}

var tables = []table{
	{"narrow", `CREATE TABLE narrow AS SELECT g AS id, g %% 10 AS branch, 0 AS balance, repeat(' ', 84)::char(84) AS filler FROM generate_series(1, %d) g;
		ALTER TABLE narrow ADD PRIMARY KEY (id)`, 300_000},
	{"wide", `CREATE TABLE wide AS SELECT g::bigint AS id, md5(g::text) AS a, repeat(md5(g::text), 4) AS b, (g * 1.37)::numeric(12,4) AS n, now() + g * interval '1 s' AS at,
		jsonb_build_object('id', g, 'tags', array['x','y'], 'name', md5((g + 1)::text)) AS j, g / 3.0::float8 AS f, g %% 2 = 0 AS flag, NULL::text AS nothing
		FROM generate_series(1, %d) g; ALTER TABLE wide ADD PRIMARY KEY (id)`, 300_000},
	{"toast", `CREATE TABLE toast AS SELECT g AS id, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 250) i) AS body FROM generate_series(1, %d) g;
		ALTER TABLE toast ADD PRIMARY KEY (id)`, 6_000},
}

func run(ctx context.Context, size string) error {
	factor, repeats := 1, 5
	switch size {
	case "", "small":
	case "full":
		factor, repeats = 10, 7
	default:
		return fmt.Errorf("SIZE is %q: small or full", size)
	}
	b, err := start(ctx)
	if err != nil {
		return err
	}
	defer b.stop()

	out := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "first load\trows\tMB\tengine\tpipe\tengine / pipe\tsource only\tengine MB/s\tengine CPU\tservers' CPU\tpipe's servers' CPU\tpeak memory\t")
	for _, t := range tables {
		t.rows *= factor
		if err := b.fill(ctx, t); err != nil {
			return err
		}
		results := map[string][]measure{}
		for range repeats {
			for _, way := range []struct {
				name string
				do   func(context.Context, table) (measure, error)
			}{{"engine", b.engine}, {"pipe", b.pipe}, {"source", b.sourceOnly}} {
				m, err := way.do(ctx, t)
				if err != nil {
					return fmt.Errorf("%s of %s: %w", way.name, t.name, err)
				}
				results[way.name] = append(results[way.name], m)
			}
		}
		engine, pipe, source := median(results["engine"]), median(results["pipe"]), median(results["source"])
		megabytes := float64(engine.bytes) / 1e6
		fmt.Fprintf(out, "%s\t%d\t%.0f\t%s\t%s\t%.2f\t%s\t%.0f\t%s\t%s\t%s\t%.0f MiB\t\n", t.name, t.rows, megabytes,
			round(engine.wall), round(pipe.wall), engine.wall.Seconds()/pipe.wall.Seconds(), round(source.wall), megabytes/engine.wall.Seconds(),
			round(engine.cpu), round(engine.servers), round(pipe.servers), float64(engine.memory)/(1<<20))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Printf("\nMedians of %d, taken in turns, PostgreSQL %d on both ends.\n%s", repeats, b.source.Major, strings.TrimLeft(legend, "\n"))
	return nil
}

const legend = `
engine        a sync run: structure sync, COPY into a new table, key built after, bookmark and report
pipe          psql COPY TO STDOUT | psql COPY FROM STDIN, binary, into a new table, key built after
source only   psql COPY TO STDOUT, to nowhere: what the source can give
peak memory   of the engine's process above what it had before
`

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// A bench is two servers and what runs between them.
type bench struct {
	source, destination *sandbox.Server
}

func start(ctx context.Context) (*bench, error) {
	b := &bench{}
	var err error
	for _, major := range sandbox.Majors() { // the newest that has psql beside it
		config := sandbox.Config{Major: major, Settings: map[string]string{"max_wal_size": "8GB", "autovacuum": "off"}}
		s, err := sandbox.Start(ctx, config)
		if err != nil {
			b.stop()
			return nil, err
		}
		if s.Program("psql") == "" {
			_ = s.Stop()
			continue
		}
		b.stop()
		if b.source = s; b.source != nil {
			if b.destination, err = sandbox.Start(ctx, config); err != nil {
				b.stop()
				return nil, err
			}
		}
	}
	if b.source == nil {
		err = fmt.Errorf("no PostgreSQL here has psql: install the distribution's package")
	}
	return b, err
}

func (b *bench) stop() {
	for _, s := range []*sandbox.Server{b.source, b.destination} {
		if s != nil {
			_ = s.Stop()
		}
	}
	b.source, b.destination = nil, nil
}
