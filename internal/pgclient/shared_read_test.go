package pgclient

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A slowSource takes a second to read, and counts its readings.
type slowSource struct {
	mu   sync.Mutex
	read int
	err  error
}

func (s *slowSource) get(ctx context.Context) (int, error) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read++
	return s.read, s.err
}

func TestSharedRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{pool: &pool{}}
		var source slowSource
		wantReading := func(want int) {
			t.Helper()
			if got, err := ReadShared(t.Context(), s, "", source.get); got != want || err != nil {
				t.Errorf("got reading %d (%v), want %d", got, err, want)
			}
		}

		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { wantReading(1) })
		}
		group.Wait()
		time.Sleep(sharedReadAge - time.Millisecond)
		wantReading(1)
		time.Sleep(time.Millisecond) // the reading is too old
		wantReading(2)
		s.shared.Clear() // a change was made
		wantReading(3)
	})
}

// A reading that is in progress while a change is made may miss the change.
func TestSharedReadForgetsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{pool: &pool{}}
		var source slowSource
		var group sync.WaitGroup
		group.Go(func() {
			if got, err := ReadShared(t.Context(), s, "", source.get); got != 1 || err != nil {
				t.Errorf("who asked before: %d, %v", got, err)
			}
		})
		time.Sleep(time.Second / 2)
		s.shared.Clear()
		if got, err := ReadShared(t.Context(), s, "", source.get); got != 2 || err != nil {
			t.Errorf("who asked afterwards: %d, %v", got, err)
		}
		group.Wait()
		if got, _ := ReadShared(t.Context(), s, "", source.get); got != 2 {
			t.Errorf("the older reading came back: %d", got)
		}
	})
}

func TestSharedReadError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{pool: &pool{}}
		source := slowSource{err: errors.New("refused")}
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				if _, err := ReadShared(t.Context(), s, "", source.get); !errors.Is(err, source.err) {
					t.Errorf("got %v", err)
				}
			})
		}
		group.Wait()
		source.err = nil
		if got, err := ReadShared(t.Context(), s, "", source.get); got != 2 || err != nil {
			t.Errorf("after an error: %d, %v", got, err)
		}
	})
}

// A caller that gives up, even the first one, does not end the reading for the others.
func TestSharedReadCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{pool: &pool{}}
		var source slowSource
		first, cancelFirst := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := ReadShared(first, s, "", source.get); !errors.Is(err, context.Canceled) {
				t.Errorf("the first got %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() {
			if got, err := ReadShared(t.Context(), s, "", source.get); got != 1 || err != nil {
				t.Errorf("the second got %d, %v", got, err)
			}
		})
		synctest.Wait()
		cancelFirst()
		group.Wait()

		// When all callers have given up, the reading ends, and the next caller reads again.
		s.shared.Clear()
		all, cancelAll := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancelAll()
		if _, err := ReadShared(all, s, "", source.get); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if got, err := ReadShared(t.Context(), s, "", source.get); got != 2 || err != nil {
			t.Errorf("after all gave up: %d, %v", got, err)
		}
	})
}
