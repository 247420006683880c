package tablesync

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A rowComparison pairs each row of the source with its row in the destination, in the
// snapshot that was extracted and in the transaction that loads. Both sides send the hashes of
// their keys in order, as bytes, whatever their encodings and collations are. That takes a
// sort on each side, and no memory here.
type rowComparison struct {
	missing int64 // rows of the source that must be in the destination, and are not
	late    int64 // rows of the source that are not in the destination, and that the method does not promise
	kept    int64 // rows of the destination that are not at the source
	changed int64 // pairs that hold other values, if values were compared
}

// A hashedRow is a row of one side, as the other side can compare it.
type hashedRow struct {
	key, values [16]byte
	promised    bool   // of the source
	place       string // of the destination: its ctid
}

// fingerprint is an expression for the hash of values as a uuid, which the source and the
// destination compute alike. Output functions write the values, quoting depends on no locale,
// and the hash is of UTF-8 text.
func fingerprint(values []string) string {
	return "CAST(" + hash(values) + " AS pg_catalog.uuid)"
}

// maxArguments is less than the number of arguments that a function can have.
const maxArguments = 90

func hash(values []string) string {
	var chunks []string
	for len(values) > 0 {
		n := min(len(values), maxArguments)
		chunks = append(chunks, fmt.Sprintf("pg_catalog.format('%s', %s)", strings.Repeat("%L,", n), strings.Join(values[:n], ", ")))
		values = values[n:]
	}
	return "pg_catalog.md5(pg_catalog.convert_to(" + strings.Join(chunks, " || ") + ", 'UTF8'))"
}

// shortestDigitsSince is the first major version that writes floats with the fewest digits
// that tell them apart. All major versions write fifteen digits alike.
const shortestDigitsSince = 12

// Numbers of digits of floats, as values of extra_float_digits.
const (
	allDigits     = 3
	fifteenDigits = 0
)

// byDigits divides columns into those compared with all digits of floats, and those compared
// with fewer digits because one side writes floats in another way. Text that was made at the
// source keeps the digits that it had when it was extracted.
func byDigits(columns []destination.Column, f facts) (exact, rounded []destination.Column) {
	if (f.source.Major < shortestDigitsSince) == (f.target.Major < shortestDigitsSince) {
		return columns, nil
	}
	for _, column := range columns {
		if column.Converted() {
			exact = append(exact, column)
		} else {
			rounded = append(rounded, column)
		}
	}
	return exact, rounded
}

// compareRows compares the two sides row by row. It pairs rows by their key or, without a key,
// by all their values. It calls onUnmatched, if set, for each row of the destination without a
// partner.
func (s *tableSync) compareRows(ctx context.Context, tx pgx.Tx, r reading, plan plan, values bool, onUnmatched func(place string)) (p rowComparison, err error) {
	l := plan.layout
	exact, rounded := byDigits(l.Columns, r.facts)
	others, digits := exact, allDigits
	if len(rounded) > 0 {
		others, digits = rounded, fifteenDigits
	}
	identity := l.KeyOf()
	if len(identity) == 0 {
		identity, values = others, false
	}
	query := func(expression func(destination.Column) string) string {
		v := "'00000000-0000-0000-0000-000000000000'::pg_catalog.uuid"
		if values {
			v = fingerprint(expressionsOf(others, expression))
		}
		return fingerprint(expressionsOf(identity, expression)) + " AS k, " + v + " AS v"
	}
	for _, side := range []pgx.Tx{r.snapshot.Tx, tx} {
		if err := writeDigits(ctx, side, digits); err != nil {
			return p, err
		}
	}
	source, err := r.snapshot.Tx.Query(ctx, fmt.Sprintf("SELECT k, v, p, '' FROM (SELECT %s, (%s) IS TRUE AS p FROM %s) AS s ORDER BY k",
		query(destination.Column.Sent), plan.rows.Promised(), r.facts.source.Table.Name.SQL()), session.Unprepared)
	if err != nil {
		return p, &copywire.SourceError{Err: err}
	}
	defer source.Close()
	destination, err := tx.Query(ctx, fmt.Sprintf("SELECT k, v, false, p FROM (SELECT %s, ctid::pg_catalog.text AS p FROM %s) AS d ORDER BY k",
		query(destination.Column.Stored), s.target.Name.SQL()), session.Unprepared)
	if err != nil {
		return p, err
	}
	defer destination.Close()
	if p, err = mergeJoin(hashedRows(source), hashedRows(destination), onUnmatched); source.Err() != nil {
		return p, &copywire.SourceError{Err: source.Err()}
	}
	return p, err
}

// writeDigits makes the server write floats with that many digits until the transaction ends.
func writeDigits(ctx context.Context, tx pgx.Tx, digits int) error {
	_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL extra_float_digits = %d", digits))
	return err
}

func expressionsOf(columns []destination.Column, expression func(destination.Column) string) []string {
	expressions := make([]string, len(columns))
	for i, c := range columns {
		expressions[i] = expression(c)
	}
	return expressions
}

// hashedRows returns a function that returns one row at a time, and nil at the end.
func hashedRows(rows pgx.Rows) func() (*hashedRow, error) {
	return func() (*hashedRow, error) {
		if !rows.Next() {
			return nil, rows.Err()
		}
		var h hashedRow
		err := rows.Scan(&h.key, &h.values, &h.promised, &h.place)
		return &h, err
	}
}

// mergeJoin pairs rows that arrive in the order of their keys.
func mergeJoin(nextSource, nextDestination func() (*hashedRow, error), onUnmatched func(place string)) (p rowComparison, err error) {
	s, err := nextSource()
	if err != nil {
		return p, err
	}
	d, err := nextDestination()
	for err == nil && (s != nil || d != nil) {
		order := 0
		switch {
		case s == nil:
			order = 1
		case d == nil:
			order = -1
		default:
			order = bytes.Compare(s.key[:], d.key[:])
		}
		switch {
		case order < 0 && s.promised:
			p.missing++
		case order < 0:
			p.late++
		case order > 0:
			p.kept++
			if onUnmatched != nil {
				onUnmatched(d.place)
			}
		case s.values != d.values:
			p.changed++
		}
		if order <= 0 {
			s, err = nextSource()
		}
		if err == nil && order >= 0 {
			d, err = nextDestination()
		}
	}
	return p, err
}
