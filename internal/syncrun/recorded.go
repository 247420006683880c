package syncrun

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
)

// IsBusy reports whether the catalog could not be read only because of what others do with it
// at the same time.
func IsBusy(err error) bool {
	return pgclient.Code(err) == pgclient.LockNotAvailable || pgclient.IsInterference(err)
}

// LastRun returns the run that was recorded last. If there is none, its error is one that
// IsNotFound recognizes.
func LastRun(ctx context.Context, destination pgclient.Endpoint, schemaName string) (Run, error) {
	var run Run
	err := replication.InCatalog(ctx, destination, func(tx pgx.Tx) error {
		stored, err := catalog.ReplicationOf(ctx, tx, schemaName)
		if err != nil {
			return err
		}
		if run.Run, err = catalog.LatestRun(ctx, tx, stored.ID); err != nil {
			return err
		}
		if run.Tables, err = catalog.Reports(ctx, tx, run.ID); err != nil {
			return err
		}
		run.Missing, err = missingTables(ctx, tx, stored)
		return err
	})
	return run, err
}

// missingSQL finds those of the names $2 that no table of the schema $1 has.
const missingSQL = `
	SELECT t.name
	FROM pg_catalog.unnest($2::pg_catalog.text[]) AS t (name)
	WHERE NOT EXISTS (
		SELECT
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname::pg_catalog.text = t.name AND c.relkind IN ('r', 'p'))
	ORDER BY t.name`

// missingTables returns the tables that a replication has loaded, still loads, and that do
// not exist. Users may drop tables that it no longer loads.
func missingTables(ctx context.Context, tx pgx.Tx, stored catalog.Replication) ([]string, error) {
	d, err := replication.Decode(stored)
	if err != nil {
		return nil, err
	}
	loaded, err := catalog.LoadedTables(ctx, tx, stored.ID)
	if err != nil {
		return nil, err
	}
	var wanted []string
	for _, key := range d.Keys() {
		if name, err := d.TableNameOf(key); err == nil && slices.Contains(loaded, name) {
			wanted = append(wanted, name)
		}
	}
	rows, _ := tx.Query(ctx, missingSQL, stored.SchemaName, wanted)
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("check which loaded tables exist: %w", err)
	}
	return missing, nil
}
