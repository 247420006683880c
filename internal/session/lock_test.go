package session

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A prepared transaction holds locks without a session, so a search for sessions does not
// find it.
func TestPreparedHolders(t *testing.T) {
	majors := sandbox.NeedMajors(t)
	for _, major := range []int{majors[0], majors[len(majors)-1]} {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major, Settings: map[string]string{"max_prepared_transactions": "5"}})
		database := s.Database(t)
		s.Exec(t, database, "CREATE TABLE public.t ()")
		s.Exec(t, database, "BEGIN; LOCK TABLE public.t; PREPARE TRANSACTION 'left''over'")
		conn, err := pgx.Connect(t.Context(), s.URL(database))
		if err != nil {
			t.Fatal(err)
		}
		err = NameHolders(t.Context(), conn, relation.TableName{Schema: "public", Name: "t"}, false, &pgconn.PgError{Code: pgclient.LockNotAvailable})
		if want := "public.t is locked by prepared transaction 'left''over' (user postgres, AccessExclusiveLock)"; !strings.Contains(err.Error(), want) {
			t.Errorf("PostgreSQL %d: %v\nwant %s", major, err, want)
		}
		_ = conn.Close(t.Context())
		s.Exec(t, database, "ROLLBACK PREPARED 'left''over'")
	}
}
