package source

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A Session is a session at the source that is prepared for a run. Its transactions
// write nothing, and leave nothing behind.
//
// What it reads may run code of other roles in it: functions of a view, policies, a foreign
// table's wrapper, and expressions of indexes, which PostgreSQL evaluates when it plans. Such
// code can change settings and roles for the rest of the session. So each transaction
// declares itself READ ONLY, which cannot be undone once it reads, and pins all settings by
// statements that resolve no name. All of that ends with its rollback.
type Session struct {
	*pgx.Conn
	Pins     string
	role     string   // the role in which its login's sessions are set to begin; "none" usually
	Identity Identity // the database that it has reached, once known
}

// prepare prepares a session for a run. server is its server's key in the provider
// block.
func prepare(ctx context.Context, conn *pgx.Conn, server string) (Session, error) {
	pins, role, err := session.Prepare(ctx, conn, server, session.SourceLockTimeout)
	return Session{Conn: conn, Pins: pins, role: role}, err
}

// begin starts a transaction.
func (s Session) begin(ctx context.Context, isolation pgx.TxIsoLevel) (pgx.Tx, error) {
	return s.BeginTx(ctx, pgx.TxOptions{BeginQuery: "BEGIN ISOLATION LEVEL " + string(isolation) + ", READ ONLY; " + s.Pins})
}

// Read runs f in a transaction.
func (s Session) Read(ctx context.Context, f func(pgx.Tx) error) error {
	tx, err := s.begin(ctx, pgx.ReadCommitted)
	if err != nil {
		return err
	}
	defer session.Rollback(ctx, tx)
	return f(tx)
}

// Join begins a transaction in the snapshot that another session shares by that name, and
// returns the structure of a table in it.
func (s Session) Join(ctx context.Context, snapshot string, name relation.TableName) (pgx.Tx, relation.Table, error) {
	tx, err := s.begin(ctx, pgx.RepeatableRead)
	if err != nil {
		return nil, relation.Table{}, err
	}
	_, err = tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+pgclient.Literal(snapshot))
	if err != nil {
		err = fmt.Errorf("import the snapshot: %w", err)
	}
	var tables map[relation.TableName]relation.Table
	if err == nil {
		tables, err = relation.ReadTables(ctx, tx, []relation.TableName{name})
	}
	if err != nil {
		session.Rollback(ctx, tx)
		return nil, relation.Table{}, err
	}
	return tx, tables[name], nil
}

const pinsCheckSQL = `
	SELECT s.name, pg_catalog.current_setting(s.name)
	FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS s (name, n)
	ORDER BY s.n`

// queuePinsCheck checks, by a batch, that the settings of a transaction at the source are the
// pinned ones.
func (s Session) queuePinsCheck(batch *pgx.Batch) {
	major := pgclient.Version(s.Conn)
	want := append([]pgclient.Setting{
		{Name: "role", Value: s.role}, {Name: "transaction_read_only", Value: "on"}, {Name: "lock_timeout", Value: session.SourceLockTimeout},
	}, pgclient.In(major, session.Pinned)...)
	names := make([]string, len(want))
	for i, setting := range want {
		names[i] = setting.Name
	}
	batch.Queue(pinsCheckSQL, names).Query(func(rows pgx.Rows) error {
		have, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (setting pgclient.Setting, err error) {
			err = row.Scan(&setting.Name, &setting.Value)
			return setting, err
		})
		if err != nil {
			return err
		}
		for _, pinned := range want {
			i := slices.IndexFunc(have, func(h pgclient.Setting) bool { return h.Name == pinned.Name })
			if i < 0 {
				return fmt.Errorf("the server did not report the setting %s of the session", pinned.Name)
			}
			if have[i].Value != pinned.Value {
				return fmt.Errorf("the setting %s of the session is %q but must be %q: code that the session ran has changed it", pinned.Name, have[i].Value, pinned.Value)
			}
		}
		return nil
	})
}

// A Conn is a worker's connection to the source: one session at a time.
type Conn struct {
	Conn     *pgclient.Conn
	Server   string   // key in the provider block
	Follows  bool     // whether another worker has identified the source before
	Identity Identity // of the source; zero until it is known
	Session  Session  // the session that is prepared
}

// Reconnect makes the session ready. It replaces a broken session.
func (s *Conn) Reconnect(ctx context.Context) error {
	if err := s.Conn.Renew(ctx); err != nil {
		return err
	}
	if s.Session.Conn == s.Conn.Conn {
		return nil
	}
	session, err := prepare(ctx, s.Conn.Conn, s.Server)
	if err != nil {
		return err
	}
	found, err := identify(ctx, session)
	if err != nil {
		return err
	}
	if err := s.verifyServer(found); err != nil {
		return err
	}
	session.Identity = found
	s.Identity, s.Session = found, session
	return nil
}

// verifyServer checks that a session has reached the same server as the others.
func (s *Conn) verifyServer(found Identity) error {
	known := s.Identity
	if known == (Identity{}) {
		return nil
	}
	if known.System != found.System {
		return fmt.Errorf("a new connection to server %q reached another cluster, %s instead of %s", s.Server, found.System, known.System)
	}
	first := s.Session.Conn == nil // later the server may have been started again
	if s.Follows && (known.address != found.address || first && known.Started != found.Started) {
		return errDifferentServers
	}
	return nil
}

// errDifferentServers makes a worker stop that could not read the server that the others
// read.
var errDifferentServers = errors.New("connections to the source reach different servers, for instance through a load balancer. " +
	"This run read the source through one connection only, but the next run may reach a server with older or newer data. Set host to a single server")
