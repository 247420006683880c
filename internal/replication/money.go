package replication

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// Money is a number of the smallest units of a currency. How many of them are one is
// what the locale says that a database writes money in: 100 for most, 1 for yen, 1000
// for dinars. Where the two sides differ, the same number would be another amount.

// fractions are how many decimal places an amount of money has on both sides.
type fractions struct{ source, destination int }

func holdsMoney(c postgres.Column) bool { return c.Type.Holds("money") }

// asAmount is the column where money of the destination would be another amount: a number.
func (c column) asAmount(of fractions) column {
	if of.source == of.destination || !holdsMoney(c.source) {
		return c
	}
	units := math.Pow10(of.source)
	c.extract = fmt.Sprintf("pg_catalog.round((%s)::pg_catalog.money::pg_catalog.numeric OPERATOR(pg_catalog.*) 100 OPERATOR(pg_catalog./) %.0f, %d)",
		postgres.Ident(c.source.Name), units, of.source) // with the two places of the locale that is pinned
	c.sql, c.text, c.source.Missing = "numeric", false, nil
	return c
}

// fractionsOf asks both sides, if the columns hold money.
func fractionsOf(ctx context.Context, columns []postgres.Column, source, destination querier) (of fractions, err error) {
	if !slices.ContainsFunc(columns, holdsMoney) {
		return of, nil
	}
	if of.source, err = moneyFraction(ctx, source); err != nil {
		return of, &extractError{err}
	}
	if of.destination, err = moneyFraction(ctx, destination); err != nil {
		return of, err
	}
	for _, c := range columns {
		if of.source != of.destination && holdsMoney(c) && base(c.Type).Element != nil {
			return of, fmt.Errorf("column %q is an array of money, which has %d decimal places at the source and %d in the destination: exclude it, replicate it through a view as numeric, or set lc_monetary of the destination's database to a locale with as many",
				c.Name, of.source, of.destination)
		}
	}
	return of, nil
}

// moneyLocaleSQL reads the locale that a database has for money. What its login has is
// only taken where the database has none of its own.
const moneyLocaleSQL = `
	SELECT coalesce((
		SELECT pg_catalog.substr(e.entry, pg_catalog.length('lc_monetary=') + 1)
		FROM pg_catalog.pg_db_role_setting AS s
		CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS e (entry)
		WHERE s.setrole = 0 AND pg_catalog.strpos(e.entry, 'lc_monetary=') = 1
			AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()))
		ORDER BY s.setdatabase DESC
		LIMIT 1
	), (SELECT s.reset_val FROM pg_catalog.pg_settings AS s WHERE s.name = 'lc_monetary'))`

// moneyFraction finds out how many decimal places the database writes money with.
func moneyFraction(ctx context.Context, q querier) (int, error) {
	var locale string
	var unit []byte
	err := q.QueryRow(ctx, moneyLocaleSQL).Scan(&locale)
	if err == nil {
		_, err = q.Exec(ctx, "SET LOCAL lc_monetary = "+postgres.Literal(locale))
	}
	if err == nil {
		err = q.QueryRow(ctx, "SELECT pg_catalog.cash_send('1'::pg_catalog.money)", once).Scan(&unit)
	}
	if err == nil {
		_, err = q.Exec(ctx, "SET LOCAL lc_monetary = 'C'")
	}
	if err == nil && len(unit) != 8 {
		err = fmt.Errorf("the server answers with %d bytes", len(unit))
	}
	if err != nil {
		return 0, fmt.Errorf("find out how many decimal places money has: %w", err)
	}
	return int(math.Round(math.Log10(float64(binary.BigEndian.Uint64(unit))))), nil
}
