package pgclient

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestDecidePooling(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second []int64
		want          Pooling
	}{
		"one session each":                  {[]int64{1, 1, 1}, []int64{2, 2, 2}, SessionPooling},
		"the one that was used last":        {[]int64{1, 1}, []int64{1}, TransactionPooling},
		"the one that was used longest ago": {[]int64{1, 2}, []int64{3, 3}, TransactionPooling},
		"the second one changes":            {[]int64{1, 1}, []int64{2, 3}, TransactionPooling},
		"they meet in the end":              {[]int64{1, 1, 1, 1}, []int64{2, 2, 1}, TransactionPooling},
	} {
		if got := decidePooling(tt.first, tt.second); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// pooled starts a PgBouncer in front of s and returns the entry that connects through it.
func pooled(t *testing.T, s *sandbox.Server, mode, user string) Config {
	t.Helper()
	p := sandbox.OwnPgBouncer(t, s, mode, user)
	return Config{Host: p.Host, Port: p.Port, Username: user, Password: s.Password}
}

// The mode of a pool is determined, also while other clients use the pool, and what cannot work
// through it is refused.
func TestPooling(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		user, database := s.Role(t), s.Database(t)
		for mode, want := range map[string]Pooling{
			"": NoPooling, "session": SessionPooling, "transaction": TransactionPooling, "statement": TransactionPooling,
		} {
			config := Config{Host: s.Host, Port: s.Port, Username: user, Password: s.Password}
			if mode != "" {
				config = pooled(t, s, mode, user)
			}
			for _, busy := range []bool{false, true} {
				server := serverOf(t, config)
				stop := func() {}
				if busy && mode != "statement" {
					stop = crowd(t, serverOf(t, config), database)
				}
				found, err := server.Pooling(t.Context(), database)
				stop()
				if err != nil || found != want {
					t.Errorf("mode %q, others use it: %t: found %q, want %q (%v)", mode, busy, found, want, err)
				}
			}
			var refused *PoolingError
			err := serverOf(t, config).RequireSessions(t.Context(), database)
			if errors.As(err, &refused) != (want == TransactionPooling) || err != nil && refused == nil {
				t.Errorf("mode %q: got %v", mode, err)
			}
			// With one connection the mode cannot be determined, unless there is no proxy.
			config.MaxConnections = 1
			err = serverOf(t, config).RequireSessions(t.Context(), database)
			switch {
			case mode == "" && err != nil, mode != "" && !errors.As(err, &refused):
				t.Errorf("mode %q, one connection: got %v", mode, err)
			case mode != "" && refused.Pooling != UnknownPooling, mode != "" && !strings.Contains(err.Error(), "max_connections"):
				t.Errorf("mode %q, one connection: got %v", mode, err)
			}
		}
	})
}

// crowd uses a pool until it is stopped.
func crowd(t *testing.T, server *Server, database string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				conn, err := server.Acquire(ctx, database)
				if err != nil {
					return
				}
				_, _ = process(ctx, conn.Conn)
				conn.Release()
			}
		})
	}
	return func() { cancel(); group.Wait() }
}

// Determining the mode costs one statement, once.
func TestPoolingCost(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{LogStatements: true, Settings: map[string]string{"log_connections": "on"}})
	server := serverOf(t, superuserOf(s))
	for range 3 {
		if err := server.RequireSessions(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if statements, connections := logged(t, s); len(statements) != 2 || connections != 1 { // one of them begins the session
		t.Errorf("%d connections, statements %q", connections, statements)
	}
}
