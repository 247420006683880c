package pgclient

import (
	"context"
	"sync"
	"time"
)

// sharedReadAge is the age at which a reading is read again. A reading only has to last from one
// resource of a plan to the next.
const sharedReadAge = 10 * time.Second

// ReadShared returns what read reads of a database ("" for what belongs to the server). All
// callers that ask for a T of that database share one reading, until this process changes
// something. Callers that were already waiting asked before the change, and get the value from
// before it.
func ReadShared[T any](ctx context.Context, s *Server, database string, read func(context.Context) (T, error)) (T, error) {
	found, _ := s.shared.LoadOrStore(sharedKey{(*T)(nil), database}, &sharedRead[T]{})
	shared, _ := found.(*sharedRead[T]) // always a *sharedRead[T]: the key has the type
	return shared.get(ctx, read)
}

// A sharedKey is the key of a reading: a nil pointer to its type, and a database.
type sharedKey struct {
	of       any
	database string
}

// A sharedRead lets all resources of a plan share one reading of a server: callers that ask
// while it is in progress wait for it, and callers that ask soon afterwards get the same value,
// which none of them may change. The zero value has read nothing yet.
type sharedRead[T any] struct {
	mu     sync.Mutex
	latest *sharedReading[T] // nil if the next caller has to read
}

// A sharedReading is in progress until done is closed.
type sharedReading[T any] struct {
	done    chan struct{}
	value   T
	err     error
	ended   time.Time
	cancel  context.CancelFunc
	waiters int
}

// get returns the latest reading, or reads. Only the callers that waited for a reading get its
// error. A caller that gives up leaves the reading to the others; when the last caller gives up,
// the reading is cancelled.
func (r *sharedRead[T]) get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	current := r.join(ctx, read)
	defer r.dropWaiter(current)
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
		// The reading outlives the caller that started it.
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

func (r *sharedRead[T]) dropWaiter(current *sharedReading[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if current.waiters--; current.waiters > 0 || !current.ended.IsZero() {
		return
	}
	current.cancel()
	if r.latest == current {
		r.latest = nil // its result is of no use
	}
}

// isStale must be called with the lock held under which ended is written.
func (current *sharedReading[T]) isStale() bool {
	return !current.ended.IsZero() && time.Since(current.ended) >= sharedReadAge
}
