package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// An extraction is the source's side of one table: a snapshot, and what the
// table looks like in it.
type extraction struct {
	tx    pgx.Tx
	table postgres.Table
}

// openExtraction starts a snapshot of the source. The table is locked before,
// with its partitions, or what a view is made of: the structure read is then
// that of the rows, and no TRUNCATE or rewrite can empty them, which a snapshot
// does not protect from. Where rights or PostgreSQL 10 do not let a view or
// partitions be locked, they are read without.
func openExtraction(ctx context.Context, conn *pgx.Conn, name postgres.TableName, kind postgres.RelationKind) (*extraction, error) {
	locks := []string{""}
	switch {
	case kind.HasKeys():
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", "LOCK TABLE ONLY " + name.SQL() + " IN ACCESS SHARE MODE"}
	case kind == postgres.View && postgres.Version(conn) >= 11:
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", ""}
	}
	var err error
	for _, lock := range locks {
		var e *extraction
		if e, err = beginExtraction(ctx, conn, name, lock); err == nil {
			return e, nil
		}
		if postgres.Code(err) != "42501" {
			break
		}
	}
	return nil, &extractError{err}
}

func beginExtraction(ctx context.Context, conn *pgx.Conn, name postgres.TableName, lock string) (*extraction, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	e := &extraction{tx: tx}
	if err := e.start(ctx, name, lock); err != nil {
		e.close(ctx)
		return nil, err
	}
	return e, nil
}

func (e *extraction) start(ctx context.Context, name postgres.TableName, lock string) error {
	if lock != "" { // the first statement: those that read take the snapshot
		if _, err := e.tx.Exec(ctx, lock); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
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

// repeated is the condition for rows of the destination, called d, that the
// window may hold again. Servers may order texts differently.
func (w window) repeated() string {
	if w.key.sql == "text" || strings.HasPrefix(w.key.sql, "character varying") {
		return "true"
	}
	return w.where("d." + postgres.Ident(w.key.name))
}

// before is the condition for rows that earlier windows held and this one does
// not merge: those below its beginning and, without a key, those at it.
func (w window) before(keyless bool) string {
	below := "<"
	if keyless {
		below = "<="
	}
	return fmt.Sprintf("(%[1]s %[2]s %[3]s::%[4]s OR %[1]s IS NULL)", w.key.extract, below, postgres.Literal(*w.since), w.key.sql)
}

// holdsMore reports whether rows before the window hold other values in the
// columns than a plain ADD COLUMN gave to them.
func (e *extraction) holdsMore(ctx context.Context, s step) (bool, error) {
	var conditions []string
	for _, c := range s.doubtful {
		if c.source.Missing == nil {
			conditions = append(conditions, c.extract+" IS NOT NULL")
		} else {
			// Compared as rows are written, which works for types without equality.
			conditions = append(conditions, fmt.Sprintf("CAST(ROW(%s) AS text) IS DISTINCT FROM CAST(ROW((%s::text[])[1]::%s) AS text)",
				postgres.Ident(c.source.Name), postgres.Literal(*c.source.Missing), c.source.SQL))
		}
	}
	var holds bool
	err := e.tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE (%s) AND %s)",
		e.table.Name.SQL(), strings.Join(conditions, " OR "), s.window.before(len(s.layout.key) == 0))).Scan(&holds)
	if err != nil {
		return false, fmt.Errorf("look for values of new columns: %w", err)
	}
	return holds, nil
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
	switch base(key.source.Type).Name {
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
