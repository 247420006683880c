package replication

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// The table of the destination may be older than its bookmark: emptied, restored, dropped and
// created again. Each commit records which table it leaves, where its rows are stored, how
// many there are, and their greatest _sdc_sequence. A table that is where the last commit
// left it, and not empty, counts as unchanged. A run counts the rows of any other table once:
// if there are as many, with the same greatest sequence, they are those that the commit left,
// moved for instance by VACUUM FULL.

// A holding says what a table of the destination holds.
type holding struct {
	rows     int64
	sequence *int64 // the greatest _sdc_sequence; nil if there is none
}

// A whereabouts says where a table of the destination is stored, and whether it has any row.
type whereabouts struct {
	oid, file uint32
	empty     bool
	holds     *holding // nil if its rows were not counted
}

// older says why the table is not the one that the last commit left, or "".
func (w whereabouts) older(left catalog.LoadedTable) string {
	switch had := left.Rows; {
	case w.oid == left.OID && w.file == left.File:
		if w.empty && had != nil && *had > 0 {
			return fmt.Sprintf("the table in the destination was emptied since the last run, which left it with %d rows", *had)
		}
		return ""
	case w.holds != nil && had != nil && w.holds.rows == *had && equal(w.holds.sequence, left.Sequence):
		return ""
	}
	what := "was emptied, restored or rewritten since the last run"
	if w.oid != left.OID {
		what = "is another one than the last run left: it was restored, or dropped and created again"
	}
	if w.holds == nil || left.Rows == nil {
		return "the table in the destination " + what
	}
	return fmt.Sprintf("the table in the destination %s, and holds %d rows where there were %d", what, w.holds.rows, *left.Rows)
}

// isWhereLeft reports whether the table is stored where the last commit left it.
func (t targetState) isWhereLeft() bool {
	return t.table != nil && t.loaded != nil && t.place.oid == t.loaded.OID && t.place.file == t.loaded.File
}

// goesOn reports whether a load may continue from a bookmark.
func (t targetState) goesOn() bool {
	return t.table != nil && t.loaded != nil && t.bookmark != nil && t.bookmark.Bookmark != nil
}

// older says why the table is not the one that the last commit left, if that matters.
func (t targetState) older() string {
	if !t.goesOn() {
		return ""
	}
	return t.place.older(*t.loaded)
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
func queuePlace(batch *pgx.Batch, target relation.TableName, harmless *bool, w *whereabouts, empty **bool) {
	batch.Queue(placeSQL, target.Schema, target.Name).QueryRow(func(row pgx.Row) error { return row.Scan(harmless, &w.oid, &w.file, empty) })
}

// inspect reads what is not yet known of where the table is stored, now that reading it is
// known to run no code of other roles.
func (t targetState) inspect(ctx context.Context, tx pgx.Tx, target relation.TableName, empty *bool) (whereabouts, error) {
	place := t.place
	if !t.goesOn() || t.loaded.Rows == nil { // all rows are read anyway
		return place, nil
	}
	if empty == nil {
		if err := tx.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM "+target.SQL()+")", unprepared).Scan(&empty); err != nil {
			return place, fmt.Errorf("look for a row of %s: %w", target, err)
		}
	}
	place.empty = *empty
	if _, ok := t.table.Column(sequenceColumn); !ok || t.isWhereLeft() {
		return place, nil
	}
	holds, err := countRows(ctx, tx, target)
	place.holds = &holds
	return place, err
}

const sequenceColumn = "_sdc_sequence"

// countRows reads what a table holds.
func countRows(ctx context.Context, tx pgx.Tx, target relation.TableName) (h holding, err error) {
	err = tx.QueryRow(ctx, "SELECT pg_catalog.count(*), pg_catalog.max("+sequenceColumn+") FROM "+target.SQL(), unprepared).Scan(&h.rows, &h.sequence)
	if err != nil {
		return holding{}, fmt.Errorf("count the rows of %s: %w", target, err)
	}
	return h, nil
}
