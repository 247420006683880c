// Bench is the program behind "make bench": it measures the engine against
// what a user would write with psql, between two servers of its own, in one run.
//
// Only ratios mean something on a machine that others use too. So the two
// sides of a ratio take turns, and the ratio is the median of the rounds' own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	if err := profiled(os.Getenv("PROFILE"), func() error { return run(ctx, os.Getenv("SIZE")) }); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// profiled writes a CPU profile of this process, whose work is the engine's, to
// a file if one is named.
func profiled(name string, f func() error) error {
	if name == "" {
		return f()
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return f()
}

// A size says how much is measured.
type size struct {
	name        string
	factor      int   // of the rows of a large table
	smallTables int   // how many
	linear      bool  // whether one million rows are compared with ten
	disk        int64 // bytes that the servers need
}

var sizes = map[string]size{
	"":      {"small", 1, 200, false, 5 << 30},
	"small": {"small", 1, 200, false, 5 << 30},
	"full":  {"full", 10, 1000, true, 30 << 30},
}

func run(ctx context.Context, sizeName string) error {
	size, ok := sizes[sizeName]
	if !ok {
		return fmt.Errorf("SIZE is %q: small or full", sizeName)
	}
	if err := checkDisk(os.TempDir(), size.disk); err != nil {
		return err
	}
	b, err := start(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	began := time.Now()
	others, err := b.othersCPU()
	if err != nil {
		return err
	}

	groups, bars, err := b.measureAll(ctx, size)
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := b.othersCPU()
	printGroups(groups)
	printBars(bars)
	fmt.Printf(legend, size.name, b.source.Major, took.Round(time.Second), (after-others).Seconds()/took.Seconds(), runtime.NumCPU())
	return err
}

func (b *bench) measureAll(ctx context.Context, size size) (groups []*group, bars []bar, err error) {
	wide := wide(size)
	for _, d := range []dataset{narrow(size), toast(size), small(size), wide} {
		g, err := b.firstLoads(ctx, d)
		if err != nil {
			return nil, nil, err
		}
		groups = append(groups, g)
		if d.name == wide.name {
			continue // the next measures use it
		}
		if err := b.source.drop(ctx, d); err != nil {
			return nil, nil, err
		}
	}
	g, err := b.incrementals(ctx, wide.tables[0])
	if err != nil {
		return nil, nil, err
	}
	smallTables, first := groups[2], groups[3]
	groups = append(groups, g)
	bars = slices.Concat(firstLoadBars(first), incrementalBars(g), smallTablesBars(smallTables))
	if err := b.source.drop(ctx, wide); err != nil {
		return nil, nil, err
	}
	growth := newGroup("first load: growth", "")
	if size.linear {
		if growth, err = b.growth(ctx); err != nil {
			return nil, nil, err
		}
		groups = append(groups, growth)
	}
	return groups, append(bars, growthBar(growth)), nil
}
