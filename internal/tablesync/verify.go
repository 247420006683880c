package tablesync

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// What a run compares after it has loaded a table, before it commits.
const (
	VerifyNone     = "none"
	VerifyCount    = "count"    // the number of rows
	VerifyChecksum = "checksum" // and a sum over the text of all of them
)

// A digest is what is compared.
type digest struct {
	rows     int64
	checksum string // "" if it was not asked for
}

// verify compares the source, in the snapshot that was extracted, with the destination as the
// transaction leaves it. Where the two differ, it looks for each row. FULL_TABLE must leave
// both the same. INCREMENTAL keeps what is gone at the source, and must have all rows of its
// range.
func (s *tableSync) verify(ctx context.Context, tx pgx.Tx, how string, r reading, p plan) (string, error) {
	if how == VerifyNone {
		return "", nil
	}
	exact, rounded := byDigits(p.layout.Columns, r.facts)
	inSource, err := digestOf(ctx, r.snapshot.Tx, r.facts.source.Table.Name, how, exact, rounded, destination.Column.Sent)
	if err != nil {
		return "", &copywire.SourceError{Err: fmt.Errorf("verify %s: %w", s.table, err)}
	}
	inTarget, err := digestOf(ctx, tx, s.target.Name, how, exact, rounded, destination.Column.Stored)
	if err != nil {
		return "", fmt.Errorf("verify %s: %w", s.target.Name, err)
	}
	if inSource == inTarget {
		return fmt.Sprintf("the same by %s: %d rows", how, inTarget.rows), nil
	}
	rows, err := s.compareRows(ctx, tx, r, p, how == VerifyChecksum, nil)
	if err != nil {
		return "", fmt.Errorf("verify %s: find the rows that differ: %w", s.table, err)
	}
	switch {
	case p.full:
		return "", fmt.Errorf("verify: %s has %s, but %s would have %s (%s). Nothing was committed",
			s.table, inSource, s.target.Name, inTarget, rows.text(true))
	case rows.missing > 0:
		return "", fmt.Errorf("verify: %s has %s, but %s would have %s (%s). Nothing was committed. "+
			"The missing rows were deleted in the destination, or were never loaded: drop the table in the destination, and the next run loads it again",
			s.table, inSource, s.target.Name, inTarget, rows.text(true))
	}
	return fmt.Sprintf("different by %s: %s", how, rows.text(false)), nil
}

// missing begins the message about rows of the source that the destination lacks.
const missing = "rows of the source that are missing in the destination"

// MissesRows reports whether a verification says that the destination lacks rows.
func MissesRows(verification string) bool { return strings.Contains(verification, missing) }

// text says how many rows of which side have no partner. full says that every one of them is
// an error.
func (p rowComparison) text(full bool) string {
	var facts []string
	say := func(n int64, format string) {
		if n > 0 {
			facts = append(facts, fmt.Sprintf(format, n))
		}
	}
	say(p.missing, missing+": %d")
	say(p.late, missing+", because they were committed with a replication key before the late-commit window, or without one: %d")
	if full {
		say(p.kept, "rows of the destination that the source does not have: %d")
		say(p.changed, "rows with other values: %d")
	} else {
		say(p.changed, "rows with other values, because they were changed without a later replication key: %d")
		say(p.kept, "rows of the destination that the source does not have, which INCREMENTAL keeps: %d")
	}
	if len(facts) == 0 {
		return "each row has its counterpart, but the two sides write some values differently"
	}
	return strings.Join(facts, "; ")
}

func (t digest) String() string {
	text := fmt.Sprintf("%d rows", t.rows)
	if t.checksum != "" {
		text += " with the checksum " + t.checksum
	}
	return text
}

// digestOf counts the rows of a table, and sums up hashes of their text. exact are columns
// with all digits of floats, and rounded those with fewer.
func digestOf(ctx context.Context, tx pgx.Tx, table relation.TableName, how string, exact, rounded []destination.Column, expression func(destination.Column) string) (t digest, err error) {
	if how == VerifyCount {
		err := tx.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.count(*) FROM %s", table.SQL()), session.Unprepared).Scan(&t.rows)
		return t, err
	}
	for _, part := range []struct {
		columns []destination.Column
		digits  int
	}{{exact, allDigits}, {rounded, fifteenDigits}} {
		if len(part.columns) == 0 {
			continue
		}
		if err := writeDigits(ctx, tx, part.digits); err != nil {
			return digest{}, err
		}
		var sum string
		err := tx.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(('x' || pg_catalog.substr(%s, 1, 15))::bit(60)::bigint), 0)::pg_catalog.text FROM %s",
			hash(expressionsOf(part.columns, expression)), table.SQL()), session.Unprepared).Scan(&t.rows, &sum)
		if err != nil {
			return digest{}, err
		}
		t.checksum = strings.TrimPrefix(t.checksum+"."+sum, ".")
	}
	return t, nil
}
