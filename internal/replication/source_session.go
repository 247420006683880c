package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A sourceSession is a session at the source that is prepared for a run. Its transactions
// write nothing, and leave nothing behind.
//
// What it reads may run code of other roles in it: functions of a view, policies, a foreign
// table's wrapper, and expressions of indexes, which PostgreSQL evaluates when it plans. Such
// code can change settings and roles for the rest of the session. So each transaction
// declares itself READ ONLY, which cannot be undone once it reads, and pins all settings by
// statements that resolve no name. All of that ends with its rollback.
type sourceSession struct {
	*pgx.Conn
	pins     string
	role     string   // the role in which its login's sessions are set to begin; "none" usually
	identity identity // the database that it has reached, once known
}

// prepareSource prepares a session for a run. server is its server's key in the provider
// block.
func prepareSource(ctx context.Context, conn *pgx.Conn, server string) (sourceSession, error) {
	pins, role, err := prepareSession(ctx, conn, server, sourceLockTimeout)
	return sourceSession{Conn: conn, pins: pins, role: role}, err
}

// begin starts a transaction.
func (s sourceSession) begin(ctx context.Context, isolation pgx.TxIsoLevel) (pgx.Tx, error) {
	return s.BeginTx(ctx, pgx.TxOptions{BeginQuery: "BEGIN ISOLATION LEVEL " + string(isolation) + ", READ ONLY; " + s.pins})
}

// read runs f in a transaction.
func (s sourceSession) read(ctx context.Context, f func(pgx.Tx) error) error {
	tx, err := s.begin(ctx, pgx.ReadCommitted)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	return f(tx)
}

// join begins a transaction in the snapshot that another session shares by that name, and
// returns the structure of a table in it.
func (s sourceSession) join(ctx context.Context, snapshot string, name relation.TableName) (pgx.Tx, relation.Table, error) {
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
		rollback(ctx, tx)
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
func (s sourceSession) queuePinsCheck(batch *pgx.Batch) {
	major := pgclient.Version(s.Conn)
	want := append([]pgclient.Setting{
		{Name: "role", Value: s.role}, {Name: "transaction_read_only", Value: "on"}, {Name: "lock_timeout", Value: sourceLockTimeout},
	}, pgclient.In(major, pinned)...)
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
				return fmt.Errorf("the server does not say what the setting %s of the session is", pinned.Name)
			}
			if have[i].Value != pinned.Value {
				return fmt.Errorf("the setting %s of the session is %q and must be %q: other code has changed it", pinned.Name, have[i].Value, pinned.Value)
			}
		}
		return nil
	})
}

// A sourceConn is a worker's connection to the source: one session at a time.
type sourceConn struct {
	conn     *pgclient.Conn
	server   string        // key in the provider block
	follows  bool          // whether another worker has identified the source before
	identity identity      // of the source; zero until it is known
	session  sourceSession // the session that is prepared
}

// reconnect makes the session ready. It replaces a broken session.
func (s *sourceConn) reconnect(ctx context.Context) error {
	if err := s.conn.Renew(ctx); err != nil {
		return err
	}
	if s.session.Conn == s.conn.Conn {
		return nil
	}
	session, err := prepareSource(ctx, s.conn.Conn, s.server)
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
	session.identity = found
	s.identity, s.session = found, session
	return nil
}

// verifyServer checks that a session has reached the same server as the others.
func (s *sourceConn) verifyServer(found identity) error {
	known := s.identity
	if known == (identity{}) {
		return nil
	}
	if known.system != found.system {
		return fmt.Errorf("a new connection to server %q reached another cluster, %s instead of %s", s.server, found.system, known.system)
	}
	first := s.session.Conn == nil // later the server may have been started again
	if s.follows && (known.address != found.address || first && known.started != found.started) {
		return errDifferentServers
	}
	return nil
}

// errDifferentServers makes a worker stop that could not read the server that the others
// read.
var errDifferentServers = errors.New("connections to the source reach different servers, as a load balancer makes them do: " +
	"the run read it through one connection only, and runs may find it in states that differ; name one server as the host")
