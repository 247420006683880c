package pgclient

import (
	"time"
)

// Names that external tests and tests of other packages use.
const (
	MaxControl = maxControl
	RefusedTLS = refusedTLS
)

// SetPlanTimeout sets how long a plan waits for what it asked for.
func (s *Server) SetPlanTimeout(d time.Duration) { s.planTimeout = d }

// Open returns the number of open connections.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}
