package pgclient

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// While this process has the only connection that a role may have, another connection waits for
// it, whichever entry of the provider block it belongs to. If another client has that
// connection, the error is immediate.
func TestOwnConnectionsInTheWay(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{})
	name := s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+name+" CONNECTION LIMIT 1")
	config := Config{Host: s.Host, Port: s.Port, Username: name, Password: s.Password}
	entries := serversOf(t, map[string]Config{"one": config, "two": config})
	refusals := func() int {
		log, err := s.Log()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(log, "too many connections for role")
	}
	first, err := entries["one"].Acquire(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	for turn, entry := range []string{"two", "one"} {
		before := refusals()
		type result struct {
			conn *Conn
			err  error
		}
		next := make(chan result, 1)
		go func() {
			conn, err := entries[entry].Acquire(t.Context(), "template1")
			next <- result{conn, err}
		}()
		waitFor(t, func() bool { return refusals() > before })
		first.Release()
		got := <-next
		if got.err != nil {
			t.Fatalf("turn %d: %v", turn, got.err)
		}
		first = got.conn
	}
	first.Discard()

	other := serverOf(t, config)
	held, err := other.Acquire(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Discard()
	_, err = entries["one"].Acquire(t.Context(), "postgres")
	if Code(err) != TooManyConnections || !strings.Contains(Explain(err), "CONNECTION LIMIT of the role") {
		t.Errorf("got %s", Explain(err))
	}
}
