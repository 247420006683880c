package source

import (
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A materialized view that is refreshed while workers share its ranges is read as it was, or
// as it is, and not half of each.
func TestRefreshedMeanwhile(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database := s.Database(t)
		s.Exec(t, database, `CREATE TABLE base AS SELECT 1 AS id; CREATE MATERIALIZED VIEW m AS SELECT * FROM base; UPDATE base SET id = 2`)
		conn, other := pgtest.Connect(t, s, database), pgtest.Connect(t, s, database)
		source, err := prepare(t.Context(), conn, "source")
		if err != nil {
			t.Fatal(err)
		}
		unlimited := func(time.Time) (stop func() bool) { return func() bool { return true } }
		x, err := OpenSnapshot(t.Context(), source, SnapshotRequest{Table: relation.TableName{Schema: "public", Name: "m"}, Kind: relation.MaterializedView, Limit: unlimited})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close(t.Context())
		_, err = other.Exec(t.Context(), `SET lock_timeout = '200ms'; REFRESH MATERIALIZED VIEW m`)
		if pgclient.Code(err) != "55P03" {
			t.Errorf("the view was refreshed within the snapshot: %v", err)
		}
	})
}
