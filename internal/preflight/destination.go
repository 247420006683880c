package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// ownedSQL finds whether runs may load into each of the schemas that exist, the catalog among
// them. Runs act as the owner of the catalog, if the login may, and alter the tables that they
// loaded, which they recognise by the system columns.
const ownedSQL = `
	WITH actor AS (
		SELECT r.oid
		FROM pg_catalog.pg_roles AS r
		WHERE r.rolname = coalesce(
			(SELECT pg_catalog.pg_get_userbyid(n.nspowner)
			 FROM pg_catalog.pg_namespace AS n
			 WHERE n.nspname = '_stitch' AND pg_catalog.pg_has_role(n.nspowner, 'MEMBER')),
			current_user)
	)
	SELECT n.nspname, pg_catalog.pg_get_userbyid(n.nspowner),
		pg_catalog.pg_has_role(actor.oid, n.nspowner, 'USAGE'),
		pg_catalog.pg_get_userbyid(n.nspowner)::pg_catalog.text LIKE 'pg\_%' OR EXISTS (
			SELECT
			FROM pg_catalog.pg_roles AS r
			WHERE (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls)
				AND pg_catalog.pg_has_role(n.nspowner, r.oid, 'MEMBER')),
		coalesce(t.names, '{}')
	FROM pg_catalog.pg_namespace AS n
	CROSS JOIN actor
	CROSS JOIN LATERAL (
		SELECT pg_catalog.array_agg(c.relname::pg_catalog.text ORDER BY c.relname)
		FROM pg_catalog.pg_class AS c
		WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
			AND NOT pg_catalog.pg_has_role(actor.oid, c.relowner, 'USAGE')
			AND EXISTS (SELECT 1 FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = '_sdc_table_version')
	) AS t (names)
	WHERE n.nspname = ANY ($1::pg_catalog.text[])
	ORDER BY n.nspname`

// An ownedSchema is a row of ownedSQL.
type ownedSchema struct {
	Name    string
	Owner   string
	Owned   bool
	Admin   bool     // the owner is, or may act as, a role that is too powerful to grant membership in for this purpose
	Foreign []string // loaded tables that belong to other roles
}

// checkDestination checks what loading takes.
func checkDestination(ctx context.Context, tx pgx.Tx, check ConnectionCheck, found *Connection) error {
	lacked, err := privilege.LoadLacks(ctx, tx)
	if err != nil {
		return err
	}
	rows, _ := tx.Query(ctx, ownedSQL, append(slices.Clone(check.Schemas), "_stitch"))
	owned, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ownedSchema])
	if err != nil {
		return err
	}
	found.decideDestination(check, lacked, owned)
	return nil
}

// The reasons are those of Stitch's documents, and this engine's own for TEMPORARY and for
// tables that exist.
func (c *Connection) decideDestination(check ConnectionCheck, lacked []privilege.Right, owned []ownedSchema) {
	user := pgclient.Ident(c.Facts.Username)
	for _, p := range []struct{ privilege, reason string }{
		{"CONNECT", "To connect to the database."},
		{"CREATE", "To create the schemas that runs load into. CREATE on a schema is not enough: it does not allow the login to create schemas."},
		{"TEMPORARY", "To compare a load with the rows that are already there, in a temporary table."},
	} {
		c.Privileges = append(c.Privileges, Privilege{
			Privilege: p.privilege, Object: "DATABASE " + pgclient.QuoteName(check.Database), Reason: p.reason,
			Held:   !slices.ContainsFunc(lacked, func(r privilege.Right) bool { return r.Kind == "DATABASE" && r.Privilege == p.privilege }),
			remedy: "GRANT " + p.privilege + " ON DATABASE " + pgclient.Ident(check.Database) + " TO " + user,
		})
	}
	for _, schema := range []string{"information_schema", "pg_catalog"} {
		c.Privileges = append(c.Privileges, systemCatalogs(schema, lacked, user))
	}
	for _, s := range owned {
		c.Privileges = append(c.Privileges, ownership(s, user))
	}
}

func systemCatalogs(schema string, lacked []privilege.Right, user string) Privilege {
	p := Privilege{
		Privilege: "SELECT", Object: "SYSTEM CATALOGS IN SCHEMA " + schema, Held: true,
		Reason: "To see which schemas and tables exist, and their structure, before loading. Every role has this right by default.",
		spared: schema == "information_schema", // this engine does not read it
	}
	var names, remedies []string
	for _, r := range lacked {
		switch {
		case r.Kind == "SCHEMA" && r.Name == schema:
			remedies = append(remedies, "GRANT USAGE ON SCHEMA "+schema+" TO "+user)
		case r.Schema == schema:
			names = append(names, r.Name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		relations := make([]string, len(names))
		for i, name := range names {
			relations[i] = relation.TableName{Schema: schema, Name: name}.SQL()
		}
		remedies = append(remedies, "GRANT SELECT ON TABLE "+strings.Join(relations, ", ")+" TO "+user)
		p.missing = "not on " + listSome(names)
	}
	p.Held = len(remedies) == 0
	p.remedy = strings.Join(remedies, ";\n  ")
	return p
}

func ownership(s ownedSchema, user string) Privilege {
	p := Privilege{
		Privilege: "OWNERSHIP", Object: "SCHEMA " + pgclient.QuoteName(s.Name), Held: s.Owned && len(s.Foreign) == 0,
		Reason: "To alter the loaded tables and to comment on them: this requires the privileges of their owner.",
		remedy: "GRANT " + pgclient.Ident(s.Owner) + " TO " + user,
	}
	switch {
	case !s.Owned && s.Admin && s.Name == "_stitch":
		p.missing = fmt.Sprintf("it belongs to %q, a role that should have no other members: use a server entry that logs in as that role. "+
			"If this provider did not create the schema, ask its owner to rename it: ALTER SCHEMA \"_stitch\" RENAME TO \"_stitch_old\"", s.Owner)
		p.remedy = ""
	case !s.Owned && s.Admin:
		p.missing = fmt.Sprintf("it belongs to %q", s.Owner)
		p.remedy = ownershipTo(s, user)
	case !s.Owned:
		p.missing = fmt.Sprintf("it belongs to %q", s.Owner)
	case len(s.Foreign) > 0:
		p.missing = "other roles own tables in it: " + listSome(s.Foreign)
		p.remedy = "" // the owners to join are those of the tables, and are not known here
	}
	return p
}

// ownershipTo gives a schema and the loaded tables in it to user: membership in their owner
// would grant too much.
func ownershipTo(s ownedSchema, user string) string {
	statements := []string{"ALTER SCHEMA " + pgclient.Ident(s.Name) + " OWNER TO " + user}
	for _, table := range s.Foreign {
		statements = append(statements, "ALTER TABLE "+relation.TableName{Schema: s.Name, Name: table}.SQL()+" OWNER TO "+user)
	}
	return strings.Join(statements, ";\n  ")
}
