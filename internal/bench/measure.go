package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A measure is what one way took in one round.
type measure struct {
	wall        time.Duration
	client      time.Duration // CPU of the engine, of psql, or of Terraform and its provider
	source      time.Duration // CPU of the source's server
	destination time.Duration // CPU of the destination's server
	memory      int64         // peak memory of this process beyond what it had before
	wal         int64         // bytes of WAL that the destination wrote
	rows        int64         // extracted
	bytes       int64         // of row data that crossed the wire
	tables      int           // number of tables in the run
	report      time.Duration // duration of the tables according to the loading report
	heap        int64         // rows of the destination that were written or locked; only where that is counted
	effort                    // only for plans
}

// median returns the median of the figure that of takes from each.
func median(all []measure, of func(measure) float64) float64 {
	return middle(values(all, of))
}

func values(all []measure, of func(measure) float64) []float64 {
	var result []float64
	for _, m := range all {
		result = append(result, of(m))
	}
	return result
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratios divides the figures that of takes from a and b, round by round.
func ratios(a, b []measure, of func(measure) float64) []float64 {
	var result []float64
	for i := range min(len(a), len(b)) {
		result = append(result, of(a[i])/of(b[i]))
	}
	return result
}

// differences subtracts the figures that of takes from b from those from a, round by round.
func differences(a, b []measure, of func(measure) float64) []float64 {
	var result []float64
	for i := range min(len(a), len(b)) {
		result = append(result, of(a[i])-of(b[i]))
	}
	return result
}

func seconds(m measure) float64 { return m.wall.Seconds() }

// A counter is what the servers have used so far.
type counter struct {
	source, destination time.Duration // CPU
	wal                 int64
}

// measure measures what f takes.
func (b *bench) measure(ctx context.Context, f func() error) (measure, error) {
	for _, s := range []*server{b.source, b.destination} {
		if err := s.execute(ctx, "CHECKPOINT"); err != nil { // so that f does not have to write out earlier changes
			return measure{}, err
		}
	}
	debug.FreeOSMemory()
	// 5 resets the peak, see proc_pid_clear_refs(5).
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return measure{}, err
	}
	memory, err := peakMemory("self")
	if err != nil {
		return measure{}, err
	}
	before, err := b.count(ctx)
	if err != nil {
		return measure{}, err
	}
	client, began := clientCPU(), time.Now()
	if err := f(); err != nil {
		return measure{}, err
	}
	m := measure{wall: time.Since(began), client: clientCPU() - client}
	peak, err := peakMemory("self")
	if err != nil {
		return measure{}, err
	}
	after, err := b.count(ctx)
	m.memory, m.wal = peak-memory, after.wal-before.wal
	m.source, m.destination = after.source-before.source, after.destination-before.destination
	return m, err
}

// count reads the counters once all closed sessions have ended: only then does their server count
// what they used.
func (b *bench) count(ctx context.Context) (c counter, err error) {
	for _, s := range []*server{b.source, b.destination} {
		if err := s.alone(ctx); err != nil {
			return counter{}, err
		}
	}
	if c.source, err = b.source.cpu(); err != nil {
		return counter{}, err
	}
	if c.destination, err = b.destination.cpu(); err != nil {
		return counter{}, err
	}
	c.wal, err = value[int64](ctx, b.destination, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
	return c, err
}

// alone returns once this session is the only one.
func (s *server) alone(ctx context.Context) error {
	const others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n, err := value[int64](ctx, s, others)
		if err != nil {
			return err
		}
		if n == 0 {
			time.Sleep(20 * time.Millisecond) // the process ends after its entry disappears
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d sessions do not end", n)
		}
	}
}

// clientCPU is what this process has used, and the programs that it ran and that have ended.
func clientCPU() (d time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		_ = syscall.Getrusage(who, &usage) // cannot fail for a valid argument
		d += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return d
}

// peakMemory returns the greatest resident size of a process, in bytes.
func peakMemory(pid string) (int64, error) {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%s/status has no VmHWM", pid)
}

// cpu is what the server has used: the postmaster, its children that have ended, and those that
// still run.
func (s *server) cpu() (time.Duration, error) {
	pidFile, err := os.ReadFile(filepath.Join(s.Dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	postmaster := strings.Fields(string(pidFile))[0]
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// The name of the program, in parentheses, may hold blanks.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid := filepath.Base(filepath.Dir(stat))
		if pid != postmaster && fields[1] != postmaster {
			continue
		}
		n, err := sum(fields[11:15]) // utime, stime, cutime, cstime
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// othersCPU is what the machine has used for processes other than the servers and this one.
func (b *bench) othersCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))                     // cpu user nice system idle iowait irq softirq steal ...
	ticks, err := sum(slices.Concat(fields[1:4], fields[6:9])) // all but idle and iowait
	if err != nil {
		return 0, err
	}
	source, err := b.source.cpu()
	if err != nil {
		return 0, err
	}
	destination, err := b.destination.cpu()
	return time.Duration(ticks)*tick - source - destination - clientCPU(), err
}

const tick = time.Second / 100 // /proc counts in these

func sum(fields []string) (total int64, err error) {
	for _, field := range fields {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
