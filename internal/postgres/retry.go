package postgres

import (
	"context"
	"time"
)

// Pause waits, or returns why the context has ended before.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
