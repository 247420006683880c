package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What belongs together goes to a server in batches, one round trip for all of it:
// functions called Queue..., here and in package catalog, add to one. Whoever fills
// a batch sends it, within a transaction or, through a connection, as one.

// sender is a connection or a transaction.
type sender interface {
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

// Send sends a batch that fill has filled. Its error says what was attempted.
func Send(ctx context.Context, to sender, attempt string, fill func(*pgx.Batch)) error {
	batch := &pgx.Batch{}
	fill(batch)
	if err := to.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	return nil
}
