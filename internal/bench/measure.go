package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A measure is what one copy took.
type measure struct {
	wall    time.Duration
	cpu     time.Duration // of this process
	servers time.Duration // CPU of both servers
	memory  int64         // most bytes that this process had more than before
	bytes   int64
}

// median returns the measure whose wall time is the median.
func median(all []measure) measure {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b measure) int { return cmp.Compare(a.wall, b.wall) })
	return sorted[len(sorted)/2]
}

// measure takes what f takes.
func (b *bench) measure(f func() error) (measure, error) {
	debug.FreeOSMemory()
	// 5 resets the peak, see proc_pid_clear_refs(5).
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return measure{}, err
	}
	memory, err := peakMemory()
	if err != nil {
		return measure{}, err
	}
	servers, err := b.serverCPU()
	if err != nil {
		return measure{}, err
	}
	cpu, began := ownCPU(), time.Now()
	if err := f(); err != nil {
		return measure{}, err
	}
	m := measure{wall: time.Since(began), cpu: ownCPU() - cpu}
	peak, err := peakMemory()
	if err != nil {
		return measure{}, err
	}
	m.memory = peak - memory
	time.Sleep(100 * time.Millisecond) // sessions end, and are counted by their parent
	after, err := b.serverCPU()
	m.servers = after - servers
	return m, err
}

func ownCPU() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // fails for no valid argument
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peakMemory returns the greatest resident size of this process, in bytes.
func peakMemory() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmHWM")
}

// serverCPU is what both servers have used: each postmaster with the children
// that ended, and those that still run.
func (b *bench) serverCPU() (time.Duration, error) {
	var ticks int64
	for _, s := range []*sandbox.Server{b.source, b.destination} {
		pidFile, err := os.ReadFile(filepath.Join(s.Dir, "data", "postmaster.pid"))
		if err != nil {
			return 0, err
		}
		postmaster := strings.Fields(string(pidFile))[0]
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return 0, err
		}
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
			for _, field := range fields[11:15] { // utime, stime, cutime, cstime
				n, err := strconv.ParseInt(field, 10, 64)
				if err != nil {
					return 0, err
				}
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}
