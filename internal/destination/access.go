package destination

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// LockReaders returns the readers of a replication, which do not change until the transaction
// ends.
func LockReaders(ctx context.Context, tx pgx.Tx, replication int64) (readers []string, err error) {
	text, err := catalog.LockDefinition(ctx, tx, replication, "readers")
	if err != nil || text == nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &readers); err != nil {
		return nil, fmt.Errorf("read the readers of the definition: %w", err)
	}
	return readers, nil
}

// newTableSQL compares the roles that may read the table $1 with those that must: the readers
// $2, and the roles that default privileges named when the table was created.
const newTableSQL = `
	WITH t AS (
		SELECT c.relowner, c.relnamespace, c.relacl
		FROM pg_catalog.pg_class AS c
		WHERE c.oid = $1::pg_catalog.text::pg_catalog.regclass
	), have AS (
		SELECT a.grantee
		FROM t
		CROSS JOIN LATERAL pg_catalog.aclexplode(t.relacl) AS a
		WHERE a.privilege_type = 'SELECT'
	), wanted AS (
		SELECT r.oid AS grantee
		FROM pg_catalog.pg_roles AS r
		WHERE r.rolname::pg_catalog.text = ANY ($2::pg_catalog.text[])
		UNION
		SELECT a.grantee
		FROM t
		JOIN pg_catalog.pg_default_acl AS d ON d.defaclrole = t.relowner AND d.defaclnamespace IN (0, t.relnamespace) AND d.defaclobjtype = 'r'
		CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS a
		WHERE a.privilege_type = 'SELECT'
	)
	SELECT r.rolname, w.grantee IS NOT NULL
	FROM have AS h
	FULL JOIN wanted AS w ON w.grantee = h.grantee
	JOIN pg_catalog.pg_roles AS r ON r.oid = coalesce(h.grantee, w.grantee)
	WHERE (h.grantee IS NULL OR w.grantee IS NULL) AND r.oid <> (SELECT t.relowner FROM t)
	ORDER BY r.rolname`

// GrantToReaders ends the load of a table that is new to the replication: the current readers
// may read the table. Default privileges grant access to the readers of the time when the
// table was created, unless it was hidden from them. A table that another role had made keeps
// what it grants. had says whether there were readers when the run began. refused describes
// what could not be granted.
func GrantToReaders(ctx context.Context, tx pgx.Tx, t Target, created, had bool) (refused, err error) {
	readers, err := LockReaders(ctx, tx, t.Replication)
	if err != nil || len(readers) == 0 && !had {
		return nil, err
	}
	table := t.Name.SQL()
	rows, _ := tx.Query(ctx, newTableSQL, table, readers)
	var role string
	var wanted bool
	var statements []string
	_, err = pgx.ForEachRow(rows, []any{&role, &wanted}, func() error {
		if wanted && (created || slices.Contains(readers, role)) {
			statements = append(statements, "GRANT SELECT ON TABLE "+table+" TO "+pgclient.Ident(role))
		} else if !wanted && created {
			statements = append(statements, "REVOKE SELECT ON TABLE "+table+" FROM "+pgclient.Ident(role))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the roles that can read %s: %w", t.Name, err)
	}
	return TryAll(ctx, tx, statements), nil
}

const mayReadSQL = `
	SELECT r.rolname
	FROM pg_catalog.pg_class AS c
	CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
	JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
	WHERE c.oid = $1::pg_catalog.text::pg_catalog.regclass AND a.privilege_type = 'SELECT' AND r.oid <> c.relowner AND r.rolname::pg_catalog.text = ANY ($2::pg_catalog.text[])
	ORDER BY r.rolname`

// RevokeFromReaders revokes from readers what default privileges gave them: they must not see
// a staging table that may become the table before it is whole. refused describes what could
// not be revoked.
func RevokeFromReaders(ctx context.Context, tx pgx.Tx, staging relation.TableName, readers []string) (refused, err error) {
	if len(readers) == 0 {
		return nil, nil
	}
	rows, _ := tx.Query(ctx, mayReadSQL, staging.SQL(), readers)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the roles that can read %s: %w", staging, err)
	}
	for i, name := range names {
		names[i] = "REVOKE SELECT ON TABLE " + staging.SQL() + " FROM " + pgclient.Ident(name)
	}
	return TryAll(ctx, tx, names), nil
}

// TryAll runs statements that a load does not depend on. If one fails, it undoes all of them.
func TryAll(ctx context.Context, tx pgx.Tx, statements []string) error {
	if len(statements) == 0 {
		return nil
	}
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, strings.Join(statements, ";\n"))
		return err
	})
}
