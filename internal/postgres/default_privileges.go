package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A defaultRight is SELECT on the tables that one role will create in one schema.
type defaultRight struct {
	Schema    string
	Creator   string
	Owns      bool // the creator has relations in the schema already
	Alterable bool // by this login
	Explicit  bool // granted to the user, for this schema
	Effective bool // or had in another way
}

// String names it for people, like that of right.
func (d defaultRight) String() string {
	return "DEFAULT SELECT ON TABLES IN SCHEMA " + quotePart(d.Schema) + " OF " + quotePart(d.Creator)
}

// wanted reports whether the right is part of the grants: for the roles that own
// relations, and those that may be expected to create some as far as this login
// may act for them. The owner of a schema that managed servers do not let
// anybody act for, and that owns nothing in it, is left out.
func (d defaultRight) wanted(user string) bool { return d.Creator != user && (d.Owns || d.Alterable) }

// alterableSQL: since PostgreSQL 16, membership is not enough for ALTER DEFAULT
// PRIVILEGES, it must be inherited.
const alterableSQL = `pg_catalog.pg_has_role(o.oid,
	CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 160000 THEN 'USAGE' ELSE 'MEMBER' END)`

// Creators are the owners of what is in a schema, its own owner and this login.
const defaultRightsSQL = `
	WITH creators AS (
		SELECT c.relnamespace AS namespace, c.relowner AS role, true AS owns
		FROM pg_catalog.pg_class AS c
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
		UNION ALL
		SELECT n.oid, n.nspowner, false
		FROM pg_catalog.pg_namespace AS n
		UNION ALL
		SELECT n.oid, r.oid, false
		FROM pg_catalog.pg_namespace AS n
		JOIN pg_catalog.pg_roles AS r ON r.rolname = current_user
	), grouped AS (
		SELECT n.oid AS namespace, n.nspname, o.oid, o.rolname, bool_or(c.owns) AS owns
		FROM creators AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.namespace
		JOIN pg_catalog.pg_roles AS r ON r.oid = c.role
		JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
		JOIN pg_catalog.pg_roles AS o
			ON o.oid = CASE r.rolname WHEN 'pg_database_owner' THEN d.datdba ELSE r.oid END
		WHERE n.nspname::text = ANY ($2::text[])
		  AND o.rolname !~ '^pg_'
		GROUP BY n.oid, n.nspname, o.oid, o.rolname
	)
	SELECT o.nspname, o.rolname, o.owns, ` + alterableSQL + `,
	       coalesce(acl.explicit, false),
	       u.rolsuper
	           OR pg_catalog.pg_has_role(u.oid, o.oid, 'USAGE')
	           OR EXISTS (SELECT 1 FROM pg_catalog.pg_roles AS r
	                      WHERE r.rolname = 'pg_read_all_data' AND pg_catalog.pg_has_role(u.oid, r.oid, 'USAGE'))
	           OR coalesce(acl.effective, false)
	FROM grouped AS o
	JOIN pg_catalog.pg_roles AS u ON u.rolname = $1
	LEFT JOIN LATERAL (
		SELECT bool_or(a.grantee = u.oid AND d.defaclnamespace <> 0) AS explicit,
		       bool_or(CASE a.grantee WHEN 0 THEN true ELSE pg_catalog.pg_has_role(u.oid, a.grantee, 'USAGE') END) AS effective
		FROM pg_catalog.pg_default_acl AS d
		CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS a
		WHERE d.defaclrole = o.oid
		  AND d.defaclnamespace IN (0, o.namespace)
		  AND d.defaclobjtype = 'r'
		  AND a.privilege_type = 'SELECT'
	) AS acl ON true
	ORDER BY o.nspname, o.rolname`

func defaultRights(ctx context.Context, tx pgx.Tx, user string, schemas []string) ([]defaultRight, error) {
	if len(schemas) == 0 {
		return nil, nil
	}
	rows, _ := tx.Query(ctx, defaultRightsSQL, user, schemas)
	return pgx.CollectRows(rows, pgx.RowToStructByPos[defaultRight])
}

// planDefaultGrants plans to grant the user SELECT on the tables to come in the schemas.
func planDefaultGrants(ctx context.Context, tx pgx.Tx, user string, schemas []string) (rightsPlan, error) {
	have, err := defaultRights(ctx, tx, user, schemas)
	grant, refused := decideDefaults(user, have)
	change := "GRANT SELECT ON TABLES TO " + Ident(user)
	return rightsPlan{sql: defaultStatements(grant, change), refused: defaultStatements(refused, change)}, err
}

func decideDefaults(user string, have []defaultRight) (grant, refused []defaultRight) {
	for _, d := range have {
		switch {
		case d.Explicit || !d.wanted(user):
		case d.Alterable:
			grant = append(grant, d)
		case !d.Effective:
			refused = append(refused, d)
		}
	}
	return grant, refused
}

// defaultStatements returns one statement for each creator.
func defaultStatements(rights []defaultRight, change string) []string {
	schemas := map[string][]string{}
	for _, d := range rights {
		schemas[d.Creator] = append(schemas[d.Creator], d.Schema)
	}
	var sql []string
	for _, creator := range slices.Sorted(maps.Keys(schemas)) {
		sql = append(sql, "ALTER DEFAULT PRIVILEGES FOR ROLE "+Ident(creator)+
			" IN SCHEMA "+idents(schemas[creator])+" "+change)
	}
	return sql
}

// Those of any role, also of one that has nothing in the schema any more.
const grantedDefaultsSQL = `
	SELECT n.nspname, o.rolname, false, ` + alterableSQL + `, true, true
	FROM pg_catalog.pg_default_acl AS d
	JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
	JOIN pg_catalog.pg_roles AS o ON o.oid = d.defaclrole
	CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS a
	JOIN pg_catalog.pg_roles AS u ON u.oid = a.grantee
	WHERE u.rolname = $1
	  AND u.oid <> o.oid
	  AND n.nspname::text = ANY ($2::text[])
	  AND d.defaclobjtype = 'r'
	  AND a.privilege_type = 'SELECT'
	ORDER BY n.nspname, o.rolname`

func grantedDefaults(ctx context.Context, tx pgx.Tx, user string, schemas []string) ([]defaultRight, error) {
	if len(schemas) == 0 {
		return nil, nil
	}
	rows, _ := tx.Query(ctx, grantedDefaultsSQL, user, schemas)
	return pgx.CollectRows(rows, pgx.RowToStructByPos[defaultRight])
}

// planDefaultRevokes plans to take back SELECT on the tables to come in the
// schemas, whoever creates them.
func planDefaultRevokes(ctx context.Context, tx pgx.Tx, user string, schemas []string) (rightsPlan, error) {
	have, err := grantedDefaults(ctx, tx, user, schemas)
	var revoke, refused []defaultRight
	for _, d := range have {
		if d.Alterable {
			revoke = append(revoke, d)
		} else {
			refused = append(refused, d)
		}
	}
	change := "REVOKE SELECT ON TABLES FROM " + Ident(user)
	return rightsPlan{sql: defaultStatements(revoke, change), refused: defaultStatements(refused, change)}, err
}
