package source

import (
	"fmt"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A Key is a replication key as the source evaluates and writes it. It is zero
// where a table has none.
type Key struct {
	Column relation.Column
	Value  string // the expression that the source evaluates
	SQL    string // its type
}

// A KeyRange says which rows of a table are read. Without a bookmark, that is all rows. After
// a bookmark, it is the rows with its key and later ones. If the run knows which rows were
// not committed when the bookmark was set, it is the rows with later keys and those.
type KeyRange struct {
	Table relation.TableName
	Key   Key
	After *After  // nil: rows with any key
	UpTo  *string // the greatest key of a chunk; nil: all that follow
}

// An After says what is read of a table that has a bookmark.
type After struct {
	Bookmark    string
	keyless     bool         // rows can only be counted: all rows that share a replication key are read with one that was not seen
	Uncommitted *uncommitted // nil: not known, and rows with the key of the bookmark are read again
	attached    string       // the condition for rows of partitions that were attached since, all of which are read; or ""
}

// uncommitted says which of the rows with the key of the bookmark, or an earlier one, had not
// been committed when it was set.
type uncommitted struct {
	from      string // an expression for the least key that they can have; "": any
	condition string
}

// AfterBookmark returns the range of what has come since a bookmark: all rows, if it is nil.
func (r KeyRange) AfterBookmark(bookmark *string, keyless bool) KeyRange {
	r.After = nil
	if bookmark != nil {
		r.After = &After{Bookmark: *bookmark, keyless: keyless}
	}
	return r
}

// withUncommitted returns the range with rows that were not committed.
func (r KeyRange) withUncommitted(u uncommitted) KeyRange {
	changed := *r.After
	changed.Uncommitted = &u
	r.After = &changed
	return r
}

// WithAttached returns the range with rows of partitions that were attached.
func (r KeyRange) WithAttached(condition string) KeyRange {
	changed := *r.After
	changed.attached = condition
	r.After = &changed
	return r
}

// From is where rows that were not committed begin, or "".
func (r KeyRange) From() string {
	if r.After == nil || r.After.Uncommitted == nil {
		return ""
	}
	return r.After.Uncommitted.from
}

// StartingAt returns the range in which another expression says where these rows begin.
func (r KeyRange) StartingAt(from string) KeyRange {
	u := *r.After.Uncommitted
	u.from = from
	return r.withUncommitted(u)
}

// IsBounded reports whether the range has a least key, by which an index finds its rows.
func (r KeyRange) IsBounded() bool {
	return r.After != nil && (r.After.Uncommitted == nil || r.After.Uncommitted.from != "")
}

// First is an expression for the least key of the range, which is bounded.
func (r KeyRange) First() string {
	if r.After.Uncommitted == nil {
		return session.TypedLiteral(r.After.Bookmark, r.Key.SQL)
	}
	return r.After.Uncommitted.from
}

// where is the condition for rows of the range.
func (r KeyRange) where() string {
	if r.After == nil && r.UpTo == nil {
		return "true"
	}
	key := r.Key.Value
	if r.After == nil {
		return fmt.Sprintf("(%s OPERATOR(pg_catalog.<=) %s OR %[1]s IS NULL)", key, session.TypedLiteral(*r.UpTo, r.Key.SQL))
	}
	bookmark := session.TypedLiteral(r.After.Bookmark, r.Key.SQL)
	condition := key + " OPERATOR(pg_catalog.>=) " + bookmark
	if u := r.After.Uncommitted; u != nil {
		condition = r.uncommittedOr(*u, key+" OPERATOR(pg_catalog.>) "+bookmark, key, bookmark)
	}
	if r.UpTo == nil {
		return condition
	}
	below := key + " OPERATOR(pg_catalog.<=) " + session.TypedLiteral(*r.UpTo, r.Key.SQL)
	return fmt.Sprintf("(%s) AND (%s OR %s IS NULL)", condition, below, key)
}

// whereAttached is the condition for rows that only partitions attached since then hold. It
// needs a query of its own, or PostgreSQL would read all partitions.
func (r KeyRange) whereAttached() string {
	return fmt.Sprintf("(%s) AND (%s) IS NOT TRUE", r.After.attached, r.where())
}

// uncommittedOr adds the condition for late rows to the one for later rows. An index on the
// key can find them by the result.
func (r KeyRange) uncommittedOr(u uncommitted, later, key, bookmark string) string {
	late, lateNull, fromOn := u.condition, u.condition, "true"
	if u.from != "" {
		fromOn = key + " OPERATOR(pg_catalog.>=) " + u.from
	}
	if r.After.keyless {
		late = fmt.Sprintf("%[1]s OPERATOR(pg_catalog.=) ANY (SELECT %[1]s FROM %[2]s WHERE %[3]s AND %[1]s OPERATOR(pg_catalog.<=) %[4]s AND %[5]s)",
			key, r.Table.SQL(), fromOn, bookmark, u.condition)
		lateNull = fmt.Sprintf("EXISTS (SELECT FROM %s WHERE %s IS NULL AND %s)", r.Table.SQL(), key, u.condition)
	}
	condition := fmt.Sprintf("%s AND (%s OR %s)", fromOn, later, late)
	if r.Key.Column.NotNull {
		return condition
	}
	return fmt.Sprintf("(%s) OR (%s IS NULL AND %s)", condition, key, lateNull)
}

// Next is the range after a chunk of it.
func (r KeyRange) Next() KeyRange {
	end := *r.UpTo
	r.After = &After{Bookmark: end, Uncommitted: &uncommitted{from: session.TypedLiteral(end, r.Key.SQL), condition: "false"}}
	r.UpTo = nil
	return r
}

// Before is the condition for rows that earlier ranges held and this one does not merge:
// those that it does not hold or, without a key, all that are no later.
func (r KeyRange) Before(keyless bool) string {
	if keyless {
		return fmt.Sprintf("(%[1]s OPERATOR(pg_catalog.<=) %[2]s OR %[1]s IS NULL)", r.Key.Value, session.TypedLiteral(r.After.Bookmark, r.Key.SQL))
	}
	return "(" + r.where() + ") IS NOT TRUE"
}

// Promised is the condition for rows of the source that must be in the destination once the
// range was loaded. Nothing guarantees that other rows, with an earlier key or without one,
// were loaded.
func (r KeyRange) Promised() string {
	if !r.IsBounded() {
		return "true"
	}
	return r.Key.Value + " OPERATOR(pg_catalog.>=) " + r.First()
}
