package destination

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A Conn is a worker's connection to the destination: one session at a time.
type Conn struct {
	Conn    *pgclient.Conn
	Server  string           // key in the provider block
	Lease   time.Duration    // of what the worker claims
	Leads   int64            // the replication whose lock the session holds; 0: none
	ready   *pgx.Conn        // the session that is prepared
	Session catalog.Session  // the same session, as other workers know it
	Types   relation.TypeSet // of the database
}

// Reconnect makes the session ready. It replaces a broken session. Only the leader's session
// runs the replication.
func (d *Conn) Reconnect(ctx context.Context) error {
	if err := d.Conn.Renew(ctx); err != nil {
		return err
	}
	if d.ready == d.Conn.Conn {
		return nil
	}
	if _, _, err := session.Prepare(ctx, d.Conn.Conn, d.Server, session.DestinationLockTimeout); err != nil {
		return err
	}
	if err := catalog.OpenSession(ctx, d.Conn.Conn); err != nil {
		return err
	}
	begun, err := catalog.BeginSession(ctx, d.Conn.Conn, d.Lease)
	if err != nil {
		return err
	}
	if d.Leads != 0 {
		if err := catalog.Lock(ctx, d.Conn.Conn, d.Leads, begun); err != nil {
			return err
		}
	}
	types, err := relation.ReadTypeSet(ctx, d.Conn.Conn)
	if err != nil {
		return err
	}
	d.Types, d.Session, d.ready = types, begun, d.Conn.Conn
	return nil
}

// In runs f in a transaction.
func (d *Conn) In(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, d.Conn, f)
}

// Unlock releases the replication's lock, if the session holds it. The server would release
// it by itself, but only some time after the connection was closed.
func (d *Conn) Unlock(ctx context.Context) {
	if d.Leads != 0 && d.ready == d.Conn.Conn && !d.Conn.IsClosed() {
		_ = catalog.Unlock(ctx, d.Conn.Conn, d.Leads)
	}
}
