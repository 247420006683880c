package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const readOnlySQL = `
	SELECT pg_catalog.pg_is_in_recovery(), s.source
	FROM pg_catalog.pg_settings AS s
	WHERE s.name = 'default_transaction_read_only'`

// explainReadOnly adds to the refusal of a change why the server is read-only, and what to do.
func (s *Server) explainReadOnly(ctx context.Context, database string, refusal error) error {
	if Code(refusal) != ReadOnlySQLTransaction {
		return refusal
	}
	var standby bool
	var source string
	err := s.OnConn(ctx, database, func(conn *pgx.Conn) error {
		return readTx(ctx, conn, func(tx pgx.Tx) error { return tx.QueryRow(ctx, readOnlySQL).Scan(&standby, &source) })
	})
	if err != nil {
		return refusal
	}
	return Advise(refusal, s.adviseReadOnly(s.DatabaseName(database), standby, source))
}

// adviseReadOnly says what to do about a standby or, if it is none, about
// default_transaction_read_only, which was set in a source of pg_settings.
func (s *Server) adviseReadOnly(database string, standby bool, source string) string {
	reset := map[string]string{
		"user":          "ALTER ROLE " + Ident(s.config.Username) + " RESET default_transaction_read_only;",
		"database":      "ALTER DATABASE " + Ident(database) + " RESET default_transaction_read_only;",
		"database user": "ALTER ROLE " + Ident(s.config.Username) + " IN DATABASE " + Ident(database) + " RESET default_transaction_read_only;",
	}[source]
	switch {
	case standby:
		return fmt.Sprintf("The server is a standby, where nothing can be changed. Set host and port of servers.%s to the primary.", s.name)
	case reset != "":
		return fmt.Sprintf("Transactions of this login in database %q are read-only by default. Have somebody who may run:\n  %s", database, reset)
	}
	return fmt.Sprintf("Transactions on this server are read-only by default: default_transaction_read_only is on in its configuration, as managed services set it while a disk is full or a server is being replaced. "+
		"Find out why and turn it off, or set host and port of servers.%s to the primary, and apply again.", s.name)
}
