package pgclient

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// TryLogin leaves no connection, whether or not the login succeeds.
func TestTryLogin(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	user, config := s.Role(t), superuserOf(s)
	config.MaxConnections = 1
	server := serverOf(t, config)
	for range 2 {
		if err := server.TryLogin(t.Context(), user, s.Password); err != nil {
			t.Error(err)
		}
		if err := server.TryLogin(t.Context(), user, "another"); Code(err) != InvalidPassword {
			t.Errorf("got %v", err)
		}
	}
	if server.open != 0 || len(server.idle) != 0 {
		t.Errorf("%d connections are open, %d of them idle", server.open, len(server.idle))
	}
}
