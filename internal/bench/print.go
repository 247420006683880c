package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// A group holds the ways of doing one thing, each with a measure of every round.
type group struct {
	title    string
	against  string // the way that the others are compared with; may be ""
	ways     []string
	measures map[string][]measure
	bars     []bar
}

func newGroup(title, against string, ways ...string) *group {
	return &group{title: title, against: against, ways: ways, measures: map[string][]measure{}}
}

// add adds a measure of a way, unless it failed.
func (g *group) add(way string, m measure, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %s: %w", g.title, way, err)
	}
	g.measures[way] = append(g.measures[way], m)
	return nil
}

// sameBytes assigns to other ways the bytes that the engine counted: they moved as many.
func (g *group) sameBytes(engine string, ways ...string) {
	for _, way := range ways {
		for i := range g.measures[way] {
			g.measures[way][i].bytes = g.measures[engine][i].bytes
		}
	}
}

// A bar is the limit that a figure must keep.
type bar struct {
	what   string
	unit   string
	rounds []float64 // the figure of each round
	sign   string    // < or <=; "" if there is no limit, for a figure that explains another
	limit  float64
}

func (b bar) met() bool {
	figure := middle(b.rounds)
	return figure < b.limit || b.sign == "<=" && figure == b.limit
}

// printGroups prints medians. It pads the first column, which is text, itself: the writer aligns
// all columns to the right.
func (p part) printGroups(groups []*group) {
	width := 0
	for _, g := range groups {
		width = max(width, len(g.title))
		for _, way := range g.ways {
			width = max(width, len(way)+2)
		}
	}
	var text strings.Builder
	out := newTable(&text)
	for _, g := range groups {
		if len(g.measures) == 0 {
			continue
		}
		fmt.Fprintf(out, "%-*s\t%s\t\n", width, g.title, strings.Join(p.columns, "\t"))
		for _, way := range g.ways {
			if len(g.measures[way]) == 0 {
				continue
			}
			fmt.Fprintf(out, "%-*s\t%s\t\n", width, "  "+way, strings.Join(p.cells(g, way), "\t"))
		}
		fmt.Fprintln(out, strings.Repeat("\t", len(p.columns)))
	}
	out.Flush()
	printTrimmed(text.String())
}

// newTable makes a table whose columns are aligned to the right.
func newTable(to io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// printTrimmed prints lines without the blanks that fill the last columns.
func printTrimmed(text string) {
	for line := range strings.Lines(text) {
		fmt.Println(strings.TrimRight(line, " \n"))
	}
}

// compared returns the duration of a way as a multiple of the duration of the way to compare with.
func (g *group) compared(way string) string {
	if g.against == "" {
		return ""
	}
	return fmt.Sprintf("%.2f", middle(ratios(g.measures[way], g.measures[g.against], seconds)))
}

func engineColumns() []string {
	return []string{"rows", "seconds", "/ psql", "rows/s", "MB/s", "CPU: client", "source", "destination", "WAL MB", "peak MiB", "heap rows"}
}

// engineCells are the medians of a way, as printed.
func engineCells(g *group, way string) []string {
	all := g.measures[way]
	of := func(f func(measure) float64) float64 { return median(all, f) }
	memory, heap := "", ""
	if strings.HasPrefix(way, "engine") {
		memory = fmt.Sprintf("%.1f", of(func(m measure) float64 { return float64(m.memory) / (1 << 20) }))
	}
	if way == engineAgain {
		heap = thousands(of(func(m measure) float64 { return float64(m.heap) }))
	}
	return []string{
		thousands(of(func(m measure) float64 { return float64(m.rows) })),
		fmt.Sprintf("%.3f", of(seconds)),
		g.compared(way),
		thousands(of(func(m measure) float64 { return float64(m.rows) / seconds(m) })),
		fmt.Sprintf("%.1f", of(func(m measure) float64 { return float64(m.bytes) / 1e6 / seconds(m) })),
		fmt.Sprintf("%.2f", of(func(m measure) float64 { return m.client.Seconds() })),
		fmt.Sprintf("%.2f", of(func(m measure) float64 { return m.source.Seconds() })),
		fmt.Sprintf("%.2f", of(func(m measure) float64 { return m.destination.Seconds() })),
		fmt.Sprintf("%.2f", of(func(m measure) float64 { return float64(m.wal) / 1e6 })),
		memory,
		heap,
	}
}

func provisioningColumns() []string {
	return []string{"seconds", "/ idle", "CPU: client", "server", "sessions", "statements", "on pg_class", "peak MiB"}
}

// provisioningCells are the medians of a way, as printed.
func provisioningCells(g *group, way string) []string {
	all := g.measures[way]
	of := func(f func(measure) float64) float64 { return median(all, f) }
	cells := []string{
		fmt.Sprintf("%.3f", of(seconds)),
		g.compared(way),
		fmt.Sprintf("%.2f", of(func(m measure) float64 { return m.client.Seconds() })),
		fmt.Sprintf("%.2f", of(func(m measure) float64 { return m.source.Seconds() })),
	}
	if e := all[0].effort; e != (effort{}) {
		cells = append(cells, fmt.Sprint(e.sessions), fmt.Sprint(e.statements), fmt.Sprint(e.onTables), fmt.Sprintf("%.1f", float64(e.providerMemory)/(1<<20)))
	}
	return cells
}

func tunnelColumns() []string { return []string{"seconds", "/ ssh -L", "MB/s"} }

// tunnelCells are the medians of a way, as printed.
func tunnelCells(g *group, way string) []string {
	all := g.measures[way]
	return []string{
		fmt.Sprintf("%.3f", median(all, seconds)),
		g.compared(way),
		fmt.Sprintf("%.0f", median(all, func(m measure) float64 { return float64(m.bytes) / 1e6 / seconds(m) })),
	}
}

// thousands writes 1234567 as 1,234,567.
func thousands(n float64) string {
	text := fmt.Sprintf("%.0f", n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func printBars(groups []*group) {
	var bars []bar
	width := 0
	for _, g := range groups {
		bars = append(bars, g.bars...)
	}
	for _, b := range bars {
		width = max(width, len(b.what))
	}
	var text strings.Builder
	out := newTable(&text)
	fmt.Fprintf(out, "%-*s\tmeasured\tfrom\tto\tbar\tmet\t\n", width, "bar")
	for _, b := range bars {
		limit, met := "", ""
		if b.sign != "" {
			limit, met = b.sign+" "+b.figure(b.limit), "no"
		}
		switch {
		case len(b.rounds) == 0:
			fmt.Fprintf(out, "%-*s\t\t\t\t%s\tSIZE=full\t\n", width, b.what, limit)
			continue
		case b.sign != "" && b.met():
			met = "yes"
		}
		fmt.Fprintf(out, "%-*s\t%s\t%s\t%s\t%s\t%s\t\n", width, b.what,
			b.figure(middle(b.rounds)), b.figure(slices.Min(b.rounds)), b.figure(slices.Max(b.rounds)), limit, met)
	}
	out.Flush()
	printTrimmed(text.String())
}

func (b bar) figure(value float64) string {
	text := fmt.Sprintf("%.2f", value)
	if value == math.Trunc(value) && b.unit != "" || value >= 100 {
		text = thousands(value)
	}
	return strings.TrimSpace(text + " " + b.unit)
}

const legend = `
SIZE=%s, PostgreSQL %d, in %s. Others kept %.1f of %d cores busy meanwhile: with that, bars in seconds say little.
Figures are medians of the rounds; in each round the ways take turns. Ratios are of one round each; "from" and "to" are the least
and the greatest of all rounds.
`

const engineLegend = `
engine           a sync run: structure sync, extraction, load, bookmark and report. With 1 connection to each server it has one
                 stream, with 4 it may have more
psql | psql      COPY TO STDOUT into COPY FROM STDIN, binary: into a new table like the engine's, the key built after; or, of what
                 is not before the bookmark, into a temporary table, and from there INSERT ... ON CONFLICT DO UPDATE
psql to nowhere  COPY TO STDOUT > /dev/null: what the source can give
CPU              seconds of the client, which is the engine or psql, of the source's server and of the destination's
WAL              that the destination wrote
peak             memory of the engine's process above what it had before
heap rows        of the destination that were written or locked
`

const provisioningLegend = `
stitch           Terraform with this provider
idle             Terraform with a provider that has the same schemas and does nothing
CPU              seconds of the client, which is Terraform with the provider, and of the server
sessions         of one more plan, counted in the server's log; so are its statements, and those of them that read pg_class
peak             memory of the provider's process in that plan
`

const tunnelLegend = `
direct           without an SSH host
ssh_host         through an SSH host of the provider
ssh -L           by the same client, through a forward of OpenSSH with the same cipher
`
