package privilege

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// TableColumns are some columns of one table, view or similar relation.
type TableColumns struct {
	Table   relation.TableName
	Columns []string
}

// columnsOf returns the listed columns of a table.
func columnsOf(all []TableColumns, t relation.TableName) []string {
	for _, c := range all {
		if c.Table == t {
			return c.Columns
		}
	}
	return nil
}

// columnFactsSQL reads the columns of some relations, and the partitions and children of these:
// reading those directly would show all of their columns.
const columnFactsSQL = `
	WITH RECURSIVE below AS (
		SELECT c.oid, n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name
		FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS named (schema, name)
		JOIN pg_catalog.pg_namespace AS n ON n.nspname::pg_catalog.text = named.schema
		JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname::pg_catalog.text = named.name
		UNION
		SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
		FROM below
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = below.oid
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	)
	SELECT below.schema, below.name, ARRAY(
		SELECT a.attname::pg_catalog.text
		FROM pg_catalog.pg_attribute AS a
		WHERE a.attrelid = below.oid AND a.attnum > 0 AND NOT a.attisdropped
	)
	FROM below`

// withColumnFacts adds to a scope the facts about its columns that only the server knows: the
// columns that do not exist, and the relations of which the user must read nothing but columns.
func (sc scope) withColumnFacts(ctx context.Context, tx pgx.Tx) (scope, error) {
	if len(sc.columns) == 0 {
		return sc, nil
	}
	var schemas, names []string
	for _, c := range sc.columns {
		schemas, names = append(schemas, c.Table.Schema), append(names, c.Table.Name)
	}
	found := map[relation.TableName][]string{}
	rows, _ := tx.Query(ctx, columnFactsSQL, schemas, names)
	var table relation.TableName
	var columns []string
	_, err := pgx.ForEachRow(rows, []any{&table.Schema, &table.Name, &columns}, func() error {
		found[table], columns = columns, nil
		return nil
	})
	if err != nil {
		return scope{}, fmt.Errorf("read the columns of tables: %w", err)
	}
	return sc.knowing(found), nil
}

// knowing is withColumnFacts, given the columns of each relation that was found.
func (sc scope) knowing(found map[relation.TableName][]string) scope {
	for _, t := range slices.SortedFunc(maps.Keys(found), relation.TableName.Compare) {
		if !slices.Contains(sc.tables, t) {
			sc.hidden = append(sc.hidden, t)
		}
	}
	for _, c := range sc.columns {
		have, exists := found[c.Table]
		for _, name := range c.Columns {
			if exists && !slices.Contains(have, name) {
				sc.noColumns = append(sc.noColumns, "COLUMN "+pgclient.QuoteName(name)+" OF TABLE "+c.Table.String())
			}
		}
	}
	return sc
}

// A columnGrant is SELECT on one column that a role granted to the user.
type columnGrant struct {
	table     relation.TableName
	column    string
	grantor   uint32
	grantable bool
}

// columnGrants returns the grants to the user itself, outside PostgreSQL's own schemas.
func (a *access) columnGrants(user effectiveRole) []columnGrant {
	var all []columnGrant
	for _, table := range slices.SortedFunc(maps.Keys(a.columns), relation.TableName.Compare) {
		for _, column := range slices.Sorted(maps.Keys(a.columns[table])) {
			on := a.columns[table][column]
			for _, e := range on.acl {
				if e.grantee == user.oid && e.privilege == "SELECT" && on.owner != user.oid && !isSystemSchema(table.Schema) {
					all = append(all, columnGrant{table, column, e.grantor, e.grantable})
				}
			}
		}
	}
	return all
}

// planColumnGrants plans to restore earlier grants on columns that a scope does not name: when
// PostgreSQL revokes SELECT on a table, it also revokes SELECT on the table's columns.
func (a *access) planColumnGrants(user effectiveRole, sc scope, before []columnGrant) rightsPlan {
	after := a.columnGrants(user)
	plain, option, refused := grouping{}, grouping{}, grouping{}
	login, acting := a.effective(a.login), a.actors()
	for _, g := range before {
		if slices.Contains(after, g) || sc.means(g.table, g.column) {
			continue
		}
		relation, _ := a.relation(g.table)
		r := Right{Privilege: "SELECT", Kind: relation.kind, Schema: g.table.Schema, Name: g.table.Name, Column: g.column}
		as, ok := acting(g.grantor, g.table.Schema)
		to := plain
		if g.grantable {
			to = option
		}
		switch {
		case a.uses(login, g.table.Schema) && (g.grantor == a.login || g.grantor == relation.owner && login.holds(g.grantor)):
			to.add(actor{}, r)
		case ok:
			to.add(as, r)
		default:
			refused.add(actor{}, r)
		}
	}
	grant := func(on string) string { return "GRANT " + on + " TO " + pgclient.Ident(sc.user) }
	withOption := func(on string) string { return grant(on) + " WITH GRANT OPTION" }
	return rightsPlan{
		sql:     slices.Concat(plain.statements(a.databaseName, grant), option.statements(a.databaseName, withOption)),
		refused: refused.statements(a.databaseName, grant),
	}
}

// passedOn returns which privileges of a scope, and on columns of its tables, the user has
// granted to others, and the SQL that revokes them.
func (a *access) passedOn(user effectiveRole, sc scope) (items, sql []string) {
	add := func(r Right, acl []aclEntry) {
		for _, e := range acl {
			if e.grantor != user.oid || e.privilege != r.Privilege || e.grantee == user.oid {
				continue
			}
			grantee, to := "PUBLIC", "PUBLIC"
			if e.grantee != publicOID {
				grantee, to = a.name(e.grantee), pgclient.Ident(a.name(e.grantee))
			}
			items = append(items, r.String()+" to "+grantee)
			sql = append(sql, "REVOKE "+strings.Join(objectLists(a.databaseName, []Right{r}), "")+" FROM "+to)
		}
	}
	for _, r := range a.rights(sc, func(string, string, object) bool { return true }) {
		if r.owner == user.oid {
			continue
		}
		add(r.Right, r.acl)
		if table := (relation.TableName{Schema: r.Schema, Name: r.Name}); r.Schema != "" && r.Column == "" {
			for _, column := range slices.Sorted(maps.Keys(a.columns[table])) {
				part := r.Right
				part.Column = column
				add(part, a.columns[table][column].acl)
			}
		}
	}
	return items, sql
}
