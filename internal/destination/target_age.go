package destination

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// The table of the destination may be older than its bookmark: emptied, restored, dropped and
// created again. Each commit records which table it leaves, where its rows are stored, how
// many there are, and their greatest _sdc_sequence. A table that is where the last commit
// left it, and not empty, counts as unchanged. A run counts the rows of any other table once:
// if there are as many, with the same greatest sequence, they are those that the commit left,
// moved for instance by VACUUM FULL.

// contents are what a table of the destination holds.
type contents struct {
	Rows     int64
	Sequence *int64 // the greatest _sdc_sequence; nil if there is none
}

// A Placement says where a table of the destination is stored, and whether it has any row.
type Placement struct {
	OID, File uint32
	Empty     bool
	contents  *contents // nil if its rows were not counted
}

// changeReason says why the table is not the one that the last commit left, or "".
func (w Placement) changeReason(left catalog.LoadedTable) string {
	switch had := left.Rows; {
	case w.OID == left.OID && w.File == left.File:
		if w.Empty && had != nil && *had > 0 {
			return fmt.Sprintf("the table in the destination was emptied after the last run, which left %d rows in it", *had)
		}
		return ""
	case w.contents != nil && had != nil && w.contents.Rows == *had && equal(w.contents.Sequence, left.Sequence):
		return ""
	}
	what := "was emptied, restored or rewritten after the last run"
	if w.OID != left.OID {
		what = "is not the one that the last run left: it was restored, or dropped and created again"
	}
	if w.contents == nil || left.Rows == nil {
		return "the table in the destination " + what
	}
	return fmt.Sprintf("the table in the destination %s. It holds %d rows, and the last run left %d", what, w.contents.Rows, *left.Rows)
}

// isSameStorage reports whether the table is stored where the last commit left it.
func (t TargetState) isSameStorage() bool {
	return t.Table != nil && t.Loaded != nil && t.Place.OID == t.Loaded.OID && t.Place.File == t.Loaded.File
}

// mayContinue reports whether a load may continue from a bookmark.
func (t TargetState) mayContinue() bool {
	return t.Table != nil && t.Loaded != nil && t.Bookmark != nil && t.Bookmark.Bookmark != nil
}

// ChangeReason says why the table is not the one that the last commit left, if that matters.
func (t TargetState) ChangeReason() string {
	if !t.mayContinue() {
		return ""
	}
	return t.Place.changeReason(*t.Loaded)
}

func equal(a, b *int64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// placeSQL reads whether a table is harmless, where it is stored, and whether it is empty. It
// reads that only of a harmless table, because reading another could run code of other roles.
// ts_stat runs a query that is composed within another, on all builds of PostgreSQL.
const placeSQL = `
	SELECT h.harmless, coalesce(c.oid, 0), coalesce(c.relfilenode, 0), CASE WHEN h.harmless AND c.oid IS NOT NULL
		THEN NOT EXISTS (SELECT FROM pg_catalog.ts_stat(pg_catalog.format('SELECT ''row''::pg_catalog.tsvector FROM ONLY %I.%I LIMIT 1', n.nspname, c.relname))) END
	FROM (` + harmlessSQL + `) AS h (harmless)
	LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = $1
	LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = $2`

// queuePlace is queueHarmless that also reads where the table is stored, and whether it is
// empty. empty stays nil for a table that is not harmless.
func queuePlace(batch *pgx.Batch, target relation.TableName, harmless *bool, w *Placement, empty **bool) {
	batch.Queue(placeSQL, target.Schema, target.Name).QueryRow(func(row pgx.Row) error { return row.Scan(harmless, &w.OID, &w.File, empty) })
}

// inspect reads what is not yet known of where the table is stored, now that reading it is
// known to run no code of other roles.
func (t TargetState) inspect(ctx context.Context, tx pgx.Tx, target relation.TableName, empty *bool) (Placement, error) {
	place := t.Place
	if !t.mayContinue() || t.Loaded.Rows == nil { // all rows are read anyway
		return place, nil
	}
	if empty == nil {
		if err := tx.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM "+target.SQL()+")", session.Unprepared).Scan(&empty); err != nil {
			return place, fmt.Errorf("look for rows in %s: %w", target, err)
		}
	}
	place.Empty = *empty
	if _, ok := t.Table.Column(sequenceColumn); !ok || t.isSameStorage() {
		return place, nil
	}
	holds, err := CountRows(ctx, tx, target)
	place.contents = &holds
	return place, err
}

const sequenceColumn = "_sdc_sequence"

// CountRows reads what a table holds.
func CountRows(ctx context.Context, tx pgx.Tx, target relation.TableName) (h contents, err error) {
	err = tx.QueryRow(ctx, "SELECT pg_catalog.count(*), pg_catalog.max("+sequenceColumn+") FROM "+target.SQL(), session.Unprepared).Scan(&h.Rows, &h.Sequence)
	if err != nil {
		return contents{}, fmt.Errorf("count the rows of %s: %w", target, err)
	}
	return h, nil
}
