package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// relationsPerGrant bounds the length of one GRANT or REVOKE.
const relationsPerGrant = 500

// A scope says which rights of a user are meant.
type scope struct {
	user     string
	database []string    // privileges on the database itself
	schemas  []string    // USAGE on these schemas
	whole    []string    // SELECT on all relations of these schemas
	tables   []TableName // and on these
	except   []TableName // but not on these
}

func (sc scope) args() []any {
	return []any{sc.user, orEmpty(sc.database), orEmpty(sc.schemas), orEmpty(sc.whole), quoted(sc.tables), quoted(sc.except)}
}

// orEmpty keeps nil from being sent as NULL, with which nothing compares.
func orEmpty(names []string) []string { return append([]string{}, names...) }

func quoted(tables []TableName) []string {
	result := make([]string, len(tables))
	for i, table := range tables {
		result[i] = table.SQL()
	}
	return result
}

// A right is one privilege on one object.
type right struct {
	Privilege string
	Kind      string // DATABASE, SCHEMA, TABLE, VIEW, MATERIALIZED VIEW or FOREIGN TABLE
	Schema    string // of a relation
	Name      string
}

// String names a right for people: "SELECT ON VIEW public.open_orders".
func (r right) String() string {
	name := quotePart(r.Name)
	if r.Schema != "" {
		name = TableName{r.Schema, r.Name}.String()
	}
	return r.Privilege + " ON " + r.Kind + " " + name
}

// rightsSQL lists the rights of a scope. Relations are compared by their quoted
// names, as dots may be part of a name. Of information_schema, what PostgreSQL
// itself lets nobody read is left out: the views called _pg_... would show the
// passwords of user mappings to whoever may.
const rightsSQL = `
	WITH u AS (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = $1),
	relations AS (
		SELECT c.oid, c.relkind, c.relname, c.relowner, c.relacl, n.nspname,
		       '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"' AS quoted
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
		  AND NOT (n.nspname = 'information_schema'
		           AND (c.relname LIKE '\_pg\_%' OR c.relname IN ('sql_parts', 'transforms')))
	),
	rights AS (
		SELECT p.privilege, 'DATABASE' AS kind, '' AS schema, d.datname::text AS name, d.oid, d.datdba AS owner,
		       coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba)) AS acl
		FROM pg_catalog.pg_database AS d
		CROSS JOIN unnest($2::text[]) AS p(privilege)
		WHERE d.datname = pg_catalog.current_database()
		UNION ALL
		SELECT 'USAGE', 'SCHEMA', '', n.nspname, n.oid, n.nspowner,
		       coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
		FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname::text = ANY ($3::text[])
		UNION ALL
		SELECT 'SELECT',
		       CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
		       c.nspname, c.relname, c.oid, c.relowner,
		       coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))
		FROM relations AS c
		WHERE (c.nspname::text = ANY ($4::text[]) OR c.quoted IN (SELECT unnest($5::text[])))
		  AND c.quoted NOT IN (SELECT unnest($6::text[]))
	)`

// A lackedRight is a right that the user was not granted.
type lackedRight struct {
	right
	Effective bool // the user has it in another way
	Grantable bool // by this login
}

// What is dropped meanwhile makes the functions return NULL.
const lackedSQL = rightsSQL + `,
	lacked AS (
		SELECT r.privilege, r.kind, r.schema, r.name,
		       coalesce(CASE r.kind
		           WHEN 'DATABASE' THEN pg_catalog.has_database_privilege(u.oid, r.oid, r.privilege)
		           WHEN 'SCHEMA' THEN pg_catalog.has_schema_privilege(u.oid, r.oid, r.privilege)
		           ELSE pg_catalog.has_table_privilege(u.oid, r.oid, r.privilege)
		       END, true) AS effective,
		       coalesce(CASE r.kind
		           WHEN 'DATABASE' THEN pg_catalog.has_database_privilege(r.oid, r.privilege || ' WITH GRANT OPTION')
		           WHEN 'SCHEMA' THEN pg_catalog.has_schema_privilege(r.oid, r.privilege || ' WITH GRANT OPTION')
		           ELSE pg_catalog.has_table_privilege(r.oid, r.privilege || ' WITH GRANT OPTION')
		       END, false) AS grantable
		FROM rights AS r
		CROSS JOIN u
		WHERE NOT EXISTS (
			SELECT 1
			FROM pg_catalog.aclexplode(r.acl) AS a
			WHERE a.grantee = u.oid
			  AND a.privilege_type = r.privilege
		)
	)
	SELECT privilege, kind, schema, name, effective, grantable
	FROM lacked`

// notGranted returns the rights of a scope that the user was not granted explicitly.
func notGranted(ctx context.Context, tx pgx.Tx, sc scope) ([]lackedRight, error) {
	return lackedRights(ctx, tx, sc, lackedSQL+`
	ORDER BY kind, schema, name, privilege`)
}

// notHeld returns the rights of a scope that the user does not have in any way.
func notHeld(ctx context.Context, tx pgx.Tx, sc scope) ([]lackedRight, error) {
	return lackedRights(ctx, tx, sc, lackedSQL+`
	WHERE NOT effective`)
}

func lackedRights(ctx context.Context, tx pgx.Tx, sc scope, sql string) ([]lackedRight, error) {
	rows, _ := tx.Query(ctx, sql, sc.args()...)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r lackedRight, err error) {
		err = row.Scan(&r.Privilege, &r.Kind, &r.Schema, &r.Name, &r.Effective, &r.Grantable)
		return r, err
	})
}

const absentSQL = `
	SELECT 'SCHEMA', '', s.name
	FROM unnest($1::text[]) AS s(name)
	WHERE s.name NOT IN (SELECT n.nspname::text FROM pg_catalog.pg_namespace AS n)
	UNION ALL
	SELECT 'TABLE', t.schema, t.name
	FROM unnest($2::text[], $3::text[]) AS t(schema, name)
	WHERE NOT EXISTS (
		SELECT 1
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = t.schema
		  AND c.relname = t.name
		  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	)`

// absent returns the schemas and tables that a scope names and that do not exist.
func absent(ctx context.Context, tx pgx.Tx, sc scope) ([]string, error) {
	var schemas, names []string
	for _, table := range sc.tables {
		schemas, names = append(schemas, table.Schema), append(names, table.Name)
	}
	rows, _ := tx.Query(ctx, absentSQL, orEmpty(sc.schemas), orEmpty(schemas), orEmpty(names))
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var kind, schema, name string
		err := row.Scan(&kind, &schema, &name)
		if schema != "" {
			return kind + " " + TableName{schema, name}.String(), err
		}
		return kind + " " + quotePart(name), err
	})
	slices.Sort(items)
	return items, err
}

// requireUser returns ErrNotFound if there is no such user.
func requireUser(ctx context.Context, tx pgx.Tx, name string) error {
	if _, err := user(ctx, tx, name); err != nil {
		return fmt.Errorf("database user %q: %w", name, err)
	}
	return nil
}

// A rightsPlan is the SQL that a change of rights takes, and the SQL that it
// would take but this login may not run.
type rightsPlan struct{ sql, refused []string }

// run runs all or, if something is refused, nothing.
func (p rightsPlan) run(ctx context.Context, tx pgx.Tx) error {
	if len(p.refused) > 0 {
		return &forbiddenError{statements: p.refused}
	}
	for _, sql := range p.sql {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// planGrants plans to grant what a scope means and the user was not granted.
func planGrants(ctx context.Context, tx pgx.Tx, database string, sc scope) (rightsPlan, error) {
	if err := requireUser(ctx, tx, sc.user); err != nil {
		return rightsPlan{}, err
	}
	items, err := absent(ctx, tx, sc)
	if err != nil {
		return rightsPlan{}, err
	}
	if len(items) > 0 {
		return rightsPlan{}, fmt.Errorf("these do not exist: %s; create them first, or take them out of the configuration (names are case-sensitive)", strings.Join(items, ", "))
	}
	lacked, err := notGranted(ctx, tx, sc)
	grant, refused := decideGrants(lacked)
	return rightsPlan{
		sql:     grantStatements(database, sc.user, grant),
		refused: grantStatements(database, sc.user, refused),
	}, err
}

// decideGrants picks what to grant. What this login may not grant is refused,
// unless the user has it anyway, as everybody may use the schema public by default.
func decideGrants(lacked []lackedRight) (grant, refused []right) {
	for _, r := range lacked {
		switch {
		case r.Grantable:
			grant = append(grant, r.right)
		case !r.Effective:
			refused = append(refused, r.right)
		}
	}
	return grant, refused
}

func grantStatements(database, user string, rights []right) []string {
	var sql []string
	for _, on := range objectLists(database, rights) {
		sql = append(sql, "GRANT "+on+" TO "+Ident(user))
	}
	return sql
}

// objectLists renders rights as "privileges ON objects", as few as possible.
func objectLists(database string, rights []right) []string {
	var privileges, schemas, relations []string
	for _, r := range rights {
		switch r.Kind {
		case "DATABASE":
			privileges = append(privileges, r.Privilege)
		case "SCHEMA":
			schemas = append(schemas, r.Name)
		default:
			relations = append(relations, TableName{r.Schema, r.Name}.SQL())
		}
	}
	var lists []string
	if len(privileges) > 0 {
		lists = append(lists, strings.Join(privileges, ", ")+" ON DATABASE "+Ident(database))
	}
	if len(schemas) > 0 {
		lists = append(lists, "USAGE ON SCHEMA "+idents(schemas))
	}
	for chunk := range slices.Chunk(relations, relationsPerGrant) {
		lists = append(lists, "SELECT ON TABLE "+strings.Join(chunk, ", "))
	}
	return lists
}

// A forbiddenError says what this login has no right to do, in SQL for somebody who has.
type forbiddenError struct{ statements []string }

func (e *forbiddenError) Error() string {
	return "the login of this server entry may not do all of this, so nothing was changed. " +
		"Use an entry whose username owns these objects or is a member of their owners, or have somebody who may do it run:\n  " +
		strings.Join(e.statements, ";\n  ") + ";"
}

// isGone reports whether err says that the database or the user that rights
// belong to does not exist.
func isGone(err error) bool {
	return errors.Is(err, ErrNotFound) || IsUnreachable(err) && Code(err) == "3D000"
}
