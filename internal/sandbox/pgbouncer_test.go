package sandbox

import (
	"strings"
	"testing"
)

// A pool serves the server's databases, and leaves nothing behind.
func TestPgBouncer(t *testing.T) {
	s := Shared(t, 0)
	database, role := s.Database(t), s.Role(t)
	p := OwnPgBouncer(t, s, "transaction", role)
	through := &Server{Host: p.Host, Port: p.Port, Username: role, Password: s.Password}
	if got := through.Query(t, database, "SELECT current_user, current_database()"); len(got) != 1 || got[0] != role+"|"+database {
		t.Errorf("through the pool: %q", got)
	}
	dir := p.watchdog.dir
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	assertGone(t, dir, dir)
	if _, err := StartPgBouncer(t.Context(), s, "none such"); err == nil || !strings.Contains(err.Error(), "none such") {
		t.Errorf("error %v does not show the pool's", err)
	}
}
