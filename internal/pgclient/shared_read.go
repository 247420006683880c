package pgclient

import (
	"context"
	"sync"
	"time"
)

// sharedReadAge is how old a reading may become before it is read again. It
// only has to last from one resource of a plan to the next.
const sharedReadAge = 10 * time.Second

// ReadShared returns what read reads of a database ("" for what belongs to the server).
// All who ask for a T of that database share one reading, until this process changes
// something: those who wait then asked before the change, and get what there was.
func ReadShared[T any](ctx context.Context, s *Server, database string, read func(context.Context) (T, error)) (T, error) {
	found, _ := s.shared.LoadOrStore(sharedKey{(*T)(nil), database}, &sharedRead[T]{})
	shared, _ := found.(*sharedRead[T]) // it is no other: the key has the type
	return shared.get(ctx, read)
}

// A sharedKey is what a reading is kept under: a pointer to what it is of, and a database.
type sharedKey struct {
	of       any
	database string
}

// A sharedRead lets all resources of a plan share one reading of a server:
// those who ask while it is under way wait for it, and those who ask soon
// afterwards are given the same value, which none of them may change. The zero
// value has read nothing yet.
type sharedRead[T any] struct {
	mu     sync.Mutex
	latest *sharedReading[T] // nil if the next who asks has to read
}

// A sharedReading is under way until done is closed.
type sharedReading[T any] struct {
	done    chan struct{}
	value   T
	err     error
	ended   time.Time
	cancel  context.CancelFunc
	waiters int
}

// get returns the latest reading, or reads. An error is told to those who
// waited for it, and to nobody else. Whoever gives up leaves the reading to the
// others; when the last has, it is cancelled.
func (r *sharedRead[T]) get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	current := r.join(ctx, read)
	defer r.leave(current)
	select {
	case <-current.done:
		return current.value, current.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (r *sharedRead[T]) join(ctx context.Context, read func(context.Context) (T, error)) *sharedReading[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.latest == nil || r.latest.isStale() {
		// It outlives the one who happened to come first.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r.latest = &sharedReading[T]{done: make(chan struct{}), cancel: cancel}
		go r.run(ctx, r.latest, read)
	}
	r.latest.waiters++
	return r.latest
}

func (r *sharedRead[T]) run(ctx context.Context, current *sharedReading[T], read func(context.Context) (T, error)) {
	defer current.cancel()
	value, err := read(ctx)

	r.mu.Lock()
	defer r.mu.Unlock()
	current.value, current.err, current.ended = value, err, time.Now()
	close(current.done)
	if err != nil && r.latest == current {
		r.latest = nil
	}
}

func (r *sharedRead[T]) leave(current *sharedReading[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if current.waiters--; current.waiters > 0 || !current.ended.IsZero() {
		return
	}
	current.cancel()
	if r.latest == current {
		r.latest = nil // what comes of it is of no use
	}
}

// isStale is asked with the lock held that ended is written under.
func (current *sharedReading[T]) isStale() bool {
	return !current.ended.IsZero() && time.Since(current.ended) >= sharedReadAge
}
