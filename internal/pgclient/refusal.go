package pgclient

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

const readOnlySQL = `
	SELECT pg_catalog.pg_is_in_recovery(), s.source
	FROM pg_catalog.pg_settings AS s
	WHERE s.name = 'default_transaction_read_only'`

// explainReadOnly adds to the refusal of a change why the server is read-only, and what to do
// about it.
func (s *Server) explainReadOnly(ctx context.Context, database string, refusal error) error {
	if Code(refusal) != ReadOnlySQLTransaction {
		return refusal
	}
	var standby bool
	var source string
	err := s.OnConn(ctx, database, func(conn *pgx.Conn) error {
		return ReadTx(ctx, conn, func(tx pgx.Tx) error { return tx.QueryRow(ctx, readOnlySQL).Scan(&standby, &source) })
	})
	if err != nil {
		return refusal
	}
	return Advise(refusal, s.adviseReadOnly(s.DatabaseName(database), standby, source))
}

// adviseReadOnly says what to do about a standby or, if the server is not one, about
// default_transaction_read_only, which was set in a source of pg_settings.
func (s *Server) adviseReadOnly(database string, standby bool, source string) string {
	reset := map[string]string{
		"user":          "ALTER ROLE " + Ident(s.config.Username) + " RESET default_transaction_read_only;",
		"database":      "ALTER DATABASE " + Ident(database) + " RESET default_transaction_read_only;",
		"database user": "ALTER ROLE " + Ident(s.config.Username) + " IN DATABASE " + Ident(database) + " RESET default_transaction_read_only;",
	}[source]
	switch {
	case standby:
		return fmt.Sprintf("The server is a standby, which accepts no changes. Set host and port of servers.%s to those of the primary.", s.name)
	case reset != "":
		return fmt.Sprintf("Transactions of this login in database %q are read-only by default. Ask an administrator to run:\n  %s", database, reset)
	}
	return fmt.Sprintf("Transactions on this server are read-only by default: its configuration turns default_transaction_read_only on. Managed services do this while a disk is full or a server is being replaced. "+
		"Find out why and turn it off, or set host and port of servers.%s to those of the primary. Then apply again.", s.name)
}

// SessionSQL describes a session, a row of pg_stat_activity called a.
const SessionSQL = `
	'pid ' || a.pid || ' (user ' || coalesce(pg_catalog.quote_ident(a.usename), '?')
	|| coalesce(', application ' || pg_catalog.quote_literal(nullif(a.application_name, '')), '')
	|| coalesce(', ' || a.state, '')
	|| CASE WHEN a.datname = pg_catalog.current_database() THEN '' ELSE coalesce(', database ' || pg_catalog.quote_ident(a.datname), '') END || ')'`

// holdersSQL finds the sessions and prepared transactions that may block a change. If $1 is set,
// it returns those with uncommitted changes, whose transactions have an id and are as old as the
// wait, or of an age that the login may not see; and those that hold a lock on a table of a
// schema or an owner. Otherwise it returns those that hold or await all such locks.
const holdersSQL = `
	WITH held AS (
		SELECT DISTINCT l.pid, CASE WHEN l.pid IS NULL THEN l.virtualtransaction END AS prepared
		FROM pg_catalog.pg_locks AS l
		LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
		LEFT JOIN pg_catalog.pg_class AS c
			ON c.oid = l.relation AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
		WHERE l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
		  AND ($1 AND l.granted AND l.locktype = 'transactionid'
		           AND coalesce(a.xact_start < pg_catalog.clock_timestamp() - $2 * interval '1 second', true)
		       OR (n.nspname = $3 OR r.rolname = $4) AND ($1 AND l.granted OR l.mode = 'AccessExclusiveLock'))
	)
	SELECT coalesce(` + SessionSQL + `, 'prepared transaction ' || pg_catalog.quote_literal(p.gid) || ' (user ' || pg_catalog.quote_ident(p.owner)
		|| CASE WHEN p.database = pg_catalog.current_database() THEN '' ELSE ', database ' || pg_catalog.quote_ident(p.database) END || ')')
	FROM held AS h
	LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = h.pid
	LEFT JOIN pg_catalog.pg_locks AS x ON x.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = h.prepared
	LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = x.transactionid
	WHERE a.pid IS NOT NULL OR p.gid IS NOT NULL
	ORDER BY coalesce(a.datname, p.database) = pg_catalog.current_database() DESC NULLS LAST, a.pid
	LIMIT 5`

// preparedSQL finds the prepared transactions that may block a change: those of this database
// or, if $1 is set, of any. They have no session.
const preparedSQL = `
	SELECT 'prepared transaction ' || pg_catalog.quote_literal(p.gid) || ' of user ' || pg_catalog.quote_ident(p.owner)
	       || ' (in database ' || pg_catalog.quote_ident(p.database) || ', ROLLBACK PREPARED ' || pg_catalog.quote_literal(p.gid) || ' or COMMIT PREPARED ends it)'
	FROM pg_catalog.pg_prepared_xacts AS p
	WHERE $1 OR p.database = pg_catalog.current_database()
	ORDER BY p.prepared
	LIMIT 5`

// explainRefusal adds to the refusal of a change what the server knows about its reason.
func (s *Server) explainRefusal(ctx context.Context, database string, c Contention, refusal error) error {
	return s.explainReadOnly(ctx, database, s.AddHolders(ctx, database, c, refusal))
}

// NameHolders adds to a lock timeout on a table of a schema the sessions whose locks on tables
// there exclude every other use.
func (s *Server) NameHolders(ctx context.Context, database, schema string, failure error) error {
	return s.addHolders(ctx, database, false, Contention{Schema: schema}, failure, "tables of the schema are locked by")
}

// AddHolders adds to a lock timeout of a change the sessions that may hold the lock.
func (s *Server) AddHolders(ctx context.Context, database string, c Contention, failure error) error {
	what := "the lock may belong to uncommitted changes of"
	if c.Schema != "" || c.Owner != "" {
		what = "the lock may be held by"
	}
	return s.addHolders(ctx, database, true, c, failure, what)
}

func (s *Server) addHolders(ctx context.Context, database string, uncommitted bool, c Contention, failure error, what string) error {
	if Code(failure) != LockNotAvailable {
		return failure
	}
	var holders []string
	err := s.OnConn(ctx, database, func(conn *pgx.Conn) error {
		return ReadTx(ctx, conn, func(tx pgx.Tx) (err error) {
			rows, _ := tx.Query(ctx, holdersSQL, uncommitted, LockTimeout.Seconds(), c.Schema, c.Owner)
			holders, err = pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || !uncommitted {
				return err
			}
			rows, _ = tx.Query(ctx, preparedSQL, c.Schema == "" && c.Owner == "")
			prepared, err := pgx.CollectRows(rows, pgx.RowTo[string])
			holders = append(holders, prepared...)
			return err
		})
	})
	if err != nil || len(holders) == 0 {
		return failure
	}
	return fmt.Errorf("%w; %s %s", failure, what, strings.Join(holders, ", "))
}
