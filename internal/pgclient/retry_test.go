package pgclient

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestIsInterference(t *testing.T) {
	tests := map[string]struct {
		err  error
		want bool
	}{
		"none":                 {nil, false},
		"no answer":            {errors.New("broken pipe"), false},
		"two changed a row":    {&pgconn.PgError{Code: "XX000", Message: "tuple concurrently updated"}, true},
		"one dropped it":       {&pgconn.PgError{Code: "XX000", Message: "tuple concurrently deleted"}, true},
		"default privileges":   {&pgconn.PgError{Code: "XX000", Message: "could not find tuple for default ACL 16424"}, true},
		"another internal one": {&pgconn.PgError{Code: "XX000", Message: "cache lookup failed"}, false},
		"deadlock":             {fmt.Errorf("grant: %w", &pgconn.PgError{Code: "40P01"}), true},
		"a table vanished":     {&pgconn.PgError{Code: "42P01"}, true},
		"a role vanished":      {&pgconn.PgError{Code: "42704"}, true},
		"a lock":               {&pgconn.PgError{Code: LockNotAvailable}, false},
		"not allowed":          {&pgconn.PgError{Code: "42501"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := IsInterference(test.err); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAttempts(t *testing.T) {
	locked := &pgconn.PgError{Code: LockNotAvailable}
	interfered := &pgconn.PgError{Code: "XX000", Message: "tuple concurrently updated"}
	vanished := &pgconn.PgError{Code: "42704"}
	for name, test := range map[string]struct {
		err  error
		c    Contention
		made int
		last time.Duration // the longest pause
	}{
		"success":        {nil, Contention{}, 1, 0},
		"another error":  {&pgconn.PgError{Code: "42501"}, Contention{}, 1, 0},
		"a lock":         {locked, Contention{}, lockAttempts, lockPause},
		"a schema":       {locked, Contention{Attempts: DropLockAttempts}, DropLockAttempts, lockPause},
		"interference":   {interfered, Contention{}, interferedAttempts, longestPause},
		"what is absent": {vanished, Contention{}, vanishedAttempts, shortestPause * 16},
	} {
		t.Run(name, func(t *testing.T) {
			var a attempts
			made, last := 0, time.Duration(0)
			for again := true; again; made++ {
				if made > 0 {
					last = a.pause()
				}
				a, again = a.after(test.err, test.c)
			}
			if made != test.made || last != test.last {
				t.Errorf("%d attempts, the last after %v; want %d after %v", made, last, test.made, test.last)
			}
		})
	}
}
