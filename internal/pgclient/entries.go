package pgclient

import (
	"context"
	"slices"
)

// What the entries of one provider block have in common. Entries with the same address count as
// one server here, whatever login they use.

// Memory returns the T of the provider block that s belongs to, and makes it on the first call.
// The T holds what the packages that manage servers remember about all of them while this
// process runs.
func Memory[T any](s *Server) *T {
	found, _ := s.siblings.memory.LoadOrStore((*T)(nil), new(T))
	memory, _ := found.(*T) // always a *T: the key has the type
	return memory
}

// Changed forgets, for all entries, the failed dials, because a login may work from now on, and
// the shared readings, because they may be out of date.
func (s *Server) Changed() {
	for _, other := range s.siblings.byName {
		other.mu.Lock()
		other.failures = nil
		other.mu.Unlock()
		other.shared.Clear()
	}
}

// same returns the entries with the same address as s.
func (s *Server) same(yield func(*Server) bool) {
	for _, other := range s.siblings.byName {
		if other.config.address() == s.config.address() && !yield(other) {
			return
		}
	}
}

// BeginDrop notes, until end is called, that a database is being dropped, so that connections to
// it are closed, and so that operations which the database blocks wait.
func (s *Server) BeginDrop(database string) (end func()) {
	all, key := s.siblings, s.config.address()+"/"+database
	all.mu.Lock()
	defer all.mu.Unlock()
	all.dropping[key]++
	return func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		if all.dropping[key]--; all.dropping[key] == 0 {
			delete(all.dropping, key)
		}
	}
}

// IsDropping reports whether this process is dropping a database.
func (p *pool) IsDropping(database string) bool {
	p.siblings.mu.Lock()
	defer p.siblings.mu.Unlock()
	return p.siblings.dropping[p.config.address()+"/"+database] > 0
}

// CloseIdleIn closes the idle connections of all entries to a database.
func (s *Server) CloseIdleIn(database string) {
	for other := range s.same {
		other.closeIdle(func(c *Conn) bool { return c.database == database })
	}
}

// CloseIdleAs closes the idle connections of all entries that log in as a user.
func (s *Server) CloseIdleAs(username string) {
	for other := range s.same {
		if other.config.Username == username {
			other.closeIdle(func(*Conn) bool { return true })
		}
	}
}

// closeAllIdle closes the idle connections of all entries to the server. It returns how many of
// the matching connections are in use, and how many it closed.
func (s *Server) closeAllIdle() (inUse, closed int) {
	for other := range s.same {
		closed += other.closeIdle(func(*Conn) bool { return true })
		other.mu.Lock()
		inUse += other.open - other.dialling
		other.mu.Unlock()
	}
	return inUse, closed
}

// EntriesWith returns the keys of the entries that log in to the same server as a user
// with a password.
func (s *Server) EntriesWith(user, password string) []string {
	var names []string
	for other := range s.same {
		if other.config.Username == user && other.config.Password == password {
			names = append(names, other.name)
		}
	}
	slices.Sort(names)
	return names
}

// TryLogin opens a session as a user, with SCRAM and nothing less, and ends it. It counts as one
// of the connections that the Config allows. A session that the server refuses only after it has
// accepted the password is no error.
func (s *Server) TryLogin(ctx context.Context, user, password string) error {
	as := &Server{pool: &pool{name: s.name, config: s.config}}
	as.config.Username, as.config.Password, as.config.PasswordCommand, as.config.onlySCRAM = user, password, nil, true
	if err := s.budget.Acquire(ctx, 1); err != nil {
		return err
	}
	s.reserveSlot()
	conn, err := as.connect(ctx, s.config.Database)
	if err != nil {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
		s.budget.Release(1)
		if isAfterLogin(err) {
			return nil
		}
		return err
	}
	(&Conn{Conn: conn, pool: s.pool}).Discard()
	return nil
}

// isAfterLogin reports whether a server refused a session only after it had accepted the
// password: the user lacks CONNECT, or has reached its connection limit.
func isAfterLogin(err error) bool {
	switch Code(err) {
	case InsufficientPrivilege, InvalidCatalogName:
		return true
	case TooManyConnections:
		return routine(err) == "InitializeSessionUserId"
	}
	return false
}
