package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// pinned are the settings that are the same in all sessions of a run, besides those for
// values. Row-level security, which would leave rows out silently, becomes an error on
// both sides.
var pinned = append([]postgres.Setting{
	{Name: "statement_timeout", Value: "0"},
	{Name: "transaction_timeout", Value: "0", Since: 17},
	{Name: "idle_in_transaction_session_timeout", Value: "0"},
	{Name: "idle_session_timeout", Value: "0", Since: 14},
	{Name: "row_security", Value: "off"},
	{Name: "default_transaction_isolation", Value: "read committed"},
	{Name: "default_transaction_deferrable", Value: "off"},
	{Name: "jit", Value: "off", Since: 11}, // compiling takes longer than what it is for
}, postgres.ValueSettings...)

// pinsSQL gives a session back to its login, and pins its settings. Statements of
// this form resolve no name and run nobody's code.
func pinsSQL(major int, lockTimeout string) string {
	var sql strings.Builder
	sql.WriteString("RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; SET lock_timeout = '" + lockTimeout + "'")
	for _, s := range postgres.In(major, pinned) {
		value := "'" + s.Value + "'"
		if s.Name == "search_path" { // a list
			value = s.Value
		}
		fmt.Fprintf(&sql, "; SET %s = %s", s.Name, value)
	}
	return sql.String()
}

// A session whose client is gone, killed in the middle of a statement or cut off,
// ends within a minute or so, with its locks. The last setting is an error on
// servers that do not run Linux.
const (
	keepAliveSQL = "; SET tcp_keepalives_idle = '30'; SET tcp_keepalives_interval = '10'; SET tcp_keepalives_count = '3'"
	checkSQL     = "; SET client_connection_check_interval = '10s'"
	beginsSQL    = `
		SELECT pg_catalog.current_setting('role'), EXISTS (
			SELECT
			FROM pg_catalog.pg_settings AS s
			WHERE s.name = 'client_connection_check_interval' AND pg_catalog.version() LIKE '%linux%')`
)

// How long a statement waits for a lock. At the source that is one on a table, with
// others behind it, see inTurns. At the destination it is one on a row.
const (
	sourceLockTimeout      = "2s"
	destinationLockTimeout = "1min"
)

// A reading is a session at the source. Its transactions write nothing, and leave
// nothing behind.
//
// What it reads may run other people's code in it: functions of a view, policies,
// a foreign table's wrapper, and expressions of indexes, which PostgreSQL evaluates
// when it plans. Such code can change settings and roles for the rest of the
// session. So each transaction says that it is READ ONLY, which cannot be taken
// back once it reads, and pins all settings by statements that resolve no name.
// All of that ends with its rollback.
type reading struct {
	*pgx.Conn
	pins     string
	role     string   // that its login is set to begin sessions as; "none" usually
	identity identity // what it has reached, once that is known
}

// prepare pins the settings of a session for a run, of the server with that key
// in the provider block.
func prepare(ctx context.Context, conn *pgx.Conn, server, lockTimeout string) (reading, error) {
	r := reading{Conn: conn, pins: pinsSQL(postgres.Version(conn), lockTimeout) + keepAliveSQL}
	_, err := conn.PgConn().Exec(ctx, r.pins).ReadAll()
	var mayCheck bool
	if err == nil {
		err = conn.QueryRow(ctx, beginsSQL, pgx.QueryExecModeExec).Scan(&r.role, &mayCheck)
	}
	if err == nil && mayCheck {
		r.pins += checkSQL
		_, err = conn.PgConn().Exec(ctx, checkSQL).ReadAll()
	}
	if err != nil {
		return reading{}, fmt.Errorf("prepare the session of server %q: %w", server, err)
	}
	return r, nil
}

// begin starts a transaction.
func (r reading) begin(ctx context.Context, isolation pgx.TxIsoLevel) (pgx.Tx, error) {
	return r.BeginTx(ctx, pgx.TxOptions{BeginQuery: "BEGIN ISOLATION LEVEL " + string(isolation) + ", READ ONLY; " + r.pins})
}

// read runs f in a transaction.
func (r reading) read(ctx context.Context, f func(pgx.Tx) error) error {
	tx, err := r.begin(ctx, pgx.ReadCommitted)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	return f(tx)
}

// rollback ends a transaction that has written nothing, or whose error is known.
// It does nothing after Commit.
func rollback(ctx context.Context, tx pgx.Tx) { _ = tx.Rollback(context.WithoutCancel(ctx)) }

const pinsCheckSQL = `
	SELECT s.name, pg_catalog.current_setting(s.name)
	FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS s (name, n)
	ORDER BY s.n`

// queuePinsCheck makes sure, by a batch, that the settings of a transaction at the
// source are those that are pinned.
func (r reading) queuePinsCheck(batch *pgx.Batch) {
	major := postgres.Version(r.Conn)
	want := append([]postgres.Setting{
		{Name: "role", Value: r.role}, {Name: "transaction_read_only", Value: "on"}, {Name: "lock_timeout", Value: sourceLockTimeout},
	}, postgres.In(major, pinned)...)
	names := make([]string, len(want))
	for i, s := range want {
		names[i] = s.Name
	}
	batch.Queue(pinsCheckSQL, names).Query(func(rows pgx.Rows) error {
		have, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s postgres.Setting, err error) {
			err = row.Scan(&s.Name, &s.Value)
			return s, err
		})
		if err != nil {
			return err
		}
		for _, s := range want {
			i := slices.IndexFunc(have, func(h postgres.Setting) bool { return h.Name == s.Name })
			if i < 0 {
				return fmt.Errorf("the server does not say what the setting %s of the session is", s.Name)
			}
			if have[i].Value != s.Value {
				return fmt.Errorf("the setting %s of the session is %q and must be %q: other code has changed it", s.Name, have[i].Value, s.Value)
			}
		}
		return nil
	})
}

// An identity tells a source database from others.
type identity struct {
	system   string // identifier of the cluster; "" where it may not be read
	database string // oid
	timeline int    // 0 where it may not be read
	history  string // how that came about, see historyOf; "" where it may not be read
	tellsWAL bool   // whether the login may ask where the WAL is
	standby  bool
	address  string // of the server that was reached, as it knows it
	started  string // when it was
}

// String is what a bookmark remembers. Where the cluster may not be known, its latest
// start stands for it: after another one, it may be another cluster.
func (id identity) String() string {
	if id.system == "" {
		return id.unknown()
	}
	return id.system + "/" + id.database
}

// startedPrefix is what the text of a database begins with whose cluster may not be known.
const startedPrefix = "started "

func (id identity) unknown() string { return startedPrefix + id.started + "/" + id.database }

// startOf returns when a server was started as a session of a run writes it.
func startOf(id postgres.Identity) string {
	started, err := time.Parse(time.RFC3339Nano, id.Started)
	if err != nil { // it is not known
		return ""
	}
	return started.UTC().Format("2006-01-02 15:04:05.999999-07")
}

const identitySQL = `
	SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_control_recovery()', 'EXECUTE'),
		pg_catalog.has_function_privilege('pg_catalog.pg_current_wal_flush_lsn()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_last_wal_replay_lsn()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_walfile_name(pg_catalog.pg_lsn)', 'EXECUTE'),
		pg_catalog.has_function_privilege('pg_catalog.pg_read_file(pg_catalog.text)', 'EXECUTE'),
		d.oid::pg_catalog.text, pg_catalog.pg_is_in_recovery(),
		pg_catalog.format('%s %s', pg_catalog.inet_server_addr(), pg_catalog.inet_server_port()), pg_catalog.pg_postmaster_start_time()::pg_catalog.text
	FROM pg_catalog.pg_database AS d
	WHERE d.datname = pg_catalog.current_database()`

const controlSQL = `
	SELECT s.system_identifier::pg_catalog.text, greatest(c.timeline_id, r.min_recovery_end_timeline)
	FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_control_checkpoint() AS c, pg_catalog.pg_control_recovery() AS r`

// timelineSQL takes the timeline from the name of the WAL file that is written: after a
// promotion, the control file has the one before until the first checkpoint.
const timelineSQL = `
	SELECT ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int`

// identify finds out which database a session at the source has reached.
func identify(ctx context.Context, source reading) (id identity, err error) {
	var controls, files bool
	err = source.read(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, identitySQL).Scan(&controls, &id.tellsWAL, &files, &id.database, &id.standby, &id.address, &id.started)
		if err == nil && controls {
			err = tx.QueryRow(ctx, controlSQL).Scan(&id.system, &id.timeline)
		}
		return err
	})
	if err == nil && id.tellsWAL {
		err = readTimeline(ctx, source, &id)
	}
	if err == nil && files && id.timeline > 1 {
		id.history, err = readHistory(ctx, source, id.timeline)
	}
	if err != nil {
		return identity{}, fmt.Errorf("identify the source: %w", err)
	}
	return id, nil
}

// readTimeline reads the timeline of a server that is no standby. Some servers that are
// like PostgreSQL have the functions, and refuse to tell where their WAL is.
func readTimeline(ctx context.Context, source reading, id *identity) error {
	err := source.read(ctx, func(tx pgx.Tx) error {
		var position string
		err := tx.QueryRow(ctx, positionSQL).Scan(&position)
		if err == nil && !id.standby {
			err = tx.QueryRow(ctx, timelineSQL).Scan(&id.timeline)
		}
		return err
	})
	switch postgres.Code(err) {
	case "0A000", "42501", "55000":
		id.tellsWAL = false
		return nil
	}
	return err
}

// readHistory reads how a timeline came about. PostgreSQL 10 lets only superusers read
// files, whatever they are granted.
func readHistory(ctx context.Context, source reading, timeline int) (history string, err error) {
	err = source.read(ctx, func(tx pgx.Tx) error {
		var file string
		err := tx.QueryRow(ctx, "SELECT pg_catalog.pg_read_file($1)", fmt.Sprintf("pg_wal/%08X.history", timeline)).Scan(&file)
		history = historyOf(file)
		return err
	})
	switch postgres.Code(err) {
	case "42501", "58P01": // or it is gone
		return "", nil
	}
	return history, err
}
