// Bench is the program behind "make bench". In one run, between two servers that it starts, it
// measures the engine against what a user would write with psql, provisioning against Terraform
// with a provider that does nothing, and tunnels against ssh -L.
//
// On a machine that is also used otherwise, only ratios mean something. Therefore the two sides of
// a ratio take turns, and the ratio is the median of the rounds' ratios.
package main

import (
	"context"
	"errors"
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
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	size, errSize := newSize(os.Getenv("SIZE"))
	parts, errPart := newParts(os.Getenv("PART"))
	err := errors.Join(errSize, errPart)
	if err == nil {
		err = profiled(os.Getenv("PROFILE"), func() error { return run(ctx, size, parts) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// profiled writes a CPU profile of this process, whose work is the engine's, to the named file, if
// any.
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
	factor      int   // multiplies the rows of a large table
	rounds      int   // of first loads of a large table
	smallTables int   // number of small tables
	growth      int   // rounds in which one million rows are compared with ten
	disk        int64 // bytes that the servers need
	plans       int   // rounds of plans of many resources
	largePlans  int   // rounds of plans of many tables
	tunnels     int   // rounds of reading through an SSH host
}

var (
	smallSize = size{name: "small", factor: 1, rounds: 5, smallTables: 100, disk: 6 << 30, plans: 5, tunnels: 9}
	fullSize  = size{name: "full", factor: 10, rounds: 3, smallTables: 1000, growth: 3, disk: 30 << 30, plans: 15, largePlans: 5, tunnels: 15}
)

func newSize(name string) (size, error) {
	switch name {
	case "", smallSize.name:
		return smallSize, nil
	case fullSize.name:
		return fullSize, nil
	}
	return size{}, fmt.Errorf("SIZE is %q: small or full", name)
}

// A part is what can be measured by itself.
type part struct {
	name    string
	check   func(size) error // returns why it cannot be measured here
	spare   bool             // leaves it out where it cannot be measured, unless it was requested by name
	measure func(*bench, context.Context, size) ([]*group, error)
	columns []string // of its groups, after the name of the way
	cells   func(g *group, way string) []string
	legend  string
}

// newParts returns the part of that name, or all if it is "".
func newParts(name string) ([]part, error) {
	all := []part{
		{"engine", checkEngine, false, (*bench).measureEngine, engineColumns(), engineCells, engineLegend},
		{"provisioning", checkProvisioning, false, (*bench).measureProvisioning, provisioningColumns(), provisioningCells, provisioningLegend},
		{"tunnel", checkTunnel, true, (*bench).measureTunnel, tunnelColumns(), tunnelCells, tunnelLegend},
	}
	if name == "" {
		return all, nil
	}
	for _, p := range all {
		if p.name == name {
			return []part{p}, nil
		}
	}
	return nil, fmt.Errorf("PART is %q: engine, provisioning or tunnel", name)
}

// possible returns the parts that can be measured here.
func possible(size size, asked []part) (parts []part, err error) {
	for _, p := range asked {
		switch err := p.check(size); {
		case err != nil && p.spare && len(asked) > 1:
			fmt.Fprintf(os.Stderr, "The part %q is left out: %v\n", p.name, err)
		case err != nil:
			return nil, err
		default:
			parts = append(parts, p)
		}
	}
	return parts, nil
}

func run(ctx context.Context, size size, asked []part) error {
	parts, err := possible(size, asked)
	if err != nil {
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

	var all []*group
	byPart := make([][]*group, len(parts))
	for i, p := range parts {
		if byPart[i], err = p.measure(b, ctx, size); err != nil {
			return err
		}
		all = append(all, byPart[i]...)
	}
	took := time.Since(began)
	after, err := b.othersCPU()
	for i, p := range parts {
		p.printGroups(byPart[i])
	}
	printBars(all)
	fmt.Printf(legend, size.name, b.source.Major, took.Round(time.Second), max((after-others).Seconds()/took.Seconds(), 0), runtime.NumCPU())
	for _, p := range parts {
		fmt.Print(p.legend)
	}
	return err
}

func checkEngine(size size) error { return checkDisk(os.TempDir(), size.disk) }

func (b *bench) measureEngine(ctx context.Context, size size) (groups []*group, err error) {
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
