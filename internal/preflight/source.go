package preflight

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// namedAtMost is the maximum number of tables that a message names.
const namedAtMost = 20

// hiddenSQL lists the tables of schemas of which the login does not see all rows.
const hiddenSQL = `
	SELECT n.nspname, c.relname
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	WHERE n.nspname = ANY ($1::pg_catalog.text[]) AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid)
	ORDER BY n.nspname, c.relname`

// checkedTablesSQL finds whether each table may be read, and whether an index orders its rows by
// the replication key. Before PostgreSQL 11, a partitioned table has no index of its own, so its
// partitions are checked. A relation that cannot have an index, such as a view, needs none here.
const checkedTablesSQL = `
	WITH RECURSIVE wanted AS (
		SELECT w.schema, w.name, w.key, c.oid, c.relkind, c.relrowsecurity
		FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[])) AS w (schema, name, key)
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
		LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	), part AS (
		SELECT w.oid AS root, w.oid, w.relkind, w.key
		FROM wanted AS w
		WHERE w.key <> ''
		UNION
		SELECT p.root, c.oid, c.relkind, p.key
		FROM part AS p
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.oid
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
	)
	SELECT w.schema, w.name, coalesce(w.relkind::pg_catalog.text, ''),
		coalesce(pg_catalog.has_table_privilege(w.oid, 'SELECT'), false),
		coalesce(w.relrowsecurity AND pg_catalog.row_security_active(w.oid), false),
		w.key = '' OR EXISTS (
			SELECT 1 FROM pg_catalog.pg_attribute AS a
			WHERE a.attrelid = w.oid AND a.attname = w.key AND a.attnum > 0 AND NOT a.attisdropped
		),
		NOT EXISTS (
			SELECT 1
			FROM part AS p
			JOIN pg_catalog.pg_attribute AS a ON a.attrelid = p.oid AND a.attname = p.key AND NOT a.attisdropped
			WHERE p.root = w.oid AND p.relkind IN ('r', 'm')
			  AND NOT EXISTS (
				SELECT 1
				FROM pg_catalog.pg_index AS i
				JOIN pg_catalog.pg_opclass AS o ON o.oid = i.indclass[0]
				WHERE i.indrelid = p.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND i.indpred IS NULL AND o.opcdefault
				  AND pg_catalog.pg_index_column_has_property(i.indexrelid, 1, 'orderable')
			)
		)
	FROM wanted AS w
	ORDER BY w.schema, w.name`

// A checkedTable is a row of checkedTablesSQL.
type checkedTable struct {
	Name        relation.TableName
	Kind        relation.RelationKind // "" if there is no relation of that name
	Readable    bool
	RowSecurity bool
	HasKey      bool
	Indexed     bool
}

// checkSource checks what reading takes.
func checkSource(ctx context.Context, tx pgx.Tx, check ConnectionCheck, found *Connection) error {
	login, err := privilege.ReadLogin(ctx, tx, check.Schemas)
	if err != nil {
		return err
	}
	tables, err := readCheckedTables(ctx, tx, check)
	if err != nil {
		return err
	}
	if len(check.Schemas) > 0 {
		rows, _ := tx.Query(ctx, hiddenSQL, check.Schemas)
		if found.RowSecurity, err = pgx.CollectRows(rows, pgx.RowToStructByPos[relation.TableName]); err != nil {
			return err
		}
	}
	found.decideSource(check, login, tables)
	return nil
}

// schemaNames returns the schemas to read from, sorted.
func (c ConnectionCheck) schemaNames() []string {
	names := slices.Clone(c.Schemas)
	for table := range c.Tables {
		names = append(names, table.Schema)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func readCheckedTables(ctx context.Context, tx pgx.Tx, check ConnectionCheck) ([]checkedTable, error) {
	names := check.tableNames()
	if len(names) == 0 {
		return nil, nil
	}
	var schemas, tables, keys []string
	for _, name := range names {
		schemas, tables, keys = append(schemas, name.Schema), append(tables, name.Name), append(keys, check.Tables[name])
	}
	rows, _ := tx.Query(ctx, checkedTablesSQL, schemas, tables, keys)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t checkedTable, err error) {
		err = row.Scan(&t.Name.Schema, &t.Name.Name, &t.Kind, &t.Readable, &t.RowSecurity, &t.HasKey, &t.Indexed)
		return t, err
	})
}

// decideSource lists what was found to be missing. The reasons are those of Stitch's documents,
// except where these leave them to the reader.
func (c *Connection) decideSource(check ConnectionCheck, login privilege.Login, tables []checkedTable) {
	user := pgclient.Ident(c.Facts.Username)
	c.Privileges = append(c.Privileges, Privilege{
		Privilege: "CONNECT", Object: "DATABASE " + pgclient.QuoteName(check.Database), Held: login.Connects(),
		Reason: "To connect to the database.",
		remedy: "GRANT CONNECT ON DATABASE " + pgclient.Ident(check.Database) + " TO " + user,
	})
	for _, name := range check.schemaNames() {
		uses, exists := login.Uses(name)
		usage := Privilege{
			Privilege: "USAGE", Object: "SCHEMA " + pgclient.QuoteName(name), Held: uses,
			Reason: "To access the objects in the schema.",
			remedy: "GRANT USAGE ON SCHEMA " + pgclient.Ident(name) + " TO " + user,
		}
		if !exists {
			usage.missing, usage.remedy = "the schema does not exist", ""
		}
		c.Privileges = append(c.Privileges, usage)
		if slices.Contains(check.Schemas, name) {
			c.Privileges = append(c.Privileges, selectOnAll(login, name, user))
		}
	}
	for _, t := range tables {
		c.decideTable(check.Tables[t.Name], t, user)
	}
	// If the check names only tables, nothing but these tables is needed.
	for _, f := range login.FutureReads(check.Schemas) {
		c.Privileges = append(c.Privileges, Privilege{
			Privilege: "SELECT", Object: "FUTURE TABLES IN SCHEMA " + pgclient.QuoteName(f.Schema) + " OF " + pgclient.QuoteName(f.Creator), Held: f.Held,
			Reason: "To read the tables that this role will create in the schema (ALTER DEFAULT PRIVILEGES).",
			remedy: f.Remedy,
			spared: true,
		})
	}
	c.RowSecurity = slices.Compact(sortedTables(slices.Values(c.RowSecurity)))
}

// selectOnAll describes the relations that Unread counts.
func selectOnAll(login privilege.Login, schema, user string) Privilege {
	unread := login.Unread(schema)
	_, exists := login.Uses(schema)
	all := Privilege{
		Privilege: "SELECT", Object: "ALL TABLES IN SCHEMA " + pgclient.QuoteName(schema), Held: exists && len(unread) == 0,
		Reason: "To read the rows of the tables in the schema.",
		remedy: "GRANT SELECT ON ALL TABLES IN SCHEMA " + pgclient.Ident(schema) + " TO " + user,
	}
	switch {
	case !exists:
		all.missing, all.remedy = "the schema does not exist", ""
	case len(unread) > 0:
		all.missing = "not on " + listSome(unread)
	}
	return all
}

func (c *Connection) decideTable(key string, t checkedTable, user string) {
	held := Privilege{
		Privilege: "SELECT", Object: "TABLE " + t.Name.String(), Held: t.Readable,
		Reason: "To read the rows of the table.",
		remedy: "GRANT SELECT ON TABLE " + t.Name.SQL() + " TO " + user,
	}
	switch {
	case t.Kind == "":
		held.missing, held.remedy = "the table or view does not exist", ""
	case !t.HasKey:
		c.Advice = append(c.Advice, Advice{
			Summary: fmt.Sprintf("Table %s has no column %q", t.Name, key),
			Detail:  "The configuration names it as the replication key. Choose a column that shows which rows are new, and write its name exactly as PostgreSQL stores it.",
			Blocks:  true,
		})
	case key != "" && !t.Indexed:
		if c.NotIndexed == nil {
			c.NotIndexed = map[relation.TableName]string{}
		}
		c.NotIndexed[t.Name] = key
	}
	if t.RowSecurity {
		c.RowSecurity = append(c.RowSecurity, t.Name)
	}
	c.Privileges = append(c.Privileges, held)
}

func sortedTables(names iter.Seq[relation.TableName]) []relation.TableName {
	return slices.SortedFunc(names, func(a, b relation.TableName) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
}

// listSome lists a limited number of names.
func listSome(names []string) string {
	var parts []string
	for _, name := range names[:min(len(names), namedAtMost)] {
		parts = append(parts, pgclient.QuoteName(name))
	}
	text := strings.Join(parts, ", ")
	if more := len(names) - len(parts); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
