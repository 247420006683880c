package tablesync

import (
	"testing"
	"time"
)

func TestTooOldFor(t *testing.T) {
	for _, tt := range []struct {
		held, piece, limit time.Duration
		want               bool
	}{
		{time.Hour, time.Hour, 0, false},
		{time.Minute, time.Minute, 2 * time.Minute, false},
		{time.Minute, time.Minute + 1, 2 * time.Minute, true},
		{3 * time.Minute, 0, 2 * time.Minute, true},
	} {
		if got := tooOldFor(tt.held, tt.piece, tt.limit); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}
