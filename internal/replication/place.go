package replication

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// SourceIdentity returns which database a source is.
func SourceIdentity(ctx context.Context, source pgclient.Endpoint) (id pgclient.Identity, err error) {
	err = source.Server.OnConn(ctx, source.Database, func(conn *pgx.Conn) error {
		return pgclient.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			id, err = pgclient.ReadIdentity(ctx, tx)
			return err
		})
	})
	return id, err
}

// DestinationIdentity returns which database a destination is. The object is the row of the
// replication into a schema, or "" if there is none.
func DestinationIdentity(ctx context.Context, destination pgclient.Endpoint, schemaName string) (id pgclient.Identity, err error) {
	err = destination.Server.OnConn(ctx, destination.Database, func(conn *pgx.Conn) error {
		return pgclient.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			if id, err = pgclient.ReadIdentity(ctx, tx); err != nil {
				return err
			}
			id.Object = ""
			if err = catalog.Open(ctx, tx); err == nil {
				var stored catalog.Replication
				stored, err = catalog.ReplicationOf(ctx, tx, schemaName)
				id.Object = stored.Key
			}
			if errors.Is(err, catalog.ErrNoCatalog) || errors.Is(err, catalog.ErrNotFound) {
				return nil
			}
			return err
		})
	})
	return id, err
}
