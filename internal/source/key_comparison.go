package source

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A KeyColumn is a column of a table's key as the source sends it.
type KeyColumn struct {
	Column relation.Column
	Value  string // the expression that the source evaluates
}

// IsCoarse reports whether the source may take values of a column for the same that the
// destination tells apart.
func IsCoarse(c relation.Column) bool {
	t := relation.Base(c.Type)
	for t.Element != nil {
		t = relation.Base(*t.Element)
	}
	return c.Collation != "" || !t.BuiltIn() && t.Kind != "e"
}

// A KeyComparison asks the source for rows that have one of some keys, written otherwise.
type KeyComparison struct {
	columns, from string // the table, with its key as k0, k1 and as it is sent, e0, e1
	same          string // the condition for the same key
	otherwise     string // the condition that it is written otherwise
	written       string // the key as it is sent
}

// operatorsSQL finds the operators by which types that are not PostgreSQL's own tell values
// apart: those of their default operator classes, which only superusers can create.
const operatorsSQL = `
	SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
	FROM pg_catalog.pg_opclass AS c
	JOIN pg_catalog.pg_am AS a ON a.oid = c.opcmethod AND a.amname = 'btree'
	JOIN pg_catalog.pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
		AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
	JOIN pg_catalog.pg_operator AS o ON o.oid = m.amopopr
	JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
	WHERE c.opcdefault AND c.opcintype = (
		SELECT t.oid FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS s ON s.oid = t.typnamespace WHERE s.nspname = $1 AND t.typname = $2)`

// KeyComparison prepares the question. It compares columns of the table as they are, so that
// the table's index can be used.
func (s *Snapshot) KeyComparison(ctx context.Context, key []KeyColumn) (k KeyComparison, err error) {
	var columns, inner, same, otherwise, written []string
	for i, c := range key {
		equals, err := s.equality(ctx, relation.Base(c.Column.Type))
		if err != nil {
			return k, err
		}
		columns = append(columns, fmt.Sprintf("k%d", i))
		inner = append(inner, fmt.Sprintf("%s AS k%[3]d, %[2]s AS e%[3]d", pgclient.Ident(c.Column.Name), c.Value, i))
		same = append(same, fmt.Sprintf("t.k%[1]d %[2]s d.k%[1]d", i, equals))
		written = append(written, fmt.Sprintf("pg_catalog.format('%%s', t.e%d)", i))
		if IsCoarse(c.Column) {
			otherwise = append(otherwise, fmt.Sprintf(`%s COLLATE pg_catalog."C" OPERATOR(pg_catalog.<>) %s`,
				relation.OutputText(fmt.Sprintf("t.k%d", i), c.Column.Type), relation.OutputText(fmt.Sprintf("d.k%d", i), relation.Base(c.Column.Type))))
		}
	}
	return KeyComparison{
		columns: strings.Join(columns, ", "), from: fmt.Sprintf("(SELECT %s FROM %s) AS t", strings.Join(inner, ", "), s.Facts.Table.Name.SQL()),
		same: strings.Join(same, " AND "), otherwise: strings.Join(otherwise, " OR "), written: strings.Join(written, ", "),
	}, nil
}

// equality returns the operator by which a type tells values apart.
func (s *Snapshot) equality(ctx context.Context, t relation.Type) (string, error) {
	if t.Kind == "b" && t.Element == nil && !t.BuiltIn() {
		own, err := session.TextOrNil(s.Tx.QueryRow(ctx, operatorsSQL, t.Schema, t.Name), "read how "+t.SQL+" is compared")
		if err != nil {
			return "", err
		}
		if own != nil {
			return *own, nil
		}
	}
	return "OPERATOR(pg_catalog.=)", nil
}

// sql is the question. UNION gives the keys the type and the collation of the column: naming
// these requires privileges that reading the column does not.
func (k KeyComparison) sql(asked [][]string) string {
	keys := make([]string, len(asked))
	for i, key := range asked {
		keys[i] = fmt.Sprintf("UNION ALL SELECT %d, %s", i, session.Literals(key))
	}
	return fmt.Sprintf("SELECT d.n, ARRAY[%s] FROM (SELECT NULL::int AS n, %s FROM %s WHERE false %s) AS d JOIN %[3]s ON %[5]s WHERE %[6]s",
		k.written, k.columns, k.from, strings.Join(keys, " "), k.same, k.otherwise)
}

// A rewrittenKey is a key that the source writes otherwise.
type rewrittenKey struct {
	N   int      // which of the keys that were asked for
	Key []string // as the source has it
}

// WrittenOtherwise returns those of the keys that the source writes otherwise. It undoes a
// question that fails.
func (s *Snapshot) WrittenOtherwise(ctx context.Context, compare KeyComparison, keys [][]string) (found []rewrittenKey, err error) {
	err = pgx.BeginFunc(ctx, s.Tx, func(tx pgx.Tx) error {
		answers, err := tx.Query(ctx, compare.sql(keys), session.Unprepared)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(answers, func(row pgx.CollectableRow) (k rewrittenKey, err error) {
			if err = row.Scan(&k.N, &k.Key); err == nil && (k.N < 0 || k.N >= len(keys)) {
				err = errors.New("the server answered for a key that it was not asked about")
			}
			return k, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compare the keys of %s with those of the destination: %w", s.Facts.Table.Name, err)
	}
	return found, nil
}
