package session

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// Pinned are the settings that are the same in all sessions of a run, in addition to those
// for values. Row-level security, which would leave rows out silently, becomes an error on
// both sides.
var Pinned = append([]pgclient.Setting{
	{Name: "statement_timeout", Value: "0"},
	{Name: "transaction_timeout", Value: "0", Since: 17},
	{Name: "idle_in_transaction_session_timeout", Value: "0"},
	{Name: "idle_session_timeout", Value: "0", Since: 14},
	{Name: "row_security", Value: "off"},
	{Name: "default_transaction_isolation", Value: "read committed"},
	{Name: "default_transaction_deferrable", Value: "off"},
	{Name: "jit", Value: "off", Since: 11}, // compiling takes longer than it saves
}, pgclient.ValueSettings...)

// PinsSQL resets a session to its login, and pins its settings. Statements of this form
// resolve no name and run no code of other roles.
func PinsSQL(major int, lockTimeout string) string {
	var sql strings.Builder
	sql.WriteString("RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; SET lock_timeout = '" + lockTimeout + "'")
	for _, s := range pgclient.In(major, Pinned) {
		value := "'" + s.Value + "'"
		if s.Name == "search_path" { // a list
			value = s.Value
		}
		fmt.Fprintf(&sql, "; SET %s = %s", s.Name, value)
	}
	return sql.String()
}

// A session whose client is gone, because it was killed in the middle of a statement or cut
// off, ends within a minute or so, with its locks. The last setting is an error on servers
// that do not run Linux.
const (
	keepAliveSQL = "; SET tcp_keepalives_idle = '30'; SET tcp_keepalives_interval = '10'; SET tcp_keepalives_count = '3'"
	checkSQL     = "; SET client_connection_check_interval = '10s'"
	beginsSQL    = `
		SELECT pg_catalog.current_setting('role'), EXISTS (
			SELECT
			FROM pg_catalog.pg_settings AS s
			WHERE s.name = 'client_connection_check_interval' AND pg_catalog.version() LIKE '%linux%')`
)

// How long a statement waits for a lock. At the source that is a lock on a table, with others
// queued behind it, see RetryLocked. At the destination it is a lock on a row.
const (
	SourceLockTimeout      = "2s"
	DestinationLockTimeout = "1min"
)

// Prepare pins the settings of a session for a run. server is its server's key in the
// provider block. It returns the statements that pin them again, and the role in which the
// login's sessions are set to begin.
func Prepare(ctx context.Context, conn *pgx.Conn, server, lockTimeout string) (pins, role string, err error) {
	pins = PinsSQL(pgclient.Version(conn), lockTimeout) + keepAliveSQL
	_, err = conn.PgConn().Exec(ctx, pins).ReadAll()
	var mayCheck bool
	if err == nil {
		err = conn.QueryRow(ctx, beginsSQL, pgx.QueryExecModeExec).Scan(&role, &mayCheck)
	}
	if err == nil && mayCheck {
		pins += checkSQL
		_, err = conn.PgConn().Exec(ctx, checkSQL).ReadAll()
	}
	if err != nil {
		return "", "", fmt.Errorf("prepare the session of server %q: %w", server, err)
	}
	return pins, role, nil
}

// Rollback ends a transaction that has written nothing, or whose error is known. After Commit
// it does nothing.
func Rollback(ctx context.Context, tx pgx.Tx) { _ = tx.Rollback(context.WithoutCancel(ctx)) }
