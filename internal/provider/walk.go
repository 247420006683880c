package provider

import "sync"

// A walk holds what was read since the provider was configured, which means in one plan.
type walk struct {
	mu    sync.Mutex
	plans bool            // the provider has read something: an apply plans once more, and reads nothing
	found map[string]bool // what exists and holds data; see located.key
}

// reads notes that the provider is reading.
func (w *walk) reads() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plans = true
}

// finds notes an object that was read and exists.
func (w *walk) finds(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found[key] = true
}

// isPlanning reports whether the provider has read anything.
func (w *walk) isPlanning() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.plans
}

// has reports whether an object was read and exists.
func (w *walk) has(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found[key]
}
