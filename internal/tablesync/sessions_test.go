package tablesync

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A run that has waited for a lock for as long as promised does not wait again.
func TestHeldLockDoesNotPass(t *testing.T) {
	held := &pgconn.PgError{Code: pgclient.LockNotAvailable}
	if err := (&copywire.SourceError{Err: &session.LockTimeoutError{Err: held}}); (&Sessions{}).isTransient(err) {
		t.Error("the wait begins again")
	}
	if !(&Sessions{}).isTransient(&copywire.SourceError{Err: held}) {
		t.Error("a lock that was not had in one turn is not tried again")
	}
}
