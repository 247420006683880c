package tablesync

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A money value is a number of the smallest units of a currency. The locale in which a
// database writes money says how many of them make one: 100 for most currencies, 1 for yen,
// 1000 for dinars. Where the two sides differ, the same number would be another amount.

// pinnedFraction is the number of decimal places that money has in the locale that is pinned.
const pinnedFraction = 2

// moneyWithinSQL returns the first of the types of the schemas $1 and the names $2 that has
// money somewhere within it.
const moneyWithinSQL = `
	WITH RECURSIVE within (number, oid) AS (
		SELECT w.number, t.oid
		FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) WITH ORDINALITY AS w (schema, name, number)
		JOIN pg_catalog.pg_namespace AS n ON n.nspname::pg_catalog.text = w.schema
		JOIN pg_catalog.pg_type AS t ON t.typnamespace = n.oid AND t.typname::pg_catalog.text = w.name
		UNION
		SELECT w.number, part.oid
		FROM within AS w
		JOIN pg_catalog.pg_type AS t ON t.oid = w.oid
		CROSS JOIN LATERAL (
			SELECT a.atttypid
			FROM pg_catalog.pg_attribute AS a
			WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL
			SELECT t.typbasetype
			WHERE t.typtype = 'd'
			UNION ALL
			SELECT t.typelem
			WHERE t.typcategory = 'A' AND t.typtype = 'b'
			UNION ALL
			SELECT r.rngsubtype
			FROM pg_catalog.pg_range AS r
			CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(r)) AS j (range)
			WHERE t.oid = r.rngtypid OR t.oid::pg_catalog.text = j.range ->> 'rngmultitypid'
		) AS part (oid)
	)
	SELECT coalesce(pg_catalog.min(w.number), 0)::int
	FROM within AS w
	WHERE w.oid = 'pg_catalog.money'::pg_catalog.regtype`

// moneyWithin returns the name of a column that has money somewhere within it and whose type
// is a composite, a range, or an array or domain of these. It returns "" if there is none.
func moneyWithin(ctx context.Context, columns []relation.Column, source session.Querier) (string, error) {
	var schemas, types, names []string
	for _, c := range columns {
		t := c.Type
		for t.Base != nil || t.Element != nil {
			if t = relation.Base(t); t.Element != nil {
				t = *t.Element
			}
		}
		if !t.BuiltIn() && slices.Contains([]string{"c", "r", "m"}, t.Kind) {
			schemas, types, names = append(schemas, t.Schema), append(types, t.Name), append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	var number int
	if err := source.QueryRow(ctx, moneyWithinSQL, schemas, types).Scan(&number); err != nil || number == 0 {
		return "", err
	}
	if number > len(names) {
		return "", fmt.Errorf("the server answered with type number %d of %d", number, len(names))
	}
	return names[number-1], nil
}

// moneyLocaleSQL reads the locale that a database has for money. It reads the login's setting
// only if the database has none of its own.
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

// moneyFraction returns how many decimal places the database writes money with.
func moneyFraction(ctx context.Context, q session.Querier) (int, error) {
	var locale string
	var unit []byte
	err := q.QueryRow(ctx, moneyLocaleSQL).Scan(&locale)
	if err == nil {
		_, err = q.Exec(ctx, "SET LOCAL lc_monetary = "+pgclient.Literal(locale))
	}
	if err == nil {
		err = q.QueryRow(ctx, "SELECT pg_catalog.cash_send('1'::pg_catalog.money)", session.Unprepared).Scan(&unit)
	}
	if err == nil {
		_, err = q.Exec(ctx, "SET LOCAL lc_monetary = 'C'")
	}
	if err == nil && len(unit) != 8 {
		err = fmt.Errorf("the server answered with %d bytes instead of 8", len(unit))
	}
	if err != nil {
		return 0, fmt.Errorf("read how many decimal places money has: %w", err)
	}
	return int(math.Round(math.Log10(float64(binary.BigEndian.Uint64(unit))))), nil
}
