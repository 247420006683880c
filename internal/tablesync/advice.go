package tablesync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// advise says what to do about values and tables that cannot be loaded as planned.
// sessions.advise covers errors that concern no table in particular.
func (s *tableSync) advise(ctx context.Context, p plan, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	var ofSource *copywire.SourceError
	atSource := errors.As(err, &ofSource)
	switch {
	case pg.Code == pgclient.CharacterNotInRepertoire && atSource:
		return s.adviseBytes(ctx, p, err)
	case pg.Code == pgclient.UntranslatableCharacter && !atSource:
		return pgclient.Advise(err, "The destination database cannot store that character: create the database with the encoding UTF8, or exclude the column that the error names.")
	case pg.Code == pgclient.NotNullViolation && !atSource && slices.Contains(s.selection.ViewKeyProperties, pg.ColumnName):
		return pgclient.Advise(err, fmt.Sprintf("Column %q is one of view_key_properties of %s, but is null in a row: a null cannot identify a row. "+
			"Use other columns, or leave such rows out of the view.", pg.ColumnName, s.table))
	case pg.Code == pgclient.NotNullViolation && !atSource && slices.Contains(p.layout.Names(), pg.ColumnName):
		return pgclient.Advise(err, fmt.Sprintf("The source has nulls in column %q, but the table in the destination does not accept them. Drop its NOT NULL constraint: ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL.",
			pg.ColumnName, s.target.Name.SQL(), pgclient.Ident(pg.ColumnName)))
	case slices.Contains([]string{pgclient.UniqueViolation, pgclient.ExclusionViolation, pgclient.ForeignKeyViolation, pgclient.CheckViolation}, pg.Code) && !atSource:
		return s.adviseConstraint(ctx, pg, err)
	case pg.Code == source.OutOfLocks && atSource:
		return pgclient.Advise(err, "The table has more partitions and indexes than the source's lock table has room for: raise max_locks_per_transaction on the source, which requires a restart, or replicate the partitions as separate tables.")
	case pg.Code == pgclient.TooManyColumns && !atSource:
		return pgclient.Advise(err, fmt.Sprintf("Columns that were dropped or are no longer replicated count as well. Exclude columns, or rename %s: then the next run creates a new table.", s.target.Name))
	case pg.Code == pgclient.DuplicateColumn && !atSource:
		return pgclient.Advise(err, "PostgreSQL in the destination reserves that name: exclude the column, or replicate a view that gives it another name.")
	}
	return err
}

// adviseBytes names the column that holds bytes that are not valid text.
func (s *tableSync) adviseBytes(ctx context.Context, p plan, err error) error {
	what := "A column holds"
	for _, column := range p.layout.Columns {
		if pgclient.Code(s.checkBytes(ctx, p.rows.Table, column)) == pgclient.CharacterNotInRepertoire {
			what = fmt.Sprintf("Column %q holds", column.Source.Name)
			break
		}
	}
	return pgclient.Advise(err, what+" bytes that are not valid UTF-8. A database with the encoding SQL_ASCII accepts any bytes as text. Repair the values, exclude the column, or replicate a view that converts it: "+
		"convert_from(convert(convert_to(name, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'UTF8').")
}

// checkBytes fails if a column of the source holds bytes that are not valid text.
func (s *tableSync) checkBytes(ctx context.Context, table relation.TableName, column destination.Column) error {
	return s.sessions.Source.Session.Read(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '1min'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf("SELECT pg_catalog.count(pg_catalog.convert_to(pg_catalog.format('%%s', %s), 'UTF8')) FROM %s",
			column.Extract, table.SQL()))
		return err
	})
}

// adviseConstraint says what to do about an index or a constraint that a user added to a
// table and that blocks the load. PostgreSQL checks a deferrable one when a statement has
// changed all its rows, of which two may have swapped their values.
func (s *tableSync) adviseConstraint(ctx context.Context, pg *pgconn.PgError, err error) error {
	table := relation.TableName{Schema: pg.SchemaName, Name: pg.TableName}
	var constraint, canDefer, primary bool
	var columns []string
	failed := s.sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, blockerSQL, table.SQL(), pg.ConstraintName).Scan(&constraint, &canDefer, &primary, &columns)
	})
	name := pgclient.Ident(pg.ConstraintName)
	switch {
	case (failed != nil || primary) && s.selection.ViewKeyProperties != nil:
		return pgclient.Advise(err, fmt.Sprintf("Several rows of %s have the same values of view_key_properties %s: use columns that identify a row.", s.table, destination.KeyText(s.selection.ViewKeyProperties)))
	case failed != nil || primary:
		return err
	}
	what, drop := fmt.Sprintf("The index %q", pg.ConstraintName), fmt.Sprintf("DROP INDEX %s.%s", pgclient.Ident(table.Schema), name)
	if constraint {
		what, drop = fmt.Sprintf("The constraint %q", pg.ConstraintName), fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s", table.SQL(), name)
	}
	what = fmt.Sprintf("%s of %s was added in the destination. It rejects rows of the source, or the order in which a load changes them", what, table)
	if !canDefer {
		return pgclient.Advise(err, what+". Drop it: "+drop+".")
	}
	instead := fmt.Sprintf("; ALTER TABLE %s ADD", table.SQL())
	if constraint {
		instead = ", ADD"
	}
	return pgclient.Advise(err, fmt.Sprintf("%s. If two rows can swap their values, make it deferrable: %s%s CONSTRAINT %s UNIQUE (%s) DEFERRABLE. "+
		"If INCREMENTAL keeps rows that are gone at the source, drop it instead.", what, drop, instead, name, session.List(columns, "?")))
}

// blockerSQL reads which constraint or index of the table $1 has the name $2, and its
// columns, if it could be a constraint.
const blockerSQL = `
	SELECT k.oid IS NOT NULL, i.indisunique IS TRUE AND NOT i.indisexclusion AND i.indpred IS NULL AND i.indexprs IS NULL
			AND i.indnatts = coalesce((pg_catalog.to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts),
		i.indisprimary IS TRUE, coalesce((
			SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY n.n)
			FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS n (attnum, n)
			JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = n.attnum
		), '{}'::pg_catalog.text[])
	FROM (SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid) AS t
	LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = t.oid AND k.conname = $2
	LEFT JOIN pg_catalog.pg_class AS c ON c.relname = $2 AND c.oid IN (SELECT x.indexrelid FROM pg_catalog.pg_index AS x WHERE x.indrelid = t.oid)
	LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
	WHERE k.oid IS NOT NULL OR i.indexrelid IS NOT NULL`

// advise says what a run lacked: a privilege, or the path of a view's function.
func (s *Sessions) advise(err error) error {
	var source *copywire.SourceError
	atSource := errors.As(err, &source)
	if advice := session.PathAdvice(err); atSource && advice != "" {
		return pgclient.Advise(err, advice+".")
	}
	if pgclient.Code(err) != pgclient.InsufficientPrivilege || pgclient.IsUnreachable(err) {
		return err
	}
	switch {
	case atSource && pgclient.IsRowSecurity(err):
		return pgclient.Advise(err, "Row-level security would silently leave rows out. Either remove the table from tables; or replicate the rows that the login can see through a view; "+
			"or ask a superuser to let the login of server "+s.Source.Server+" see all rows: ALTER ROLE ... BYPASSRLS.")
	case pgclient.IsRowSecurity(err):
		return pgclient.Advise(err, "Row-level security would hide loaded rows from the load. Let the owner of the table see all of them: ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")
	case atSource:
		return pgclient.Advise(err, "The login of server "+s.Source.Server+
			" needs USAGE on the schema and SELECT on the table: stitch_source_grants grants both.")
	}
	return pgclient.Advise(err, "The login of server "+s.Destination.Server+
		" needs CREATE and TEMPORARY on the database, which stitch_destination_grants grants, and must own the tables that it loads.")
}
