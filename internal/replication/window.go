package replication

import (
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A window is the part of a table that is extracted: all rows or, if since is
// set, those with a greater key and those before that are new nevertheless.
type window struct {
	table postgres.TableName
	key   column
	since *string // the bookmark
	upTo  *string // the greatest key of this piece; nil: all that follow
	back  bool    // whether no row has since or a later key, so that the bookmark goes back

	rewritten bool // whether the table lies in another file than when since was set

	// Of rows whose key is at most since, those are extracted whose key is at
	// least from ("": any) and that match unseen. Without unseen, where nobody
	// knows, it is those whose key equals since.
	from   string // an expression
	unseen string // a condition
	// Of partitions that were attached since, all rows are extracted.
	attached string // a condition, or ""
	// Rows without a key of their own can only be counted: all that share their
	// replication key are extracted with one that was not seen.
	keyless bool
}

// postgresLiteral writes a key as the source or the destination reads it.
func postgresLiteral(key, sql string) string { return postgres.Literal(key) + "::" + sql }

// where is the condition for rows of the window at the source.
func (w window) where() string {
	if w.since == nil && w.upTo == nil {
		return "true"
	}
	key := w.key.extract
	if w.since == nil {
		return fmt.Sprintf("(%s OPERATOR(pg_catalog.<=) %s OR %[1]s IS NULL)", key, postgresLiteral(*w.upTo, w.key.sql))
	}
	since := postgresLiteral(*w.since, w.key.sql)
	condition := key + " OPERATOR(pg_catalog.>=) " + since
	if w.unseen != "" {
		condition = w.lateOr(key+" OPERATOR(pg_catalog.>) "+since, key, since)
	}
	if w.upTo == nil {
		return condition
	}
	below := key + " OPERATOR(pg_catalog.<=) " + postgresLiteral(*w.upTo, w.key.sql)
	return fmt.Sprintf("(%s) AND (%s OR %s IS NULL)", condition, below, key)
}

// whereAttached is the condition for rows that only partitions hold which were
// attached since. It is to be met by a query of its own, or all partitions would be read.
func (w window) whereAttached() string {
	return fmt.Sprintf("(%s) AND (%s) IS NOT TRUE", w.attached, w.where())
}

// lateOr adds to the condition for later rows the one for rows that are late.
// Written so that an index on the key finds them.
func (w window) lateOr(later, key, since string) string {
	late, lateNull, fromOn := w.unseen, w.unseen, "true"
	if w.from != "" {
		fromOn = key + " OPERATOR(pg_catalog.>=) " + w.from
	}
	if w.keyless {
		late = fmt.Sprintf("%[1]s OPERATOR(pg_catalog.=) ANY (SELECT %[1]s FROM %[2]s WHERE %[3]s AND %[1]s OPERATOR(pg_catalog.<=) %[4]s AND %[5]s)", key, w.table.SQL(), fromOn, since, w.unseen)
		lateNull = fmt.Sprintf("EXISTS (SELECT FROM %s WHERE %s IS NULL AND %s)", w.table.SQL(), key, w.unseen)
	}
	condition := fmt.Sprintf("%s AND (%s OR %s)", fromOn, later, late)
	if w.key.source.NotNull {
		return condition
	}
	return fmt.Sprintf("(%s) OR (%s IS NULL AND %s)", condition, key, lateNull)
}

// next is the window after this piece of it, whose greatest key was upTo.
func (w window) next() window {
	return window{table: w.table, key: w.key, since: w.upTo, from: postgresLiteral(*w.upTo, w.key.sql), unseen: "false"}
}

// repeated is the condition for rows of the destination, called d, that the
// window may hold again.
func (w window) repeated() string {
	if w.since == nil || strings.HasPrefix(w.key.sql, "text") || w.unseen != "" && w.from == "" { // servers may order texts differently
		return "true"
	}
	from := w.from
	if w.unseen == "" {
		from = postgresLiteral(*w.since, w.key.sql)
	}
	key := "d." + postgres.Ident(w.key.name)
	return fmt.Sprintf("(%[1]s OPERATOR(pg_catalog.>=) %[2]s OR %[1]s IS NULL)", key, from)
}

// before is the condition for rows that earlier windows held and this one does
// not merge: those that it does not hold or, without a key, all that are no later.
func (w window) before(keyless bool) string {
	if keyless {
		return fmt.Sprintf("(%[1]s OPERATOR(pg_catalog.<=) %[2]s OR %[1]s IS NULL)", w.key.extract, postgresLiteral(*w.since, w.key.sql))
	}
	return "(" + w.where() + ") IS NOT TRUE"
}

// promised is the condition for rows of the source that must be in the destination once
// the window was loaded. Of others, with an earlier key or without one, nobody has said
// that they came.
func (w window) promised() string {
	switch {
	case w.since == nil || w.unseen != "" && w.from == "":
		return "true"
	case w.unseen == "":
		return w.key.extract + " OPERATOR(pg_catalog.>=) " + postgresLiteral(*w.since, w.key.sql)
	}
	return w.key.extract + " OPERATOR(pg_catalog.>=) " + w.from
}
