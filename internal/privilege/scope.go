package privilege

import (
	"slices"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A scope is a set of privileges of a user.
type scope struct {
	user      string
	database  []string             // privileges on the database itself
	schemas   []string             // USAGE on these schemas
	whole     []string             // SELECT on all relations of these schemas, except those of extensions
	tables    []relation.TableName // and on these
	except    []relation.TableName // but not on these
	columns   []TableColumns       // and on these columns
	hidden    []relation.TableName // relations of which only columns are meant, if any; see withColumnFacts
	noColumns []string             // entries of columns that do not exist
	future    []string             // SELECT on relations that are created in these schemas later

	resource     string  // the resource that grants these privileges; see claims
	othersClaims []scope // privileges that are left out, because others claim them
}

// reads returns the schemas whose relations matter to a scope.
func (sc scope) reads() []string {
	schemas := slices.Clone(sc.whole)
	for _, t := range slices.Concat(sc.tables, sc.hidden) {
		schemas = append(schemas, t.Schema)
	}
	for _, c := range sc.columns {
		schemas = append(schemas, c.Table.Schema)
	}
	slices.Sort(schemas)
	return slices.Compact(schemas)
}

// A Right is one privilege on one object.
type Right struct {
	Privilege string
	Kind      string // DATABASE, SCHEMA, TABLE, VIEW, MATERIALIZED VIEW or FOREIGN TABLE
	Schema    string // of a relation
	Name      string
	Column    string // if the privilege is on a column
}

// String describes a privilege for people: "SELECT ON VIEW public.open_orders".
func (r Right) String() string {
	name, privilege := pgclient.QuoteName(r.Name), r.Privilege
	if r.Schema != "" {
		name = relation.TableName{Schema: r.Schema, Name: r.Name}.String()
	}
	if r.Column != "" {
		privilege += " (" + pgclient.QuoteName(r.Column) + ")"
	}
	return privilege + " ON " + r.Kind + " " + name
}

// A rightOn is a right, and the access control of the object that it is on.
type rightOn struct {
	Right
	object
}

// rights returns the rights of a scope that match. match must depend on nothing but the
// privilege and the object's access control: it is called once for relations that are alike.
func (a *access) rights(sc scope, match func(privilege, kind string, on object) bool) []rightOn {
	var all []rightOn
	add := func(r Right, on object) {
		if match(r.Privilege, r.Kind, on) && !sc.isClaimedByOthers(r) {
			all = append(all, rightOn{r, on})
		}
	}
	for _, privilege := range sc.database {
		add(Right{Privilege: privilege, Kind: "DATABASE", Name: a.databaseName}, a.database)
	}
	for _, name := range sc.schemas {
		if schema, ok := a.schemas[name]; ok {
			add(Right{Privilege: "USAGE", Kind: "SCHEMA", Name: name}, schema)
		}
	}
	for _, schema := range sc.reads() {
		for _, alike := range a.relations[schema] {
			if !match("SELECT", alike.kind, alike.object) {
				continue
			}
			for _, name := range sc.among(schema, alike) {
				all = append(all, rightOn{Right{Privilege: "SELECT", Kind: alike.kind, Schema: schema, Name: name}, alike.object})
			}
		}
	}
	for _, c := range sc.columns {
		relation, _ := a.relation(c.Table)
		for _, name := range c.Columns {
			on := object{owner: relation.owner, acl: a.columns[c.Table][name].acl, wider: relation.acl}
			add(Right{Privilege: "SELECT", Kind: relation.kind, Schema: c.Table.Schema, Name: c.Table.Name, Column: name}, on)
		}
	}
	return all
}

// relation returns the access control of a relation, and whether the relation exists.
func (a *access) relation(t relation.TableName) (alike relations, ok bool) {
	for _, alike := range a.relations[t.Schema] {
		if _, found := slices.BinarySearch(alike.names, t.Name); found {
			return alike, true
		}
	}
	return relations{}, false
}

// among returns the names of those of the relations of a schema that the scope covers.
func (sc scope) among(schema string, alike relations) []string {
	var names []string
	if slices.Contains(sc.whole, schema) && !alike.extension {
		names = alike.names
	} else {
		for _, t := range sc.tables {
			if _, found := slices.BinarySearch(alike.names, t.Name); found && t.Schema == schema {
				names = append(names, t.Name)
			}
		}
	}
	if not := slices.Concat(sc.except, sc.hidden); len(not) > 0 {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(not, relation.TableName{Schema: schema, Name: name}) })
	}
	for _, other := range sc.othersClaims {
		names = without(names, other.among(schema, alike))
	}
	return names
}

// isClaimedByOthers reports whether a right on the database, a schema or a column is left to
// others.
func (sc scope) isClaimedByOthers(r Right) bool {
	return slices.ContainsFunc(sc.othersClaims, func(other scope) bool {
		return r.Kind == "DATABASE" && slices.Contains(other.database, r.Privilege) ||
			r.Kind == "SCHEMA" && slices.Contains(other.schemas, r.Name) ||
			r.Column != "" && other.means(relation.TableName{Schema: r.Schema, Name: r.Name}, r.Column)
	})
}

// means reports whether a scope names a column.
func (sc scope) means(t relation.TableName, column string) bool {
	return slices.ContainsFunc(sc.columns, func(c TableColumns) bool { return c.Table == t && slices.Contains(c.Columns, column) })
}

// futureAlone returns the schemas whose future tables are not left to others.
func (sc scope) futureAlone() []string {
	schemas := sc.future
	for _, other := range sc.othersClaims {
		schemas = without(schemas, other.future)
	}
	return schemas
}

// without returns the names that are not among others.
func without(names, others []string) []string {
	if len(others) == 0 {
		return names
	}
	not := make(map[string]bool, len(others))
	for _, name := range others {
		not[name] = true
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return not[name] })
}

// absent returns the schemas, tables and columns that a scope names and that do not exist.
func (a *access) absent(sc scope) []string {
	items := slices.Clone(sc.noColumns)
	for _, name := range sc.schemas {
		if _, ok := a.schemas[name]; !ok {
			items = append(items, "SCHEMA "+pgclient.QuoteName(name))
		}
	}
	tables := slices.Clone(sc.tables)
	for _, c := range sc.columns {
		tables = append(tables, c.Table)
	}
	for _, t := range tables {
		if _, found := a.relation(t); !found {
			items = append(items, "TABLE "+t.String())
		}
	}
	slices.Sort(items)
	return items
}

// missing returns the privileges of a scope that the user lacks, in whatever way it might have
// had them, and what does not exist.
func (a *access) missing(user effectiveRole, sc scope) []string {
	var items []string
	for _, item := range a.absent(sc) {
		items = append(items, item+" does not exist")
	}
	for _, r := range a.rights(sc, func(privilege, kind string, on object) bool { return !user.may(privilege, kind, on) }) {
		items = append(items, r.String())
	}
	return append(items, a.missingDefaults(user, sc.future)...)
}

// excess returns the rights of a scope with the grant option, which is more than a user needs to
// read or load, and tables that the user may read whole although the scope covers only columns
// of them.
func (a *access) excess(user effectiveRole, sc scope) []string {
	var items []string
	for _, r := range a.rights(sc, func(privilege, _ string, on object) bool { return len(on.grantors(user, privilege, true)) > 0 }) {
		items = append(items, r.String()+" WITH GRANT OPTION")
	}
	whole := func(privilege, _ string, on object) bool { return len(on.grantors(user, privilege, false)) > 0 }
	for _, r := range a.rights(scope{tables: sc.hidden}, whole) {
		items = append(items, r.String())
	}
	for _, d := range a.granted(user, sc.future, true) {
		items = append(items, a.defaultText(d)+" WITH GRANT OPTION")
	}
	return items
}

// grantors returns the roles that granted a privilege, or the grant option on it, to the user.
// Objects that the user owns are skipped.
func (o object) grantors(user effectiveRole, privilege string, option bool) []uint32 {
	var grantors []uint32
	for _, e := range o.acl {
		if e.grantee == user.oid && e.privilege == privilege && (e.grantable || !option) && o.owner != user.oid {
			grantors = append(grantors, e.grantor)
		}
	}
	return grantors
}

// readSchemas returns the schemas in which the user was granted SELECT on a relation or column.
func (a *access) readSchemas(user effectiveRole) []string {
	var schemas []string
	for name, all := range a.relations {
		if isSystemSchema(name) {
			continue
		}
		if slices.ContainsFunc(all, func(alike relations) bool { return len(alike.grantors(user, "SELECT", false)) > 0 }) {
			schemas = append(schemas, name)
		}
	}
	for _, g := range a.columnGrants(user) {
		schemas = append(schemas, g.table.Schema)
	}
	slices.Sort(schemas)
	return slices.Compact(schemas)
}

// usedSchemas returns the schemas that the user was granted USAGE on.
func (a *access) usedSchemas(user effectiveRole) []string {
	var schemas []string
	for name, schema := range a.schemas {
		if !isSystemSchema(name) && len(schema.grantors(user, "USAGE", false)) > 0 {
			schemas = append(schemas, name)
		}
	}
	slices.Sort(schemas)
	return schemas
}

// needsConnect reports whether grants to the user in the database would be of no use without
// CONNECT.
func (a *access) needsConnect(user effectiveRole) bool {
	return len(a.readSchemas(user)) > 0 || len(a.usedSchemas(user)) > 0 ||
		a.database.grantedTo(user.oid, "CREATE") || a.database.grantedTo(user.oid, "TEMPORARY")
}

func isSystemSchema(name string) bool {
	return name == "information_schema" || strings.HasPrefix(name, "pg_")
}
