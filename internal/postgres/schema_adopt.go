package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
)

// AdoptSchema takes over a schema that CreateSchema found to exist, and sets the wanted comment.
// See AdoptUser.
func AdoptSchema(ctx context.Context, s *pgclient.Server, c Schema) (adopted Schema, refusals []string, err error) {
	err = privilege.ChangeRights(ctx, s, c.Database, func(tx pgx.Tx) error {
		found, err := readFoundSchema(ctx, tx, c)
		if err != nil {
			return err
		}
		if refusals = c.refusals(found); len(refusals) > 0 {
			return nil
		}
		adopted, err = alterSchema(ctx, tx, c)
		return err
	})
	if err != nil {
		return Schema{}, nil, fmt.Errorf("adopt schema %q of database %q: %w", c.Name, c.Database, err)
	}
	return adopted, refusals, nil
}

// A foundSchema is a schema that exists, and all that has been done with it.
type foundSchema struct {
	Schema
	login    string   // of this server entry
	rights   []string // privileges that were granted on it, or revoked
	contents []string
}

// refusals returns why a schema that exists is not taken over for c.
func (c Schema) refusals(found foundSchema) []string {
	var lines []string
	owner := c.Owner
	if owner == "" {
		owner = found.login
	}
	if found.Owner != owner {
		lines = append(lines, fmt.Sprintf("owner is %q, not %q", found.Owner, owner))
	}
	for _, right := range found.rights {
		lines = append(lines, "its privileges differ from those of a new schema: "+right)
	}
	return append(lines, contentRefusals(found.contents)...)
}

// foundSchemaSQL ignores privileges that the login's own default privileges grant to others on
// each schema that it creates.
const foundSchemaSQL = `
	SELECT current_user::pg_catalog.text,
	       ARRAY(
	           SELECT r.privilege_type || ' for ' || coalesce(pg_catalog.quote_ident(g.rolname), 'PUBLIC') || CASE WHEN pg_catalog.bool_or(r.granted) THEN ' was granted' ELSE ' was revoked' END
	           FROM (
	               SELECT grantee, privilege_type, is_grantable, true FROM pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)))
	               UNION ALL
	               SELECT CASE WHEN x.grantee = w.oid THEN n.nspowner ELSE x.grantee END, x.privilege_type, x.is_grantable, false
	               FROM pg_catalog.pg_roles AS w
	               LEFT JOIN pg_catalog.pg_default_acl AS a ON a.defaclrole = w.oid AND a.defaclnamespace = 0 AND a.defaclobjtype = 'n'
	               CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(a.defaclacl, pg_catalog.acldefault('n', w.oid))) AS x
	               WHERE w.rolname = current_user
	           ) AS r (grantee, privilege_type, is_grantable, granted)
	           LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = r.grantee
	           GROUP BY r.grantee, r.privilege_type, r.is_grantable, g.rolname
	           HAVING pg_catalog.bool_and(r.granted) = pg_catalog.bool_or(r.granted)
	           ORDER BY 1
	       ),
	       ARRAY(
	           SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
	           FROM pg_catalog.pg_depend AS d
	           WHERE d.refclassid = n.tableoid AND d.refobjid = n.oid
	           UNION ALL
	           SELECT 'membership in ' || pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
	           FROM pg_catalog.pg_depend AS d
	           WHERE d.classid = n.tableoid AND d.objid = n.oid
	           ORDER BY 1
	       )
	FROM pg_catalog.pg_namespace AS n
	WHERE n.nspname = $1`

func readFoundSchema(ctx context.Context, tx pgx.Tx, c Schema) (found foundSchema, err error) {
	if found.Schema, err = schema(ctx, tx, c.Database, c.Name); err != nil {
		return foundSchema{}, err
	}
	err = tx.QueryRow(ctx, foundSchemaSQL, c.Name).Scan(&found.login, &found.rights, &found.contents)
	return found, rowNotFound(err)
}
