package replication

import (
	"fmt"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A sourceKey is a replication key as the source evaluates and writes it. It is zero
// where a table has none.
type sourceKey struct {
	column relation.Column
	value  string // the expression that the source evaluates
	sql    string // its type
}

// A keyRange says which rows of a table are read. Without a bookmark, that is all rows. After
// a bookmark, it is the rows with its key and later ones. If the run knows which rows were
// not committed when the bookmark was set, it is the rows with later keys and those.
type keyRange struct {
	table relation.TableName
	key   sourceKey
	after *after  // nil: rows with any key
	upTo  *string // the greatest key of a chunk; nil: all that follow
}

// after says what is read of a table that has a bookmark.
type after struct {
	bookmark    string
	keyless     bool         // rows can only be counted: all rows that share a replication key are read with one that was not seen
	uncommitted *uncommitted // nil: not known, and rows with the key of the bookmark are read again
	attached    string       // the condition for rows of partitions that were attached since, all of which are read; or ""
}

// uncommitted says which of the rows with the key of the bookmark, or an earlier one, had not
// been committed when it was set.
type uncommitted struct {
	from      string // an expression for the least key that they can have; "": any
	condition string
}

// afterBookmark returns the range of what has come since a bookmark: all rows, if it is nil.
func (r keyRange) afterBookmark(bookmark *string, keyless bool) keyRange {
	r.after = nil
	if bookmark != nil {
		r.after = &after{bookmark: *bookmark, keyless: keyless}
	}
	return r
}

// withUncommitted returns the range with rows that were not committed.
func (r keyRange) withUncommitted(u uncommitted) keyRange {
	changed := *r.after
	changed.uncommitted = &u
	r.after = &changed
	return r
}

// withAttached returns the range with rows of partitions that were attached.
func (r keyRange) withAttached(condition string) keyRange {
	changed := *r.after
	changed.attached = condition
	r.after = &changed
	return r
}

// from is where rows that were not committed begin, or "".
func (r keyRange) from() string {
	if r.after == nil || r.after.uncommitted == nil {
		return ""
	}
	return r.after.uncommitted.from
}

// startingAt returns the range in which another expression says where these rows begin.
func (r keyRange) startingAt(from string) keyRange {
	u := *r.after.uncommitted
	u.from = from
	return r.withUncommitted(u)
}

// isBounded reports whether the range has a least key, by which an index finds its rows.
func (r keyRange) isBounded() bool {
	return r.after != nil && (r.after.uncommitted == nil || r.after.uncommitted.from != "")
}

// first is an expression for the least key of the range, which is bounded.
func (r keyRange) first() string {
	if r.after.uncommitted == nil {
		return typedLiteral(r.after.bookmark, r.key.sql)
	}
	return r.after.uncommitted.from
}

// where is the condition for rows of the range.
func (r keyRange) where() string {
	if r.after == nil && r.upTo == nil {
		return "true"
	}
	key := r.key.value
	if r.after == nil {
		return fmt.Sprintf("(%s OPERATOR(pg_catalog.<=) %s OR %[1]s IS NULL)", key, typedLiteral(*r.upTo, r.key.sql))
	}
	bookmark := typedLiteral(r.after.bookmark, r.key.sql)
	condition := key + " OPERATOR(pg_catalog.>=) " + bookmark
	if u := r.after.uncommitted; u != nil {
		condition = r.uncommittedOr(*u, key+" OPERATOR(pg_catalog.>) "+bookmark, key, bookmark)
	}
	if r.upTo == nil {
		return condition
	}
	below := key + " OPERATOR(pg_catalog.<=) " + typedLiteral(*r.upTo, r.key.sql)
	return fmt.Sprintf("(%s) AND (%s OR %s IS NULL)", condition, below, key)
}

// whereAttached is the condition for rows that only partitions attached since then hold. It
// needs a query of its own, or PostgreSQL would read all partitions.
func (r keyRange) whereAttached() string {
	return fmt.Sprintf("(%s) AND (%s) IS NOT TRUE", r.after.attached, r.where())
}

// uncommittedOr adds the condition for late rows to the one for later rows. An index on the
// key can find them by the result.
func (r keyRange) uncommittedOr(u uncommitted, later, key, bookmark string) string {
	late, lateNull, fromOn := u.condition, u.condition, "true"
	if u.from != "" {
		fromOn = key + " OPERATOR(pg_catalog.>=) " + u.from
	}
	if r.after.keyless {
		late = fmt.Sprintf("%[1]s OPERATOR(pg_catalog.=) ANY (SELECT %[1]s FROM %[2]s WHERE %[3]s AND %[1]s OPERATOR(pg_catalog.<=) %[4]s AND %[5]s)",
			key, r.table.SQL(), fromOn, bookmark, u.condition)
		lateNull = fmt.Sprintf("EXISTS (SELECT FROM %s WHERE %s IS NULL AND %s)", r.table.SQL(), key, u.condition)
	}
	condition := fmt.Sprintf("%s AND (%s OR %s)", fromOn, later, late)
	if r.key.column.NotNull {
		return condition
	}
	return fmt.Sprintf("(%s) OR (%s IS NULL AND %s)", condition, key, lateNull)
}

// next is the range after a chunk of it.
func (r keyRange) next() keyRange {
	end := *r.upTo
	r.after = &after{bookmark: end, uncommitted: &uncommitted{from: typedLiteral(end, r.key.sql), condition: "false"}}
	r.upTo = nil
	return r
}

// before is the condition for rows that earlier ranges held and this one does not merge:
// those that it does not hold or, without a key, all that are no later.
func (r keyRange) before(keyless bool) string {
	if keyless {
		return fmt.Sprintf("(%[1]s OPERATOR(pg_catalog.<=) %[2]s OR %[1]s IS NULL)", r.key.value, typedLiteral(r.after.bookmark, r.key.sql))
	}
	return "(" + r.where() + ") IS NOT TRUE"
}

// promised is the condition for rows of the source that must be in the destination once the
// range was loaded. Nothing guarantees that other rows, with an earlier key or without one,
// were loaded.
func (r keyRange) promised() string {
	if !r.isBounded() {
		return "true"
	}
	return r.key.value + " OPERATOR(pg_catalog.>=) " + r.first()
}
