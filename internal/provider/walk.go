package provider

import "sync"

// A walk is what was read since the provider was configured: in one plan.
type walk struct {
	mu    sync.Mutex
	plans bool            // something was read: an apply plans once more, and reads nothing
	found map[string]bool // what is there and holds data; see located.key
}

// reads notes that something is being read.
func (w *walk) reads() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plans = true
}

// finds notes what was read, and is there.
func (w *walk) finds(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found[key] = true
}

// isPlanning reports whether anything was read.
func (w *walk) isPlanning() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.plans
}

// has reports whether something was read, and is there.
func (w *walk) has(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found[key]
}
