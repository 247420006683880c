package replication

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// settingsSQL makes values look the same whatever the login's settings are, and
// keeps the server's limits from cutting a run short. Row-level security, which
// would leave rows out silently, becomes an error on both sides. Sessions whose
// client is gone, killed in the midst of a statement or cut off, end within a
// minute or so, with their locks. A server may be too old to know all of them.
const settingsSQL = `
	SET statement_timeout = 0; -- for what follows, too
	SELECT pg_catalog.set_config(s.name, w.value, false)
	FROM (VALUES
		('transaction_timeout', '0'),
		('idle_in_transaction_session_timeout', '0'),
		('idle_session_timeout', '0'),
		('lock_timeout', '60s'),
		('row_security', 'off'),
		('default_transaction_isolation', 'read committed'),
		('default_transaction_deferrable', 'off'),
		('standard_conforming_strings', 'on'),
		('quote_all_identifiers', 'off'),
		('extra_float_digits', '3'),
		('bytea_output', 'hex'),
		('datestyle', 'ISO, YMD'),
		('intervalstyle', 'postgres'),
		('timezone', 'UTC'),
		('xmloption', 'content'),
		('array_nulls', 'on'),
		('tcp_keepalives_idle', '30'),
		('tcp_keepalives_interval', '10'),
		('tcp_keepalives_count', '3'),
		('client_connection_check_interval', '10s'),
		('jit', 'off') -- compiling takes longer than what it is for
	) AS w (name, value)
	JOIN pg_catalog.pg_settings AS s ON lower(s.name) = w.name
	WHERE w.name <> 'client_connection_check_interval' -- an error on other systems
		OR pg_catalog.version() LIKE '%linux%'`

// extensionPathSQL lets the operators of extensions' types be found, wherever
// the extensions were installed.
const extensionPathSQL = `
	SELECT pg_catalog.set_config('search_path',
		concat_ws(', ', nullif(pg_catalog.current_setting('search_path'), ''), string_agg(DISTINCT pg_catalog.quote_ident(n.nspname), ', ')), false)
	FROM pg_catalog.pg_extension AS e
	JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace`

// prepare sets up a session for a run, of the server with that key in the provider
// block: the settings, and further statements.
func prepare(ctx context.Context, conn *pgx.Conn, server string, more ...string) error {
	sql := strings.Join(append([]string{settingsSQL}, more...), ";")
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("prepare the session of server %q: %w", server, err)
	}
	return nil
}

// An identity tells a source database from others.
type identity struct {
	system   string // identifier of the cluster; "" where it may not be read
	server   string // key in the provider block
	database string // oid
	timeline int    // 0 where it may not be read
	standby  bool
	address  string // of the server that was reached, as it knows it
	started  string // when it was
}

// String is what a bookmark remembers.
func (id identity) String() string {
	if id.system == "" {
		return id.server + "/" + id.database
	}
	return id.system + "/" + id.database
}

const identitySQL = `
	SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE'),
		d.oid::text, pg_catalog.pg_is_in_recovery(),
		concat(pg_catalog.inet_server_addr(), ' ', pg_catalog.inet_server_port()), pg_catalog.pg_postmaster_start_time()::text
	FROM pg_catalog.pg_database AS d
	WHERE d.datname = pg_catalog.current_database()`

// identify finds out which database is behind conn, a session of the server with
// that key in the provider block.
func identify(ctx context.Context, conn *pgx.Conn, server string) (identity, error) {
	id := identity{server: server}
	var readable bool
	err := conn.QueryRow(ctx, identitySQL).Scan(&readable, &id.database, &id.standby, &id.address, &id.started)
	if err == nil && readable {
		err = conn.QueryRow(ctx, `
			SELECT s.system_identifier::text, c.timeline_id
			FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_control_checkpoint() AS c`).Scan(&id.system, &id.timeline)
	}
	if err != nil {
		return identity{}, fmt.Errorf("identify the source: %w", err)
	}
	return id, nil
}
