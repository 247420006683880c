package replication

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A run that has waited for a lock for as long as promised does not wait again.
func TestHeldLockDoesNotPass(t *testing.T) {
	held := &pgconn.PgError{Code: pgclient.LockNotAvailable}
	if err := (&sourceError{&heldError{held}}); (&sessions{}).isTransient(err) {
		t.Error("the wait begins again")
	}
	if !(&sessions{}).isTransient(&sourceError{held}) {
		t.Error("a lock that was not had in one turn is not tried again")
	}
}
