package sshclient

import (
	"sync"
	"time"
)

// A deadline can be set again while a goroutine waits for it.
type deadline struct {
	mu     sync.Mutex
	over   chan struct{} // closed while the deadline has passed
	isOver bool
	timer  *time.Timer
	times  int // how often it was set: a timer uses this to see whether it is the latest
}

// passed returns a channel that is closed when the deadline passes, even if the deadline changes
// before.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

// set sets the deadline; the zero time means none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.times++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	wait := time.Until(t)
	switch {
	case !t.IsZero() && wait <= 0:
		d.end()
		return
	case d.isOver:
		d.over, d.isOver = make(chan struct{}), false
	}
	if t.IsZero() {
		return
	}
	times := d.times
	d.timer = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.times == times {
			d.end()
		}
	})
}

func (d *deadline) end() {
	if !d.isOver {
		d.isOver = true
		close(d.over)
	}
}
