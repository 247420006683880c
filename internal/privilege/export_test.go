package privilege

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// HoldRightsLock takes the lock by which changes take turns. s then does not wait for the lock.
func HoldRightsLock(ctx context.Context, s *pgclient.Server, conn *pgx.Conn, database string) error {
	noteLockTimeout(s, database, time.Now())
	_, err := conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_lock($1, $2)", rightsLockClass, rightsLockKey)
	return err
}
