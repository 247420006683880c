package pgclient

import (
	"time"
)

// What tests of other packages' promises see of this one.
const (
	MaxControl = maxControl
	RefusedTLS = refusedTLS
)

// SetPatience sets how long a plan waits for what it asked.
func (s *Server) SetPatience(d time.Duration) { s.patience = d }

// Open returns how many connections there are.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}
