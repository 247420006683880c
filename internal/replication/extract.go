package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// settingsSQL makes values look the same whatever the login's settings are, and
// keeps the server's limits from cutting a run short.
const settingsSQL = `
	SET LOCAL statement_timeout = 0;
	SET LOCAL idle_in_transaction_session_timeout = 0;
	SET LOCAL lock_timeout = '60s';
	SET LOCAL standard_conforming_strings = on;
	SET LOCAL extra_float_digits = 3;
	SET LOCAL bytea_output = 'hex';
	SET LOCAL datestyle = 'ISO, YMD';
	SET LOCAL intervalstyle = 'postgres';
	SET LOCAL timezone = 'UTC';
`

// sourceSQL makes row-level security an error: it would leave rows out silently.
const sourceSQL = settingsSQL + "SET LOCAL row_security = off;\n"

// An extraction is the source's side of one table: a snapshot, and what the
// table looks like in it.
type extraction struct {
	tx    pgx.Tx
	table postgres.Table
}

// openExtraction starts a snapshot of the source. The table is locked against
// changes of its structure before, so that the structure read is that of the
// rows. Views can not be locked; they are read as they are.
func openExtraction(ctx context.Context, conn *pgx.Conn, name postgres.TableName, kind postgres.RelationKind) (*extraction, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	e := &extraction{tx: tx}
	if err := e.start(ctx, name, kind); err != nil {
		e.close(ctx)
		return nil, &extractError{err}
	}
	return e, nil
}

func (e *extraction) start(ctx context.Context, name postgres.TableName, kind postgres.RelationKind) error {
	sql := sourceSQL
	if kind.HasKeys() {
		sql += "LOCK TABLE ONLY " + name.SQL() + " IN ACCESS SHARE MODE"
	}
	if _, err := e.tx.Exec(ctx, sql); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	tables, err := postgres.ReadTables(ctx, e.tx, []postgres.TableName{name})
	if err != nil {
		return err
	}
	table, ok := tables[name]
	if !ok {
		return fmt.Errorf("%s does not exist any more", name)
	}
	e.table = table
	return nil
}

// close ends the snapshot. Nothing was written, so there is nothing to lose.
func (e *extraction) close(ctx context.Context) { _ = e.tx.Rollback(context.WithoutCancel(ctx)) }

// A window is the part of a table that INCREMENTAL extracts: rows whose key is
// at least since, or all rows if since is nil.
type window struct {
	key   column
	since *string
}

// where is the condition for rows of the window, on the given key expression.
func (w window) where(key string) string {
	if w.since == nil {
		return "true"
	}
	return fmt.Sprintf("%s >= %s::%s", key, postgres.Literal(*w.since), w.key.sql)
}

// greatestKey returns the greatest key of the window, as the source writes it,
// or nil if no row has one. Infinite keys are no place to continue from: later
// rows would all lie before it.
func (e *extraction) greatestKey(ctx context.Context, w window) (*string, error) {
	key := w.key.extract
	// In a query of its own, or ORDER BY would mean the text of that name.
	sql := fmt.Sprintf("SELECT k::text FROM (SELECT %[1]s AS k FROM %[2]s WHERE %[1]s IS NOT NULL AND %[3]s AND %[4]s ORDER BY %[1]s DESC LIMIT 1) AS greatest",
		key, e.table.Name.SQL(), w.where(key), finite(w.key))
	var greatest string
	err := e.tx.QueryRow(ctx, sql).Scan(&greatest)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the greatest %s: %w", w.key.source.Name, err)
	}
	return &greatest, nil
}

// finite is the condition for keys that are not infinite or NaN.
func finite(key column) string {
	base := key.source.Type
	for base.Base != nil {
		base = *base.Base
	}
	switch base.Name {
	case "date", "timestamp", "timestamptz":
		return "pg_catalog.isfinite(" + key.extract + ")"
	case "numeric":
		return "(" + key.extract + ")::text NOT IN ('NaN', 'Infinity', '-Infinity')"
	}
	return "true"
}

// copySQL sends the rows of the window to the client.
func (e *extraction) copySQL(l layout, w window) string {
	return fmt.Sprintf("COPY (SELECT %s FROM %s WHERE %s) TO STDOUT (FORMAT binary)",
		l.extractList(), e.table.Name.SQL(), w.where(w.key.extract))
}
