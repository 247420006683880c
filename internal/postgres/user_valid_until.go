package postgres

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// infinity is PostgreSQL's text for a password that never expires. A role for which no date was
// ever set has none, which means the same.
const infinity = "infinity"

// CheckValidUntil refuses text that is neither an instant in the form of RFC 3339 nor infinity.
func CheckValidUntil(text string) error {
	if text == infinity {
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("%q is neither infinity nor an instant such as 2030-01-31T12:00:00Z or 2030-01-31T13:00:00+01:00", text)
	}
	if year := t.UTC().Year(); year < 1 || year > 9999 {
		return fmt.Errorf("%q is not within the years 1 to 9999", text)
	}
	return nil
}

// SameValidUntil reports whether two texts mean the same instant; "" is infinity.
func SameValidUntil(a, b string) bool { return canonicalInstant(a) == canonicalInstant(b) }

// canonicalInstant writes an instant as validUntilText does. It leaves other text unchanged.
func canonicalInstant(text string) string {
	if text == "" {
		return infinity
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return t.UTC().Round(time.Microsecond).Format(time.RFC3339Nano) // PostgreSQL stores microseconds
}

// validUntilText returns the text for what the server stores: "" for infinity.
func validUntilText(t pgtype.Timestamptz) string {
	switch {
	case !t.Valid || t.InfinityModifier == pgtype.Infinity:
		return ""
	case t.InfinityModifier == pgtype.NegativeInfinity:
		return "-" + infinity
	}
	return t.Time.UTC().Format(time.RFC3339Nano)
}
