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
	rounds      int   // of its first loads
	smallTables int   // how many
	growth      int   // rounds in which one million rows are compared with ten
	disk        int64 // bytes that the servers need
}

var (
	smallSize = size{name: "small", factor: 1, rounds: 5, smallTables: 100, disk: 6 << 30}
	fullSize  = size{name: "full", factor: 10, rounds: 3, smallTables: 1000, growth: 3, disk: 30 << 30}
)

func run(ctx context.Context, sizeName string) error {
	size := smallSize
	switch sizeName {
	case "", size.name:
	case fullSize.name:
		size = fullSize
	default:
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

	groups, err := b.measureAll(ctx, size)
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := b.othersCPU()
	printGroups(groups)
	printBars(groups)
	fmt.Printf(legend, size.name, b.source.Major, took.Round(time.Second), (after-others).Seconds()/took.Seconds(), runtime.NumCPU())
	return err
}

func (b *bench) measureAll(ctx context.Context, size size) (groups []*group, err error) {
	add := func(g *group, err error) error {
		groups = append(groups, g)
		return err
	}
	for _, d := range []dataset{narrow(size), toast(size), wide(size), small(size)} {
		if err := b.fill(ctx, d); err != nil {
			return nil, err
		}
		if err := add(b.firstLoads(ctx, d)); err != nil {
			return nil, err
		}
		if d.changes {
			if err := add(b.incrementals(ctx, d.tables[0])); err != nil {
				return nil, err
			}
		}
		if err := b.source.drop(ctx, d); err != nil {
			return nil, err
		}
	}
	return groups, add(b.growth(ctx, size))
}
