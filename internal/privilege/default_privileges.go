package privilege

import (
	"maps"
	"slices"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A defaultRight is SELECT on the tables that one role will create in one schema.
type defaultRight struct {
	schema  string
	creator uint32
	owns    bool // the creator owns relations in the schema already
}

// creators returns the roles whose future tables matter in some schemas: the owners of relations
// in them, and the owners of the schemas. This login is not included merely because it is the
// login: the next apply may use another one. Owners of an extension's relations only are not
// included: they will not create tables there.
func (a *access) creators(schemas []string) []defaultRight {
	var all []defaultRight
	for _, name := range slices.Sorted(slices.Values(schemas)) {
		schema, ok := a.schemas[name]
		if !ok {
			continue
		}
		owns := map[uint32]bool{a.actual(schema.owner): false}
		for _, alike := range a.relations[name] {
			if !alike.extension {
				owns[alike.owner] = true
			}
		}
		for _, creator := range slices.Sorted(maps.Keys(owns)) {
			if text := a.name(creator); text != "" && !strings.HasPrefix(text, "pg_") {
				all = append(all, defaultRight{name, creator, owns[creator]})
			}
		}
	}
	return all
}

// wanted returns the default privileges that grants to a user consist of: for the roles that own
// relations, and for the owners of the schemas as far as this login can act for them. The owner
// of a schema is left out if a managed server lets no login act for it, and it owns nothing in
// the schema.
func (a *access) wanted(user effectiveRole, schemas []string) []defaultRight {
	return slices.DeleteFunc(a.creators(schemas), func(d defaultRight) bool {
		_, able := a.altering(d.creator)
		return d.creator == user.oid || !d.owns && !able
	})
}

// defaultText describes a default privilege for people, as String does a Right.
func (a *access) defaultText(d defaultRight) string {
	return "DEFAULT SELECT ON TABLES IN SCHEMA " + pgclient.QuoteName(d.schema) + " OF " + pgclient.QuoteName(a.name(d.creator))
}

// hasDefault reports whether the user will be able to read the tables that a creator creates.
func (a *access) hasDefault(user effectiveRole, d defaultRight) bool {
	return user.readsAll || user.holds(d.creator) || slices.ContainsFunc(a.defaults, func(acl defaultACL) bool {
		return acl.owner == d.creator && (acl.schema == "" || acl.schema == d.schema) && user.may("SELECT", "TABLE", acl.object)
	})
}

// defaultGranted reports whether SELECT on these was granted to the user itself, in the schema.
func (a *access) defaultGranted(user effectiveRole, d defaultRight) bool {
	return slices.ContainsFunc(a.defaults, func(acl defaultACL) bool {
		return acl.owner == d.creator && acl.schema == d.schema && acl.grantedTo(user.oid, "SELECT")
	})
}

// missingDefaults describes the future tables that the user will not be able to read.
func (a *access) missingDefaults(user effectiveRole, schemas []string) []string {
	var items []string
	for _, d := range a.wanted(user, schemas) {
		if !a.hasDefault(user, d) {
			items = append(items, a.defaultText(d))
		}
	}
	return items
}

// planDefaultGrants plans to grant the user SELECT on the future tables of the schemas. What
// this login may not grant is refused, unless the user has it anyway.
func (a *access) planDefaultGrants(user effectiveRole, schemas []string) rightsPlan {
	var grant, refused []defaultRight
	for _, d := range a.wanted(user, schemas) {
		as, able := a.altering(d.creator)
		switch has := a.hasDefault(user, d); {
		case a.defaultGranted(user, d):
		case able && (!has || !as.needsMembership()):
			grant = append(grant, d)
		case !has:
			refused = append(refused, d)
		}
	}
	change := "GRANT SELECT ON TABLES TO " + pgclient.Ident(user.name(user.oid))
	return rightsPlan{sql: a.defaultStatements(grant, change), refused: a.defaultTexts(refused, change)}
}

// granted returns the default privileges in some schemas that the user was granted, whichever
// role creates the tables, even if that role no longer owns anything in them; or, if option is
// set, those with the grant option.
func (a *access) granted(user effectiveRole, schemas []string, option bool) []defaultRight {
	var all []defaultRight
	for _, acl := range a.defaults {
		if slices.Contains(schemas, acl.schema) && len(acl.grantors(user, "SELECT", option)) > 0 {
			all = append(all, defaultRight{schema: acl.schema, creator: acl.owner})
		}
	}
	return all
}

// planDefaultRevokes plans to revoke SELECT on the future tables of the schemas or, if option is
// set, the grant option on it.
func (a *access) planDefaultRevokes(user effectiveRole, schemas []string, option bool) rightsPlan {
	var revoke, refused []defaultRight
	for _, d := range a.granted(user, schemas, option) {
		if _, able := a.altering(d.creator); able {
			revoke = append(revoke, d)
		} else {
			refused = append(refused, d)
		}
	}
	change := "REVOKE SELECT ON TABLES FROM " + pgclient.Ident(user.name(user.oid))
	if option {
		change = "REVOKE GRANT OPTION FOR SELECT ON TABLES FROM " + pgclient.Ident(user.name(user.oid))
	}
	return rightsPlan{sql: a.defaultStatements(revoke, change), refused: a.defaultTexts(refused, change)}
}

// altering returns the actor as which this login can change the default privileges of a creator.
func (a *access) altering(creator uint32) (as actor, able bool) {
	login := a.effective(a.login)
	if login.holds(creator) {
		return actor{}, true
	}
	return login.actorFor(creator)
}

// defaultStatements returns one statement for each creator, run as a role that may run it.
func (a *access) defaultStatements(rights []defaultRight, change string) []string {
	var sql []string
	for _, d := range byCreator(rights) {
		as, _ := a.altering(d[0].creator)
		sql = append(sql, as.acting([]string{a.defaultStatement(d, change)})...)
	}
	return sql
}

// defaultTexts returns the same statements for another role to run.
func (a *access) defaultTexts(rights []defaultRight, change string) []string {
	var sql []string
	for _, d := range byCreator(rights) {
		sql = append(sql, a.defaultStatement(d, change))
	}
	return sql
}

func (a *access) defaultStatement(of []defaultRight, change string) string {
	schemas := make([]string, len(of))
	for i, d := range of {
		schemas[i] = d.schema
	}
	return "ALTER DEFAULT PRIVILEGES FOR ROLE " + pgclient.Ident(a.name(of[0].creator)) + " IN SCHEMA " + pgclient.Idents(schemas) + " " + change
}

// byCreator groups default privileges by the role that creates the tables.
func byCreator(rights []defaultRight) [][]defaultRight {
	groups := map[uint32][]defaultRight{}
	for _, d := range rights {
		groups[d.creator] = append(groups[d.creator], d)
	}
	var all [][]defaultRight
	for _, creator := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, groups[creator])
	}
	return all
}
