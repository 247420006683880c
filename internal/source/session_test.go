package source

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// The session of a client that is gone ends, whatever it was doing.
func TestClientGone(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		if s.Major < 14 {
			return // the server does not check
		}
		conn := pgtest.Connect(t, s, "postgres")
		if _, err := prepare(t.Context(), conn, "source"); err != nil {
			t.Fatal(err)
		}
		pid := conn.PgConn().PID()
		query, err := (&pgproto3.Query{String: "SELECT pg_sleep(100)"}).Encode(nil)
		if err == nil {
			_, err = conn.PgConn().Conn().Write(query)
		}
		if err != nil {
			t.Fatal(err)
		}
		session := fmt.Sprintf(`SELECT FROM pg_stat_activity WHERE pid = %d AND state = 'active'`, pid)
		pgtest.Await(t, s, "postgres", session, 1)
		_ = conn.PgConn().Conn().Close()
		pgtest.Await(t, s, "postgres", session, 0)
	})
}
