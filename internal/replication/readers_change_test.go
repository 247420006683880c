package replication

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// If a change of readers waits in vain, its error names what it waited for.
func TestReadersLockHolder(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		destination := pgclient.Endpoint{Server: pgtest.Server(t, pgtest.Superuser(s)), Database: s.Database(t)}
		if err := Create(t.Context(), destination, definition.Definition{Name: "Shop", SchemaName: "shop"}, false, pgclient.Identity{}); err != nil {
			t.Fatal(err)
		}
		s.Exec(t, destination.Database, `CREATE SCHEMA shop; CREATE TABLE shop.t (id int PRIMARY KEY)`)
		holder := pgtest.Connect(t, s, destination.Database)
		pgtest.Do(t, holder, `BEGIN; LOCK TABLE shop.t`)
		err := InCatalog(t.Context(), destination, func(tx pgx.Tx) error {
			return lockStructure(t.Context(), tx, "shop", []string{"t"}, " NOWAIT")
		})
		if !isInterference(err) {
			t.Fatal(err)
		}
		err = destination.Server.NameHolders(t.Context(), destination.Database, "shop", err)
		if want := fmt.Sprintf("are locked by pid %d (user %s", holder.PgConn().PID(), s.Username); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}
