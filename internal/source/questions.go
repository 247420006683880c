package source

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// Questions about a table's rows that a run asks its snapshot once it knows that they matter.

// orderedSQL also makes the planner use the index that it finds. The planner assumes that a
// range has many rows, spread over the table, and would rather read the whole table.
const orderedSQL = `
	SELECT pg_catalog.set_config('enable_seqscan', 'off', true)
	FROM pg_catalog.pg_index AS i
	JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
	JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
	JOIN pg_catalog.pg_opclass AS o ON o.oid = i.indclass[0]
	JOIN pg_catalog.pg_attribute AS k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[0]
	WHERE i.indrelid = $1 AND i.indkey[0] = $2 AND i.indpred IS NULL AND i.indisvalid
		AND a.amname = 'btree' AND o.opcdefault AND i.indcollation[0] = k.attcollation
	LIMIT 1`

// PreferIndex looks for an index that orders the rows by the key, and makes the planner use
// it.
func (s *Snapshot) PreferIndex(ctx context.Context, key Key) (found bool, err error) {
	if key.Column.ForeignCollation { // an index orders by that collation
		return false, nil
	}
	setting, err := session.TextOrNil(s.Tx.QueryRow(ctx, orderedSQL, s.Facts.Table.OID, key.Column.Number), "look for an index on "+key.Column.Name)
	return setting != nil, err
}

// HasRowsBefore reports whether rows that the condition before selects meet one of the
// conditions.
func (s *Snapshot) HasRowsBefore(ctx context.Context, before string, conditions []string) (holds bool, err error) {
	err = s.Tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE (%s) AND %s)",
		s.Facts.Table.Name.SQL(), strings.Join(conditions, " OR "), before), session.Unprepared).Scan(&holds)
	if err != nil {
		return false, fmt.Errorf("look for values in new columns: %w", err)
	}
	return holds, nil
}

// OtherThanDefault is the condition for rows whose value in a column differs from the one
// that a plain ADD COLUMN gave them. value is the expression that the source sends. Values
// are compared as they are written, which works for types without equality.
func OtherThanDefault(c relation.Column, value string) string {
	if c.Missing == nil {
		return value + " IS NOT NULL"
	}
	return fmt.Sprintf("(%s OPERATOR(pg_catalog.=) (%s::pg_catalog.text[])[1]) IS NOT TRUE", relation.OutputText(pgclient.Ident(c.Name), c.Type), pgclient.Literal(*c.Missing))
}

// Evaluate returns the value of an expression of a type. With a constant the planner skips
// partitions, and does not even lock them.
func (s *Snapshot) Evaluate(ctx context.Context, expression, sql string) (string, error) {
	var text string
	if err := s.Tx.QueryRow(ctx, fmt.Sprintf("SELECT (%s)::pg_catalog.text", expression), session.Unprepared).Scan(&text); err != nil {
		return "", fmt.Errorf("compute where the range begins: %w", err)
	}
	return session.TypedLiteral(text, sql), nil
}

// IsEmpty reports whether a range after a bookmark holds no row. Usually some rows have later
// keys, and are found without a scan of those before.
func (s *Snapshot) IsEmpty(ctx context.Context, r KeyRange) (bool, error) {
	var empty bool
	err := s.Tx.QueryRow(ctx, fmt.Sprintf("SELECT NOT (EXISTS (SELECT FROM %[1]s WHERE %[2]s OPERATOR(pg_catalog.>) %[3]s) OR EXISTS (SELECT FROM %[1]s WHERE %[4]s))",
		s.Facts.Table.Name.SQL(), r.Key.Value, session.TypedLiteral(r.After.Bookmark, r.Key.SQL), r.where()), session.Unprepared).Scan(&empty)
	if err != nil {
		return false, fmt.Errorf("look for new rows: %w", err)
	}
	return empty && r.After.attached == "", nil
}

// GreatestKey returns the greatest key of the range, as the source writes it, or nil if no
// row has one, and the rows to remember. A load cannot continue from an infinite key: all
// later rows would be before it.
func (s *Snapshot) GreatestKey(ctx context.Context, r KeyRange) (*string, []catalog.RememberedRow, error) {
	limit, open := "true", s.Facts.Info.open
	if r.After != nil {
		limit = r.Key.Value + " OPERATOR(pg_catalog.>=) " + session.TypedLiteral(r.After.Bookmark, r.Key.SQL)
	} else if open != nil && open.OID == s.Facts.Table.OID {
		if open.key == nil {
			return nil, nil, nil // there was none; the next run finds those that came since
		}
		limit = r.Key.Value + " OPERATOR(pg_catalog.<=) " + session.TypedLiteral(*open.key, r.Key.SQL)
	}
	return s.Greatest(ctx, r.Key, limit)
}

// Greatest finds the greatest key of the rows that meet a condition, and the rows with the
// greatest keys, if they tell their transaction.
func (s *Snapshot) Greatest(ctx context.Context, key Key, condition string) (*string, []catalog.RememberedRow, error) {
	table := s.Facts.Table.Name
	if s.Facts.Info.Snapshot == "" {
		found, err := greatest(ctx, s.Tx, table, key, condition)
		return found, nil, err
	}
	// No name of these columns can mean another one in ORDER BY.
	rows, _ := s.Tx.Query(ctx, fmt.Sprintf("SELECT g.k::pg_catalog.text, g.part, g.place::pg_catalog.text, g.writer::pg_catalog.text FROM ("+
		"SELECT %[1]s, tableoid, ctid, xmin FROM %[2]s WHERE %[1]s IS NOT NULL AND %[3]s AND %[4]s ORDER BY 1 DESC LIMIT %[5]d) AS g (k, part, place, writer)",
		key.Value, table.SQL(), condition, finite(key), rememberedRows), session.Unprepared)
	var found *string
	newest, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r catalog.RememberedRow, err error) {
		var text, writer string
		if err := row.Scan(&text, &r.Table, &r.Place, &writer); err != nil {
			return r, err
		}
		if found == nil {
			found = &text
		}
		return s.Facts.withTransaction(r, writer)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("find the greatest %s: %w", key.Column.Name, err)
	}
	return found, newest, nil
}

func greatest(ctx context.Context, q session.Querier, table relation.TableName, key Key, condition string) (*string, error) {
	// A subquery, because ORDER BY would otherwise sort by the text of that name.
	sql := fmt.Sprintf("SELECT k::pg_catalog.text FROM (SELECT %[1]s AS k FROM %[2]s WHERE %[1]s IS NOT NULL AND %[3]s AND %[4]s ORDER BY %[1]s DESC LIMIT 1) AS greatest",
		key.Value, table.SQL(), condition, finite(key))
	return session.TextOrNil(q.QueryRow(ctx, sql, session.Unprepared), "find the greatest "+key.Column.Name)
}

// finite is the condition for keys that are not infinite or NaN.
func finite(key Key) string {
	switch relation.Base(key.Column.Type).Name {
	case "date", "timestamp", "timestamptz":
		return "pg_catalog.isfinite(" + key.Value + ")"
	case "numeric":
		return "(" + key.Value + ")::pg_catalog.text NOT IN ('NaN', 'Infinity', '-Infinity')"
	}
	return "true"
}

// PartitionCondition returns the condition for rows of some of the table's partitions. The
// partitions' bounds in it let the planner skip the others.
func (s *Snapshot) PartitionCondition(ctx context.Context, leaves []uint32) (string, error) {
	rows, _ := s.Tx.Query(ctx, `
		SELECT pg_catalog.format('tableoid = %s AND (%s)', l.oid, coalesce(pg_catalog.pg_get_partition_constraintdef(l.oid), 'true'))
		FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS l (oid)
		ORDER BY l.oid`, leaves)
	conditions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("read the bounds of new partitions of %s: %w", s.Facts.Table.Name, err)
	}
	return strings.Join(conditions, " OR "), nil
}

// HasAttachedRows reports whether attached partitions hold rows that the range does not hold
// otherwise.
func (s *Snapshot) HasAttachedRows(ctx context.Context, r KeyRange) (bool, error) {
	var holds bool
	err := s.Tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s)", s.Facts.Table.Name.SQL(), r.whereAttached()), session.Unprepared).Scan(&holds)
	if err != nil {
		return false, fmt.Errorf("look for rows in new partitions of %s: %w", s.Facts.Table.Name, err)
	}
	return holds, nil
}

// ChunkEnd is the key at which that many rows of the range have come, or nil. It is cheap to
// find where an index orders the keys.
func (s *Snapshot) ChunkEnd(ctx context.Context, r KeyRange, rows int) (*string, error) {
	key, later := r.Key.Value, r.Key.Value+" IS NOT NULL"
	if r.After != nil {
		later = key + " OPERATOR(pg_catalog.>) " + session.TypedLiteral(r.After.Bookmark, r.Key.SQL)
	}
	many, err := s.expectsMore(ctx, fmt.Sprintf("SELECT FROM %s WHERE %s", r.Table.SQL(), later), rows)
	if err != nil || !many {
		return nil, err
	}
	return session.TextOrNil(s.Tx.QueryRow(ctx, fmt.Sprintf("SELECT k::pg_catalog.text FROM (SELECT %[1]s AS k FROM %[2]s WHERE %[3]s AND %[4]s ORDER BY %[1]s OFFSET %[5]d LIMIT 1) AS chunk",
		key, r.Table.SQL(), later, finite(r.Key), rows-1), session.Unprepared), "divide the backlog of "+r.Table.String())
}

// expectsMore reports whether the planner expects a query to return more rows.
func (s *Snapshot) expectsMore(ctx context.Context, query string, rows int) (bool, error) {
	var text []byte
	if err := s.Tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) "+query, session.Unprepared).Scan(&text); err != nil {
		return false, fmt.Errorf("estimate how many rows are new: %w", err)
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) != 1 {
		return false, fmt.Errorf("estimate how many rows are new: read the plan: %w", err)
	}
	return plans[0].Plan.Rows > float64(rows), nil
}

// CopyOutSQL sends the expressions of rows that meet one of the conditions. No row meets two
// of them.
func CopyOutSQL(table relation.TableName, expressions, format string, conditions ...string) string {
	queries := make([]string, len(conditions))
	for i, condition := range conditions {
		queries[i] = fmt.Sprintf("SELECT %s FROM %s WHERE %s", expressions, table.SQL(), condition)
	}
	return fmt.Sprintf("COPY (%s) TO STDOUT (FORMAT %s)", strings.Join(queries, " UNION ALL "), format)
}

// CopySQL sends the expressions of the rows of a range.
func (r KeyRange) CopySQL(expressions, format string) string {
	if r.After != nil && r.After.attached != "" {
		return CopyOutSQL(r.Table, expressions, format, r.where(), r.whereAttached())
	}
	return CopyOutSQL(r.Table, expressions, format, r.where())
}
