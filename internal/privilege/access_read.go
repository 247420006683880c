package privilege

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// objectsSQL reads the database, schemas, relations, and columns that have privileges of their
// own. Relations that are alike make one row: a schema with a hundred thousand tables has few
// such rows. It leaves out relations of information_schema that no ordinary role may read by
// default: the views called _pg_... would show the passwords of user mappings to any role with
// SELECT on them.
const objectsSQL = `
	SELECT o.kind, o.schema, o.names, o.extension, o.owner, acl.*
	FROM (
		SELECT 'DATABASE' AS kind, '' AS schema, ARRAY[d.datname::pg_catalog.text] AS names, false AS extension, d.datdba AS owner,
		       coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba)) AS acl
		FROM pg_catalog.pg_database AS d
		WHERE d.datname = pg_catalog.current_database()
		UNION ALL
		SELECT 'SCHEMA', '', ARRAY[n.nspname::pg_catalog.text], false, n.nspowner, coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
		FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname !~ '^pg_(toast|temp)'
		UNION ALL
		SELECT alike.kind, n.nspname, alike.names, alike.extension, c.relowner, coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))
		FROM (
			SELECT pg_catalog.min(c.oid) AS first, pg_catalog.array_agg(c.relname::pg_catalog.text) AS names,
			       e.objid IS NOT NULL AS extension,
			       CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind
			FROM pg_catalog.pg_class AS c
			JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			LEFT JOIN pg_catalog.pg_depend AS e
				ON e.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
				AND e.objid = c.oid AND e.deptype = 'e'
			WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
			  AND ($1::pg_catalog.text[] IS NULL OR n.nspname::pg_catalog.text = ANY ($1::pg_catalog.text[]))
			  AND NOT (n.nspname = 'information_schema' AND (c.relname ~ '^_pg_' OR c.relname IN ('sql_parts', 'transforms')))
			GROUP BY c.relnamespace, 3, 4, c.relowner, c.relacl::pg_catalog.text
		) AS alike
		JOIN pg_catalog.pg_class AS c ON c.oid = alike.first
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname !~ '^pg_(toast|temp)'
		UNION ALL
		SELECT 'COLUMN', n.nspname, ARRAY[c.relname::pg_catalog.text, t.attname::pg_catalog.text], false, c.relowner, t.attacl
		FROM pg_catalog.pg_attribute AS t
		JOIN pg_catalog.pg_class AS c ON c.oid = t.attrelid
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE t.attacl IS NOT NULL
		  AND NOT t.attisdropped
		  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		  AND n.nspname !~ '^pg_(toast|temp)'
		  AND ($1::pg_catalog.text[] IS NULL OR n.nspname::pg_catalog.text = ANY ($1::pg_catalog.text[]))
		UNION ALL
		SELECT 'DEFAULT', coalesce(n.nspname, ''), '{}', false, d.defaclrole, d.defaclacl
		FROM pg_catalog.pg_default_acl AS d
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
		WHERE d.defaclobjtype = 'r'
	) AS o
	CROSS JOIN LATERAL (
		SELECT coalesce(pg_catalog.array_agg(a.grantee), '{}'), coalesce(pg_catalog.array_agg(a.grantor), '{}'),
		       coalesce(pg_catalog.array_agg(a.privilege_type), '{}'), coalesce(pg_catalog.array_agg(a.is_grantable), '{}')
		FROM pg_catalog.aclexplode(o.acl) AS a
		WHERE a.privilege_type IN ('CONNECT', 'CREATE', 'TEMPORARY', 'USAGE', 'SELECT')
	) AS acl
	ORDER BY o.kind, o.schema, o.owner, o.names`

// readAccess reads who may do what, with the relations of some schemas; nil means all schemas.
func readAccess(ctx context.Context, tx pgx.Tx, schemas []string) (*access, error) {
	all, err := readRoles(ctx, tx)
	if err != nil {
		return nil, err
	}
	a := &access{roles: all, schemas: map[string]object{}, relations: map[string][]relations{}, columns: map[relation.TableName]map[string]object{}}
	if err := a.readObjects(ctx, tx, schemas); err != nil {
		return nil, fmt.Errorf("read the privileges in the database: %w", err)
	}
	return a, nil
}

func (a *access) readObjects(ctx context.Context, tx pgx.Tx, schemas []string) error {
	rows, _ := tx.Query(ctx, objectsSQL, schemas)
	var kind, schema string
	var names, privileges []string
	var extension bool
	var owner uint32
	var grantees, grantors []uint32
	var grantable []bool
	_, err := pgx.ForEachRow(rows, []any{&kind, &schema, &names, &extension, &owner, &grantees, &grantors, &privileges, &grantable}, func() error {
		if err := pgclient.SameLength(len(grantees), len(grantors), len(privileges), len(grantable)); err != nil {
			return err
		}
		o := object{owner: owner, acl: make([]aclEntry, len(grantees))}
		for i := range grantees {
			o.acl[i] = aclEntry{grantees[i], grantors[i], privileges[i], grantable[i]}
		}
		if kind == "COLUMN" && len(names) != 2 {
			return fmt.Errorf("the server named a column in schema %q by %d names instead of two", schema, len(names))
		}
		switch kind {
		case "DATABASE":
			a.databaseName, a.database = strings.Join(names, ""), o // there is one database
		case "SCHEMA":
			a.schemas[strings.Join(names, "")] = o // there is one schema of this name
		case "COLUMN":
			table := relation.TableName{Schema: schema, Name: names[0]}
			if a.columns[table] == nil {
				a.columns[table] = map[string]object{}
			}
			a.columns[table][names[1]] = o
		case "DEFAULT":
			a.defaults = append(a.defaults, defaultACL{object: o, schema: schema})
		default:
			slices.Sort(names)
			a.relations[schema] = append(a.relations[schema], relations{object: o, kind: kind, extension: extension, names: names})
		}
		return nil
	})
	return err
}

// sharedAccess returns who may do what in a database. In a plan, all resources share one
// reading.
func sharedAccess(ctx context.Context, s *pgclient.Server, database string) (*access, error) {
	read := func(ctx context.Context) (a *access, err error) {
		err = s.InTx(ctx, database, func(tx pgx.Tx) (err error) {
			a, err = readAccess(ctx, tx, nil)
			return err
		})
		return a, err
	}
	if !s.IsPlanning() {
		return read(ctx)
	}
	return pgclient.ReadShared(ctx, s, database, read)
}

// requireUser returns ErrNotFound if there is no such user.
func (a *access) requireUser(name string) (effectiveRole, error) {
	oid, ok := a.byName[name]
	if !ok {
		return effectiveRole{}, fmt.Errorf("database user %q: %w", name, pgclient.ErrNotFound)
	}
	return a.effective(oid), nil
}
