package postgres

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Reading twenty users for one plan takes as many statements as reading one, until an entry
// writes something.
func TestUsersShareOneReading(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{LogStatements: true})
	servers := pgtest.Servers(t, map[string]pgclient.Config{"a": pgtest.Superuser(s), "b": pgtest.Superuser(s)})
	planning := servers["a"].Planning()
	for i := range 20 {
		if _, err := CreateUser(t.Context(), servers["b"], User{Name: fmt.Sprint("user", i), ConnectionLimit: i}, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := statements(t, s)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			u, err := ReadUser(t.Context(), planning, fmt.Sprint("user", i))
			if err != nil || u.ConnectionLimit != i {
				t.Errorf("got %+v, %v", u, err)
			}
		})
	}
	group.Wait()
	if got := statements(t, s) - before; got > 5 { // including those that begin the session, and begin and end the transaction
		t.Errorf("20 users took %d statements", got)
	}

	if _, err := UpdateUser(t.Context(), servers["b"], User{Name: "user0", ConnectionLimit: 77}, nil); err != nil {
		t.Fatal(err)
	}
	if u, err := ReadUser(t.Context(), planning, "user0"); err != nil || u.ConnectionLimit != 77 {
		t.Errorf("after an update: %+v, %v", u, err)
	}
	if err := DropUser(t.Context(), servers["b"], "user0", DropOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadUser(t.Context(), planning, "user0"); !errors.Is(err, pgclient.ErrNotFound) {
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
