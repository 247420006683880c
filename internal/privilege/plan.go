package privilege

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// An actor is the role that a statement is run as: "" is the login. The login may have to become
// a member of the role first.
type actor struct {
	role string
	temporaryMembership
}

// actorFor returns the actor as which the login can do what a role can, if there is one.
func (p effectiveRole) actorFor(role uint32) (as actor, ok bool) {
	n := need{role: p.actual(role), become: true}
	as.role, ok = p.name(n.role), p.meets(n)
	if !ok {
		as.temporaryMembership, ok = p.membershipFor(n)
	}
	return as, ok
}

func (as actor) needsMembership() bool { return as.grant != "" }

// uses reports whether the role may use names in a schema.
func (a *access) uses(p effectiveRole, schema string) bool {
	return schema == "" || p.may("USAGE", "SCHEMA", a.schemas[schema])
}

// actors returns a function. It returns the actor as which the login can change the privileges
// that a role may change, on an object in a schema ("" for none), if there is one. It is called
// for each relation.
func (a *access) actors() func(role uint32, schema string) (as actor, ok bool) {
	type question struct {
		role   uint32
		schema string
	}
	type answer struct {
		as actor
		ok bool
	}
	known, login := map[question]answer{}, a.effective(a.login)
	return func(role uint32, schema string) (actor, bool) {
		q := question{role, schema}
		found, ok := known[q]
		if !ok {
			found.as, found.ok = login.actorFor(role)
			found.ok = found.ok && a.uses(a.effective(a.actual(role)), schema)
			known[q] = found
		}
		return found.as, found.ok
	}
}

// acting runs statements as the actor. A membership that this takes is revoked in the same
// transaction, so no other session ever sees it.
func (as actor) acting(statements []string) []string {
	if as.role == "" {
		return statements
	}
	sql := slices.Concat([]string{"SET LOCAL ROLE " + pgclient.Ident(as.role)}, statements, []string{"RESET ROLE"})
	if as.needsMembership() {
		sql = slices.Concat([]string{as.grant}, sql, []string{as.revoke})
	}
	return sql
}

// A grouping sorts privileges by the role that must change them.
type grouping map[actor][]Right

func (g grouping) add(as actor, r Right) { g[as] = append(g[as], r) }

// statements returns the SQL for all of them: change writes the statement for privileges on
// objects.
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

// A rightsPlan is the SQL that changes privileges, and the SQL that the change would need but
// this login may not run.
type rightsPlan struct{ sql, refused []string }

func (p rightsPlan) and(others ...rightsPlan) rightsPlan {
	for _, other := range others {
		p.sql, p.refused = append(p.sql, other.sql...), append(p.refused, other.refused...)
	}
	return p
}

// planGrants plans to grant the privileges of a scope that the user was not granted. What this
// login may not grant is refused, unless the user has it anyway, as PUBLIC has USAGE on the
// schema public by default.
func (a *access) planGrants(user effectiveRole, sc scope) (rightsPlan, error) {
	if items := a.absent(sc); len(items) > 0 {
		return rightsPlan{}, fmt.Errorf("these do not exist: %s; create them first, or remove them from the configuration (names are case-sensitive)", strings.Join(items, ", "))
	}
	grant, refused, login, acting := grouping{}, grouping{}, a.effective(a.login), a.actors()
	for _, r := range a.rights(sc, func(privilege, _ string, on object) bool { return !on.grantedTo(user.oid, privilege) }) {
		as, ok := acting(r.owner, r.Schema)
		switch has := user.may(r.Privilege, r.Kind, r.object); {
		case login.holds(r.owner) && a.uses(login, r.Schema):
			grant.add(actor{}, r.Right)
		case ok && !as.needsMembership(): // as the owner, rather than by a grant option of this login
			grant.add(as, r.Right)
		case login.mayGrant(r.Privilege, r.object) && a.uses(login, r.Schema):
			grant.add(actor{}, r.Right)
		case ok && !has:
			grant.add(as, r.Right)
		case !has:
			refused.add(actor{}, r.Right)
		}
	}
	change := func(on string) string { return "GRANT " + on + " TO " + pgclient.Ident(sc.user) }
	plan := rightsPlan{sql: grant.statements(a.databaseName, change), refused: refused.statements(a.databaseName, change)}
	return plan.and(a.planDefaultGrants(user, sc.future)), nil
}

// planRevokes plans to revoke the privileges of a scope or, if option is set, the grant options
// on them. PostgreSQL chooses the role that a REVOKE acts as, and a REVOKE that finds no grant
// of that grantor is no error. So if a privilege is left after an attempt, the next attempt
// revokes it as its grantor, and the one after that refuses.
func (a *access) planRevokes(user effectiveRole, sc scope, option bool, attempt int) rightsPlan {
	revoke, refused, login, acting := grouping{}, grouping{}, a.effective(a.login), a.actors()
	match := func(privilege, _ string, on object) bool { return len(on.grantors(user, privilege, option)) > 0 }
	for _, r := range a.rights(sc, match) {
		for _, grantor := range r.grantors(user, r.Privilege, option) {
			as, ok := acting(grantor, r.Schema)
			switch plain := a.uses(login, r.Schema) && (grantor == a.login || grantor == r.owner && login.holds(grantor)); {
			case plain && attempt == 1:
				revoke.add(actor{}, r.Right)
			case ok && attempt <= 2:
				revoke.add(as, r.Right)
			default:
				refused.add(actor{role: as.role}, r.Right)
			}
		}
	}
	prefix := "REVOKE "
	if option {
		prefix = "REVOKE GRANT OPTION FOR "
	}
	change := func(on string) string { return prefix + on + " FROM " + pgclient.Ident(sc.user) }
	plan := rightsPlan{sql: revoke.statements(a.databaseName, change), refused: refused.statements(a.databaseName, change)}
	for i, sql := range plan.refused { // these run outside our transaction
		plan.refused[i] = strings.Replace(sql, "SET LOCAL ROLE ", "SET ROLE ", 1)
	}
	return plan.and(a.planDefaultRevokes(user, sc.futureAlone(), option))
}

// relationsPerGrant bounds the length of one GRANT or REVOKE.
const relationsPerGrant = 500

// objectLists renders privileges as "privilege ON objects", in as few lists as possible. One
// statement acts as one grantor, which may not have all privileges on a database.
func objectLists(database string, rights []Right) []string {
	var lists, schemas, relations []string
	columns := map[relation.TableName][]string{}
	for _, r := range rights {
		switch {
		case r.Kind == "DATABASE":
			lists = append(lists, r.Privilege+" ON DATABASE "+pgclient.Ident(database))
		case r.Kind == "SCHEMA":
			schemas = append(schemas, r.Name)
		case r.Column != "":
			table := relation.TableName{Schema: r.Schema, Name: r.Name}
			columns[table] = append(columns[table], r.Column)
		default:
			relations = append(relations, relation.TableName{Schema: r.Schema, Name: r.Name}.SQL())
		}
	}
	if len(schemas) > 0 {
		lists = append(lists, "USAGE ON SCHEMA "+pgclient.Idents(schemas))
	}
	slices.Sort(relations)
	for chunk := range slices.Chunk(relations, relationsPerGrant) {
		lists = append(lists, "SELECT ON TABLE "+strings.Join(chunk, ", "))
	}
	for _, table := range slices.SortedFunc(maps.Keys(columns), relation.TableName.Compare) {
		lists = append(lists, "SELECT ("+pgclient.Idents(columns[table])+") ON TABLE "+table.SQL())
	}
	return lists
}
