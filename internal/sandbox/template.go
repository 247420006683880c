package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
)

// What is made once in the life of a process (templates, shared servers and hosts, the key of their
// operator) is the package's only state: no value that a caller holds could own it.
var templates perKey[int, *template]

// A template is a data directory fresh from initdb, which takes a second. Servers start from copies
// of it, which take some hundredths of a second.
type template struct {
	*watchdog // as long as this process lives
	password  string
}

func (t *template) data() string { return filepath.Join(t.dir, "data") }

func newTemplate(ctx context.Context, as account, bin string) (*template, error) {
	password := rand.Text()
	w, err := watch(as, func(dir string) ([]string, error) {
		file := filepath.Join(dir, "password")
		return []string{
			filepath.Join(bin, "initdb"),
			"--pgdata=" + filepath.Join(dir, "data"),
			"--username=" + superuser, "--pwfile=" + file, "--auth=scram-sha-256",
			"--encoding=UTF8", "--locale=C", "--no-sync",
		}, as.writeFile(file, password)
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-w.ended:
		if w.exit == "0" {
			return &template{w, password}, nil
		}
		err = w.failure()
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(fmt.Errorf("initdb: %w", err), w.stop())
}

// perKey holds one value for each key, made on first use.
type perKey[K comparable, T any] struct {
	mu    sync.Mutex
	slots map[K]*slot[T]
}

type slot[T any] struct {
	lock  chan struct{} // a mutex whose waiters can give up with their contexts
	value T
	made  bool
}

// get returns the value of a key. Callers wait for the one that makes the value; if that one fails,
// the next one tries again.
func (p *perKey[K, T]) get(ctx context.Context, key K, create func() (T, error)) (T, error) {
	s := p.slot(key)
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return s.value, ctx.Err()
	}
	if s.made {
		return s.value, nil
	}
	value, err := create()
	if err == nil {
		s.value, s.made = value, true
	}
	return value, err
}

func (p *perKey[K, T]) slot(key K) *slot[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots == nil {
		p.slots = map[K]*slot[T]{}
	}
	if p.slots[key] == nil {
		p.slots[key] = &slot[T]{lock: make(chan struct{}, 1)}
	}
	return p.slots[key]
}
