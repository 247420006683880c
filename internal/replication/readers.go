package replication

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// CheckReader refuses names that cannot be a reader.
func CheckReader(name string) error {
	if strings.EqualFold(name, "public") {
		return fmt.Errorf("%q stands for every role and cannot be a reader: name a role, for instance a group role for those who should read the tables", name)
	}
	return pgclient.CheckName(name)
}

// A readerRight is a privilege that a reader of a replication must have, or has.
type readerRight struct {
	Reader    string
	Kind      string // SCHEMA, TABLE, DEFAULT, or ROLE if no role has the reader's name
	Name      string // of the schema, or the table, or the role that creates tables
	Effective bool   // the reader has it in some way
	Grantable bool   // by the role that loads
}

// text names the privilege for people: "SELECT ON TABLE shop.orders TO analysts".
func (r readerRight) text(schema string) string {
	switch reader := roleText(r.Reader); r.Kind {
	case "SCHEMA":
		return "USAGE ON SCHEMA " + schema + " TO " + reader
	case "TABLE":
		return "SELECT ON TABLE " + relation.TableName{Schema: schema, Name: r.Name}.String() + " TO " + reader
	case "DEFAULT":
		return "DEFAULT SELECT ON TABLES IN SCHEMA " + schema + " OF " + roleText(r.Name) + " TO " + reader
	default:
		return "ROLE " + reader
	}
}

var plainName = regexp.MustCompile(`^[\pL_][\pL\pN_$]*$`)

// roleText quotes names that would be hard to read without quotes.
func roleText(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return pgclient.Ident(name)
}

// readerRightsSQL lists the privileges that each of the readers $2 must have in the schema $1
// with the loaded tables $3. For objects that another session drops at the same time, the
// functions return NULL.
const readerRightsSQL = `
	WITH wanted AS (
		SELECT w.name, r.oid, r.rolsuper
		FROM pg_catalog.unnest($2::pg_catalog.text[]) AS w (name)
		LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = w.name
	), objects AS (
		SELECT 'SCHEMA' AS kind, n.nspname AS name, 'USAGE' AS privilege, n.oid, n.oid AS namespace, n.nspowner AS owner, n.nspacl AS acl
		FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname = $1
		UNION ALL
		SELECT 'TABLE', c.relname, 'SELECT', c.oid, n.oid, c.relowner, c.relacl
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname::pg_catalog.text = ANY ($3::pg_catalog.text[]) AND c.relkind IN ('r', 'p')
		UNION ALL
		SELECT 'DEFAULT', l.rolname, 'SELECT', n.oid, n.oid, l.oid, d.defaclacl
		FROM pg_catalog.pg_namespace AS n
		JOIN pg_catalog.pg_roles AS l ON l.rolname = current_user
		LEFT JOIN pg_catalog.pg_default_acl AS d ON d.defaclrole = l.oid AND d.defaclnamespace = n.oid AND d.defaclobjtype = 'r'
		WHERE n.nspname = $1
	), rights AS (
		SELECT w.name AS reader, coalesce(o.kind, 'ROLE') AS kind, coalesce(o.name, w.name) AS name,
			o.kind IS NOT NULL AND (w.oid = o.owner OR EXISTS (
				SELECT FROM pg_catalog.aclexplode(o.acl) AS a WHERE a.grantee = w.oid AND a.privilege_type = o.privilege)) AS granted,
			CASE o.kind
				WHEN 'SCHEMA' THEN coalesce(pg_catalog.has_schema_privilege(w.oid, o.oid, 'USAGE'), true)
				WHEN 'TABLE' THEN coalesce(pg_catalog.has_table_privilege(w.oid, o.oid, 'SELECT'), true)
				WHEN 'DEFAULT' THEN w.rolsuper OR pg_catalog.pg_has_role(w.oid, o.owner, 'USAGE')
					OR EXISTS (
						SELECT FROM pg_catalog.pg_roles AS r
						WHERE r.rolname = 'pg_read_all_data' AND pg_catalog.pg_has_role(w.oid, r.oid, 'USAGE'))
					OR EXISTS (
						SELECT FROM pg_catalog.pg_default_acl AS d
						CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS a
						WHERE d.defaclrole = o.owner AND d.defaclnamespace IN (0, o.namespace) AND d.defaclobjtype = 'r'
							AND a.privilege_type = 'SELECT'
							AND CASE a.grantee WHEN 0 THEN true ELSE pg_catalog.pg_has_role(w.oid, a.grantee, 'USAGE') END)
				ELSE false
			END AS effective,
			CASE o.kind
				WHEN 'SCHEMA' THEN coalesce(pg_catalog.has_schema_privilege(o.oid, 'USAGE WITH GRANT OPTION'), true)
				WHEN 'TABLE' THEN coalesce(pg_catalog.has_table_privilege(o.oid, 'SELECT WITH GRANT OPTION'), true)
				ELSE true
			END AS grantable
		FROM wanted AS w
		LEFT JOIN objects AS o ON w.oid IS NOT NULL
		WHERE w.oid IS NULL OR o.kind IS NOT NULL
	)
	SELECT reader, kind, name, effective, grantable
	FROM rights`

const (
	notGrantedSQL   = readerRightsSQL + ` WHERE NOT granted ORDER BY reader, kind, name`   // explicitly
	notEffectiveSQL = readerRightsSQL + ` WHERE NOT effective ORDER BY reader, kind, name` // in any way
)

func readerRights(ctx context.Context, tx pgx.Tx, sql, schema string, readers, loaded []string) ([]readerRight, error) {
	if len(readers) == 0 {
		return nil, nil
	}
	rows, _ := tx.Query(ctx, sql, schema, readers, loaded)
	rights, err := pgx.CollectRows(rows, pgx.RowToStructByPos[readerRight])
	if err != nil {
		return nil, fmt.Errorf("read the privileges of readers of schema %q: %w", schema, err)
	}
	return rights, nil
}

// FindWithDrift is Find that also returns what readers cannot do, whatever could have
// allowed it, such as "SELECT ON TABLE shop.orders TO analysts".
func FindWithDrift(ctx context.Context, destination pgclient.Endpoint, schemaName string) (definition.Definition, []string, error) {
	var d definition.Definition
	var missing []string
	err := InCatalog(ctx, destination, func(tx pgx.Tx) error {
		stored, err := catalog.ReplicationOf(ctx, tx, schemaName)
		if err != nil {
			return err
		}
		if d, err = Decode(stored); err != nil || len(d.Readers) == 0 {
			return err
		}
		loaded, err := catalog.LoadedTables(ctx, tx, stored.ID)
		if err != nil {
			return err
		}
		rights, err := readerRights(ctx, tx, notEffectiveSQL, schemaName, d.Readers, loaded)
		for _, r := range rights {
			missing = append(missing, r.text(schemaName))
		}
		return err
	})
	return d, missing, err
}

// grantedSQL lists what the role that loads, or the owner that it may act for, granted the
// roles $2: privileges on the schema $1, on the tables that it owns or that it loaded ($3),
// and default privileges. Tables with the prefix $4 are the staging tables of a load.
const grantedSQL = `
	WITH loader AS (
		SELECT r.oid, r.rolname
		FROM pg_catalog.pg_roles AS r
		WHERE r.rolname = current_user
	), objects AS (
		SELECT 'SCHEMA' AS kind, n.nspname AS name, 'USAGE' AS privilege, n.nspowner AS owner, n.nspacl AS acl
		FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname = $1
		UNION ALL
		SELECT 'TABLE', c.relname, 'SELECT', c.relowner, c.relacl
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		CROSS JOIN loader AS l
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
			AND (c.relowner = l.oid OR c.relname::pg_catalog.text = ANY ($3::pg_catalog.text[]))
			AND pg_catalog.strpos(c.relname::pg_catalog.text, $4) <> 1
		UNION ALL
		SELECT 'DEFAULT', l.rolname, 'SELECT', l.oid, d.defaclacl
		FROM pg_catalog.pg_default_acl AS d
		JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
		JOIN loader AS l ON l.oid = d.defaclrole
		WHERE n.nspname = $1 AND d.defaclobjtype = 'r'
	)
	SELECT r.rolname, o.kind, o.name, true, true
	FROM objects AS o
	CROSS JOIN loader AS l
	CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS a
	JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
	WHERE r.rolname::pg_catalog.text = ANY ($2::pg_catalog.text[]) AND r.oid <> o.owner AND a.privilege_type = o.privilege
		AND a.grantor = CASE WHEN pg_catalog.pg_has_role(o.owner, 'USAGE') THEN o.owner ELSE l.oid END
	ORDER BY r.rolname, o.kind, o.name`

func grantedTo(ctx context.Context, tx pgx.Tx, schema string, roles, loaded []string) ([]readerRight, error) {
	if len(roles) == 0 {
		return nil, nil
	}
	rows, _ := tx.Query(ctx, grantedSQL, schema, roles, loaded, destination.StagingPrefix)
	rights, err := pgx.CollectRows(rows, pgx.RowToStructByPos[readerRight])
	if err != nil {
		return nil, fmt.Errorf("read what was granted to readers of schema %q: %w", schema, err)
	}
	return rights, nil
}

// A readersPlan says what a change of readers has to do.
type readersPlan struct {
	schema  string
	absent  []string // readers that do not exist
	grant   []readerRight
	refused []readerRight // that the role that loads may not grant
	revoke  []readerRight
	columns []columnsRight // to grant again after the revoke
}

// decideReaders decides which of the privileges that readers lack to grant. It refuses those
// that cannot be granted, unless the readers have them in another way.
func decideReaders(schema string, lacked, revoke []readerRight) readersPlan {
	p := readersPlan{schema: schema, revoke: revoke}
	for _, r := range lacked {
		switch {
		case r.Kind == "ROLE":
			p.absent = append(p.absent, r.Reader)
		case r.Grantable:
			p.grant = append(p.grant, r)
		case !r.Effective:
			p.refused = append(p.refused, r)
		}
	}
	return p
}

// refusal says what prevents the change, and is nil if nothing does.
func (p readersPlan) refusal() error {
	switch {
	case len(p.absent) > 0:
		return pgclient.Advise(
			fmt.Errorf("these readers do not exist on the destination server: %s. Nothing was changed", roleTexts(p.absent)),
			fmt.Sprintf("Create the role first, for instance with CREATE ROLE %s, or remove it from readers. Names are case-sensitive. "+
				"If a resource creates the role, reference that resource in readers.", pgclient.Ident(p.absent[0])))
	case len(p.refused) > 0:
		return pgclient.Advise(
			fmt.Errorf("the login of the destination is not allowed to grant everything that readers of schema %q need. Nothing was changed", p.schema),
			"Make the login the owner of the schema and of the tables that it loads. Or ask an administrator to run:\n  "+
				strings.Join(readerStatements("GRANT", p.schema, p.refused), ";\n  ")+";")
	}
	return nil
}

func roleTexts(names []string) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = roleText(name)
	}
	return strings.Join(texts, ", ")
}

// tables returns the names of those loaded tables whose privileges change.
func (p readersPlan) tables(loaded []string) []string {
	var names []string
	for _, r := range slices.Concat(p.grant, p.revoke) {
		if r.Kind == "TABLE" && slices.Contains(loaded, r.Name) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p readersPlan) statements() []string {
	statements := readerStatements("REVOKE", p.schema, p.revoke)
	for _, r := range p.columns {
		statements = append(statements, r.statement(p.schema))
	}
	return append(statements, readerStatements("GRANT", p.schema, p.grant)...)
}

// tablesPerGrant bounds the length of a statement.
const tablesPerGrant = 500

// readerStatements returns the statements that change privileges, reader by reader. Default
// privileges are those of the role that the session acts as.
func readerStatements(change, schema string, rights []readerRight) []string {
	preposition := " TO "
	if change == "REVOKE" {
		preposition = " FROM "
	}
	var statements, tables []string
	for i, r := range rights {
		reader := preposition + pgclient.Ident(r.Reader)
		switch r.Kind {
		case "SCHEMA":
			statements = append(statements, change+" USAGE ON SCHEMA "+pgclient.Ident(schema)+reader)
		case "DEFAULT":
			statements = append(statements, "ALTER DEFAULT PRIVILEGES IN SCHEMA "+pgclient.Ident(schema)+" "+change+" SELECT ON TABLES"+reader)
		case "TABLE":
			tables = append(tables, relation.TableName{Schema: schema, Name: r.Name}.SQL())
		}
		last := i+1 == len(rights) || rights[i+1].Reader != r.Reader
		if len(tables) == tablesPerGrant || last && len(tables) > 0 {
			statements = append(statements, change+" SELECT ON TABLE "+strings.Join(tables, ", ")+reader)
			tables = nil
		}
	}
	return statements
}
