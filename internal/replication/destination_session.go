package replication

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A destinationConn is a worker's connection to the destination: one session at a time.
type destinationConn struct {
	conn    *pgclient.Conn
	server  string           // key in the provider block
	lease   time.Duration    // of what the worker claims
	leads   int64            // the replication whose lock the session holds; 0: none
	ready   *pgx.Conn        // the session that is prepared
	session catalog.Session  // the same session, as other workers know it
	types   relation.TypeSet // of the database
}

// reconnect makes the session ready. It replaces a broken session. Only the leader's session
// runs the replication.
func (d *destinationConn) reconnect(ctx context.Context) error {
	if err := d.conn.Renew(ctx); err != nil {
		return err
	}
	if d.ready == d.conn.Conn {
		return nil
	}
	if _, _, err := prepareSession(ctx, d.conn.Conn, d.server, destinationLockTimeout); err != nil {
		return err
	}
	if err := catalog.OpenSession(ctx, d.conn.Conn); err != nil {
		return err
	}
	session, err := catalog.BeginSession(ctx, d.conn.Conn, d.lease)
	if err != nil {
		return err
	}
	if d.leads != 0 {
		if err := catalog.Lock(ctx, d.conn.Conn, d.leads, session); err != nil {
			return err
		}
	}
	types, err := relation.ReadTypeSet(ctx, d.conn.Conn)
	if err != nil {
		return err
	}
	d.types, d.session, d.ready = types, session, d.conn.Conn
	return nil
}

// in runs f in a transaction.
func (d *destinationConn) in(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, d.conn, f)
}

// unlock releases the replication's lock, if the session holds it. The server would release
// it by itself, but only some time after the connection was closed.
func (d *destinationConn) unlock(ctx context.Context) {
	if d.leads != 0 && d.ready == d.conn.Conn && !d.conn.IsClosed() {
		_ = catalog.Unlock(ctx, d.conn.Conn, d.leads)
	}
}
