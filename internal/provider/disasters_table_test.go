package provider

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// A disasterTable records what was done, and with what result.
type disasterTable struct {
	mu   sync.Mutex
	rows map[string]*disasterRow
}

// A disasterRow summarises all disasters of one name.
type disasterRow struct {
	times, wrong  int
	reasons       map[string]int // why rows were read whole, and how often
	took, longest time.Duration
}

// nothingWhole stands for a run that read no table whole.
const nothingWhole = "nothing had to be read whole"

// add adds the result of one disaster.
func (d *disasterTable) add(name string, reasons []string, wrong int, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rows == nil {
		d.rows = map[string]*disasterRow{}
	}
	row := d.rows[name]
	if row == nil {
		row = &disasterRow{reasons: map[string]int{}}
		d.rows[name] = row
	}
	row.times++
	row.wrong += wrong
	row.took += took
	row.longest = max(row.longest, took)
	if len(reasons) == 0 {
		reasons = []string{nothingWhole}
	}
	for _, reason := range reasons {
		row.reasons[reason]++
	}
}

// print ends a test with the table, also in the file that STITCH_TABLE names, if any.
func (d *disasterTable) print(t *testing.T, seed uint64) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "before the next apply (STITCH_SEED=%d)\ttimes\trows that differ\tmean\tlongest\twhat its report says, and how often\n", seed)
	wrong := 0
	for _, name := range slices.Sorted(maps.Keys(d.rows)) {
		row := d.rows[name]
		wrong += row.wrong
		start := fmt.Sprintf("%s\t%d\t%d\t%s\t%s", name, row.times, row.wrong, seconds(row.took/time.Duration(row.times)), seconds(row.longest))
		byCount := slices.SortedFunc(maps.Keys(row.reasons), func(a, b string) int {
			if row.reasons[a] != row.reasons[b] {
				return row.reasons[b] - row.reasons[a]
			}
			return strings.Compare(a, b)
		})
		for _, reason := range byCount {
			fmt.Fprintf(w, "%s\t%d× %s\n", start, row.reasons[reason], shorten(reason, 160))
			start = "\t\t\t\t"
		}
	}
	w.Flush()
	fmt.Fprintf(&b, "%d rows differ\n", wrong)
	path := os.Getenv("STITCH_TABLE")
	if path == "" {
		t.Log("\n" + b.String())
		return
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Error(err)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
