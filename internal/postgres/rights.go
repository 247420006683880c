package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A scope says which rights of a user are meant.
type scope struct {
	user     string
	database []string    // privileges on the database itself
	schemas  []string    // USAGE on these schemas
	whole    []string    // SELECT on all relations of these schemas, but those of extensions
	tables   []TableName // and on these
	except   []TableName // but not on these
}

// reads returns the schemas whose relations matter to a scope.
func (sc scope) reads() []string {
	schemas := slices.Clone(sc.whole)
	for _, t := range sc.tables {
		schemas = append(schemas, t.Schema)
	}
	slices.Sort(schemas)
	return slices.Compact(schemas)
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

// A rightOn is a right, and what the object is like that it is on.
type rightOn struct {
	right
	object
}

// rights returns those of a scope that match. Nothing but the privilege and what
// the object is like may matter to match: it is not asked for each relation.
func (a *access) rights(sc scope, match func(privilege, kind string, on object) bool) []rightOn {
	var all []rightOn
	add := func(r right, on object) {
		if match(r.Privilege, r.Kind, on) {
			all = append(all, rightOn{r, on})
		}
	}
	for _, privilege := range sc.database {
		add(right{privilege, "DATABASE", "", a.databaseName}, a.database)
	}
	for _, name := range sc.schemas {
		if schema, ok := a.schemas[name]; ok {
			add(right{"USAGE", "SCHEMA", "", name}, schema)
		}
	}
	for _, schema := range sc.reads() {
		for _, alike := range a.relations[schema] {
			if !match("SELECT", alike.kind, alike.object) {
				continue
			}
			for _, name := range sc.among(schema, alike) {
				all = append(all, rightOn{right{"SELECT", alike.kind, schema, name}, alike.object})
			}
		}
	}
	return all
}

// among returns the names of those of the relations of a schema that are meant.
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
	if len(sc.except) == 0 {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.Contains(sc.except, TableName{schema, name})
	})
}

// absent returns the schemas and tables that a scope names and that do not exist.
func (a *access) absent(sc scope) []string {
	var items []string
	for _, name := range sc.schemas {
		if _, ok := a.schemas[name]; !ok {
			items = append(items, "SCHEMA "+quotePart(name))
		}
	}
	for _, t := range sc.tables {
		if !slices.ContainsFunc(a.relations[t.Schema], func(alike relations) bool {
			_, found := slices.BinarySearch(alike.names, t.Name)
			return found
		}) {
			items = append(items, "TABLE "+t.String())
		}
	}
	slices.Sort(items)
	return items
}

// missing returns what a scope means and the user cannot do, in whatever way it
// might have been allowed to, and what does not exist.
func (a *access) missing(user person, sc scope) []string {
	var items []string
	for _, item := range a.absent(sc) {
		items = append(items, item+" does not exist")
	}
	for _, r := range a.rights(sc, func(privilege, kind string, on object) bool { return !user.may(privilege, kind, on) }) {
		items = append(items, r.String())
	}
	return items
}

// excess returns the rights of a scope that the user may pass on, which nobody
// who lets it read or load means.
func (a *access) excess(user person, sc scope) []string {
	var items []string
	for _, r := range a.rights(sc, func(privilege, _ string, on object) bool { return len(on.grantors(user, privilege, true)) > 0 }) {
		items = append(items, r.String()+" WITH GRANT OPTION")
	}
	return items
}

// grantors returns who granted a privilege to the user, or the option to grant
// it to others. What belongs to the user is none of our grants.
func (o object) grantors(user person, privilege string, option bool) []uint32 {
	var grantors []uint32
	for _, e := range o.acl {
		if e.grantee == user.oid && e.privilege == privilege && (e.grantable || !option) && o.owner != user.oid {
			grantors = append(grantors, e.grantor)
		}
	}
	return grantors
}

// An actor is the role that a statement is run as: "" is the login, which may
// have to become a member of it for that.
type actor struct {
	role string
	joining
}

// actorFor returns as whom the login can do what a role can, if at all.
func (p person) actorFor(role uint32) (as actor, ok bool) {
	n := need{role: p.actual(role), become: true}
	as.role, ok = p.name(n.role), p.meets(n)
	if !ok {
		as.joining, ok = p.joining(n)
	}
	return as, ok
}

func (as actor) mustJoin() bool { return as.take != "" }

// uses reports whether the person may name what is in a schema.
func (a *access) uses(p person, schema string) bool {
	return schema == "" || p.may("USAGE", "SCHEMA", a.schemas[schema])
}

// actors returns a function that tells as whom the login can change rights that
// are a role's to change, on something in a schema ("" for none), if at all. It
// is asked for each relation.
func (a *access) actors() func(role uint32, schema string) (as actor, ok bool) {
	type question struct {
		role   uint32
		schema string
	}
	type answer struct {
		as actor
		ok bool
	}
	known, login := map[question]answer{}, a.person(a.login)
	return func(role uint32, schema string) (actor, bool) {
		q := question{role, schema}
		found, ok := known[q]
		if !ok {
			found.as, found.ok = login.actorFor(role)
			found.ok = found.ok && a.uses(a.person(a.actual(role)), schema)
			known[q] = found
		}
		return found.as, found.ok
	}
}

// acting runs statements as somebody else. The membership that it may take is
// given back in the same transaction, so nobody else ever sees it.
func (as actor) acting(statements []string) []string {
	if as.role == "" {
		return statements
	}
	sql := slices.Concat([]string{"SET LOCAL ROLE " + Ident(as.role)}, statements, []string{"RESET ROLE"})
	if as.mustJoin() {
		sql = slices.Concat([]string{as.take}, sql, []string{as.giveBack})
	}
	return sql
}

// A grouping sorts rights by who is to change them.
type grouping map[actor][]right

func (g grouping) add(as actor, r right) { g[as] = append(g[as], r) }

// statements returns the SQL for all of them: change says what is done to
// privileges on objects.
func (g grouping) statements(database string, change func(on string) string) []string {
	var sql []string
	actors := slices.SortedFunc(maps.Keys(g), func(a, b actor) int { return strings.Compare(a.role, b.role) })
	for _, as := range actors {
		var changes []string
		for _, on := range objectLists(database, g[as]) {
			changes = append(changes, change(on))
		}
		sql = append(sql, as.acting(changes)...)
	}
	return sql
}

// A rightsPlan is the SQL that a change of rights takes, and the SQL that it
// would take but this login may not run.
type rightsPlan struct{ sql, refused []string }

func (p rightsPlan) and(others ...rightsPlan) rightsPlan {
	for _, other := range others {
		p.sql, p.refused = append(p.sql, other.sql...), append(p.refused, other.refused...)
	}
	return p
}

// planGrants plans to grant what a scope means and the user was not granted. What
// this login may not grant is refused, unless the user has it anyway, as everybody
// may use the schema public by default.
func (a *access) planGrants(user person, sc scope) (rightsPlan, error) {
	if items := a.absent(sc); len(items) > 0 {
		return rightsPlan{}, fmt.Errorf("these do not exist: %s; create them first, or take them out of the configuration (names are case-sensitive)", strings.Join(items, ", "))
	}
	grant, refused, login, acting := grouping{}, grouping{}, a.person(a.login), a.actors()
	for _, r := range a.rights(sc, func(privilege, _ string, on object) bool { return !on.grantedTo(user.oid, privilege) }) {
		as, ok := acting(r.owner, r.Schema)
		switch has := user.may(r.Privilege, r.Kind, r.object); {
		case login.mayGrant(r.Privilege, r.object) && a.uses(login, r.Schema):
			grant.add(actor{}, r.right)
		case ok && (!has || !as.mustJoin()):
			grant.add(as, r.right)
		case !has:
			refused.add(actor{}, r.right)
		}
	}
	change := func(on string) string { return "GRANT " + on + " TO " + Ident(sc.user) }
	database := a.databaseName
	return rightsPlan{sql: grant.statements(database, change), refused: refused.statements(database, change)}, nil
}

// planRevokes plans to take back what a scope means or, if option is set, that
// the user may pass it on. PostgreSQL picks the role that a REVOKE acts as, and
// finding nothing of that grantor's is no error. So what an attempt has left is
// tried again as its grantor, and then refused.
func (a *access) planRevokes(user person, sc scope, option bool, attempt int) rightsPlan {
	revoke, refused, login, acting := grouping{}, grouping{}, a.person(a.login), a.actors()
	match := func(privilege, _ string, on object) bool { return len(on.grantors(user, privilege, option)) > 0 }
	for _, r := range a.rights(sc, match) {
		for _, grantor := range r.grantors(user, r.Privilege, option) {
			as, ok := acting(grantor, r.Schema)
			switch plain := a.uses(login, r.Schema) && (grantor == a.login || grantor == r.owner && login.holds(grantor)); {
			case plain && attempt == 1:
				revoke.add(actor{}, r.right)
			case ok && attempt <= 2:
				revoke.add(as, r.right)
			default:
				refused.add(actor{role: as.role}, r.right)
			}
		}
	}
	prefix := "REVOKE "
	if option {
		prefix = "REVOKE GRANT OPTION FOR "
	}
	change := func(on string) string { return prefix + on + " FROM " + Ident(sc.user) }
	plan := rightsPlan{sql: revoke.statements(a.databaseName, change), refused: refused.statements(a.databaseName, change)}
	for i, sql := range plan.refused { // not within our transaction
		plan.refused[i] = strings.Replace(sql, "SET LOCAL ROLE ", "SET ROLE ", 1)
	}
	return plan
}

// relationsPerGrant bounds the length of one GRANT or REVOKE.
const relationsPerGrant = 500

// objectLists renders rights as "privilege ON objects", as few as possible. One
// statement acts as one grantor, which may not have all privileges on a database.
func objectLists(database string, rights []right) []string {
	var lists, schemas, relations []string
	for _, r := range rights {
		switch r.Kind {
		case "DATABASE":
			lists = append(lists, r.Privilege+" ON DATABASE "+Ident(database))
		case "SCHEMA":
			schemas = append(schemas, r.Name)
		default:
			relations = append(relations, TableName{r.Schema, r.Name}.SQL())
		}
	}
	if len(schemas) > 0 {
		lists = append(lists, "USAGE ON SCHEMA "+idents(schemas))
	}
	slices.Sort(relations)
	for chunk := range slices.Chunk(relations, relationsPerGrant) {
		lists = append(lists, "SELECT ON TABLE "+strings.Join(chunk, ", "))
	}
	return lists
}

// readSchemas returns the schemas of which the user was granted SELECT on something.
func (a *access) readSchemas(user person) []string {
	var schemas []string
	for name, all := range a.relations {
		if isSystemSchema(name) {
			continue
		}
		if slices.ContainsFunc(all, func(alike relations) bool { return len(alike.grantors(user, "SELECT", false)) > 0 }) {
			schemas = append(schemas, name)
		}
	}
	slices.Sort(schemas)
	return schemas
}

// usedSchemas returns the schemas that the user was granted USAGE on.
func (a *access) usedSchemas(user person) []string {
	var schemas []string
	for name, schema := range a.schemas {
		if !isSystemSchema(name) && len(schema.grantors(user, "USAGE", false)) > 0 {
			schemas = append(schemas, name)
		}
	}
	slices.Sort(schemas)
	return schemas
}

// needsConnect reports whether grants to the user in the database would be of no
// use without CONNECT.
func (a *access) needsConnect(user person) bool {
	return len(a.readSchemas(user)) > 0 || len(a.usedSchemas(user)) > 0 ||
		a.database.grantedTo(user.oid, "CREATE") || a.database.grantedTo(user.oid, "TEMPORARY")
}

func isSystemSchema(name string) bool {
	return name == "information_schema" || strings.HasPrefix(name, "pg_")
}
