package postgres

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Twenty users that are read for one plan take the statements of one, until
// something is written, under whatever entry.
func TestUsersShareOneReading(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{LogStatements: true})
	servers := serversOf(t, map[string]Config{"a": superuserOf(s), "b": superuserOf(s)})
	planning := servers["a"].Planning()
	for i := range 20 {
		if _, err := servers["b"].CreateUser(t.Context(), User{Name: fmt.Sprint("user", i), ConnectionLimit: i}, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := statements(t, s)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			u, err := planning.User(t.Context(), fmt.Sprint("user", i))
			if err != nil || u.ConnectionLimit != i {
				t.Errorf("got %+v, %v", u, err)
			}
		})
	}
	group.Wait()
	if got := statements(t, s) - before; got > 5 { // with those that begin the session, and begin and end the transaction
		t.Errorf("20 users took %d statements", got)
	}

	if _, err := servers["b"].UpdateUser(t.Context(), User{Name: "user0", ConnectionLimit: 77}, nil); err != nil {
		t.Fatal(err)
	}
	if u, err := planning.User(t.Context(), "user0"); err != nil || u.ConnectionLimit != 77 {
		t.Errorf("after an update: %+v, %v", u, err)
	}
	if err := servers["b"].DropUser(t.Context(), "user0", DropOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := planning.User(t.Context(), "user0"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after a drop: %v", err)
	}
}

// statements counts what the server has executed.
func statements(t *testing.T, s *sandbox.Server) int {
	t.Helper()
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(log, "LOG:  execute ") + strings.Count(log, "LOG:  statement: ")
}
