package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A grantedRight is a right that somebody granted to the user. A REVOKE takes
// back what one grantor gave, so another administrator than the one who granted
// has to act as that grantor.
type grantedRight struct {
	right
	Grantor string
	Plain   bool // a REVOKE by this login acts as the grantor: it is the login, or owns the object
	AsOther bool // this login may SET ROLE to the grantor
}

// What belongs to the user is none of our grants.
const grantedSQL = rightsSQL + `
	SELECT r.privilege, r.kind, r.schema, r.name, g.rolname,
	       g.rolname = current_user
	           OR g.oid = r.owner AND pg_catalog.pg_has_role(r.owner, 'USAGE'),
	       pg_catalog.pg_has_role(g.oid,
	           CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 160000 THEN 'SET' ELSE 'MEMBER' END)
	FROM rights AS r
	CROSS JOIN u
	CROSS JOIN LATERAL pg_catalog.aclexplode(r.acl) AS a
	JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantor
	WHERE a.grantee = u.oid
	  AND a.privilege_type = r.privilege
	  AND r.owner <> u.oid
	ORDER BY r.kind, r.schema, r.name, r.privilege`

func granted(ctx context.Context, tx pgx.Tx, sc scope) ([]grantedRight, error) {
	rows, _ := tx.Query(ctx, grantedSQL, sc.args()...)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r grantedRight, err error) {
		err = row.Scan(&r.Privilege, &r.Kind, &r.Schema, &r.Name, &r.Grantor, &r.Plain, &r.AsOther)
		return r, err
	})
}

// revokeScope takes back what a scope means, whoever granted it. PostgreSQL
// picks the role that a REVOKE acts as, and finding nothing of that grantor's is
// no error. So what is left is tried again as its grantor, and then refused.
func revokeScope(ctx context.Context, tx pgx.Tx, database string, sc scope) error {
	for attempt := 1; ; attempt++ {
		have, err := granted(ctx, tx, sc)
		if err != nil || len(have) == 0 {
			return err
		}
		for i := range have {
			have[i].Plain = have[i].Plain && attempt == 1
			have[i].AsOther = have[i].AsOther && attempt <= 2
		}
		if err := planRevokes(database, sc.user, have).run(ctx, tx); err != nil {
			return err
		}
	}
}

// planRevokes plans to take rights back, each as its grantor.
func planRevokes(database, user string, have []grantedRight) rightsPlan {
	var plain []right
	as, refused := map[string][]right{}, map[string][]right{}
	for _, r := range have {
		switch {
		case r.Plain:
			plain = append(plain, r.right)
		case r.AsOther:
			as[r.Grantor] = append(as[r.Grantor], r.right)
		default:
			refused[r.Grantor] = append(refused[r.Grantor], r.right)
		}
	}
	plan := rightsPlan{sql: revokeStatements(database, user, plain)}
	for _, grantor := range slices.Sorted(maps.Keys(as)) {
		plan.sql = slices.Concat(plan.sql,
			[]string{"SET LOCAL ROLE " + Ident(grantor)}, revokeStatements(database, user, as[grantor]), []string{"RESET ROLE"})
	}
	for _, grantor := range slices.Sorted(maps.Keys(refused)) {
		plan.refused = slices.Concat(plan.refused,
			[]string{"SET ROLE " + Ident(grantor)}, revokeStatements(database, user, refused[grantor]), []string{"RESET ROLE"})
	}
	return plan
}

func revokeStatements(database, user string, rights []right) []string {
	var sql []string
	for _, on := range objectLists(database, rights) {
		sql = append(sql, "REVOKE "+on+" FROM "+Ident(user))
	}
	return sql
}

const readSchemasSQL = `
	SELECT DISTINCT n.nspname
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
	JOIN pg_catalog.pg_roles AS u ON u.oid = a.grantee
	WHERE u.rolname = $1
	  AND a.privilege_type = 'SELECT'
	  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	  AND c.relowner <> u.oid
	  AND n.nspname NOT IN ('pg_catalog', 'information_schema')`

// readSchemas returns the schemas of which the user was granted SELECT on something.
func readSchemas(ctx context.Context, tx pgx.Tx, user string) ([]string, error) {
	rows, _ := tx.Query(ctx, readSchemasSQL, user)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

const connectNeededSQL = `
	SELECT EXISTS (
		SELECT 1
		FROM pg_catalog.pg_namespace AS n
		CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) AS a
		WHERE a.grantee = u.oid
		  AND a.privilege_type = 'USAGE'
		  AND n.nspowner <> u.oid
		  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
	) OR EXISTS (
		SELECT 1
		FROM pg_catalog.pg_database AS d
		CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) AS a
		WHERE a.grantee = u.oid
		  AND a.privilege_type IN ('CREATE', 'TEMPORARY')
		  AND d.datname = pg_catalog.current_database()
	)
	FROM pg_catalog.pg_roles AS u
	WHERE u.rolname = $1`

// revokeConnect takes back CONNECT, unless other grants to the user in this
// database would be of no use without it.
func revokeConnect(ctx context.Context, tx pgx.Tx, database, user string) error {
	schemas, err := readSchemas(ctx, tx, user)
	if err != nil || len(schemas) > 0 {
		return err
	}
	var needed bool
	if err := tx.QueryRow(ctx, connectNeededSQL, user).Scan(&needed); err != nil || needed {
		return err
	}
	return revokeScope(ctx, tx, database, scope{user: user, database: []string{"CONNECT"}})
}
