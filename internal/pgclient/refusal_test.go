package pgclient

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A prepared transaction holds locks without a session, so a search for sessions does not find
// it.
func TestPreparedHolders(t *testing.T) {
	majors := sandbox.NeedMajors(t)
	for _, major := range []int{majors[0], majors[len(majors)-1]} {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major, Settings: map[string]string{"max_prepared_transactions": "5"}})
		server, database := serverOf(t, superuserOf(s)), s.Database(t)
		s.Exec(t, database, "CREATE TABLE public.t ()")
		s.Exec(t, database, "BEGIN; GRANT SELECT ON public.t TO PUBLIC; PREPARE TRANSACTION 'left''over'")
		for name, c := range map[string]Contention{"any": {}, "of a schema": {Schema: "public"}} {
			err := server.AddHolders(t.Context(), database, c, &pgconn.PgError{Code: LockNotAvailable})
			if want := "prepared transaction 'left''over' (user postgres)"; !strings.Contains(err.Error(), want) {
				t.Errorf("PostgreSQL %d, %s: %v\nwant %s", major, name, err, want)
			}
		}
		s.Exec(t, database, "ROLLBACK PREPARED 'left''over'")
	}
}
