package postgres

import "slices"

// An access says who may do what in one database, as one reading of its catalogs
// found it. It answers as PostgreSQL itself would, without asking again: for any
// user, and as often as there are resources in a plan. Nobody changes it.
type access struct {
	login        uint32 // of this server entry
	roles        map[uint32]*role
	byName       map[string]uint32
	databaseName string
	database     object
	schemas      map[string]object
	relations    map[string][]relations // by schema
	defaults     []defaultACL
}

// A role is a user, or a group of them.
type role struct {
	name        string
	superuser   bool
	joinsAny    bool         // it may make itself a member of any role but superusers: with CREATEROLE, before PostgreSQL 16
	memberships []membership // of this role in others
}

// A membership is that of one role in another, with what comes with it.
type membership struct {
	of, grantor         uint32
	inherit, set, admin bool
}

// An object has an owner, and an access control list.
type object struct {
	owner uint32
	acl   []aclEntry
}

// An aclEntry is a privilege that somebody granted.
type aclEntry struct {
	grantee   uint32 // or everybody
	grantor   uint32
	privilege string
	grantable bool
}

// everybody is the grantee that PUBLIC stands for.
const everybody = 0

// relations are tables and the like of one schema that are alike: of one kind
// and owner, and with one access control list.
type relations struct {
	object
	kind      string   // as right.Kind
	extension bool     // whether they belong to one
	names     []string // sorted
}

// A defaultACL is what the tables to come of a creator, its owner, will have: in
// one schema or, if that is "", in all.
type defaultACL struct {
	object
	schema string
}

// Roles that PostgreSQL treats in ways of their own.
const (
	databaseOwner = "pg_database_owner" // whose only member is the owner of the database
	readsAllData  = "pg_read_all_data"
)

// grantedTo reports whether a privilege was granted to the role itself.
func (o object) grantedTo(role uint32, privilege string) bool {
	return slices.ContainsFunc(o.acl, func(e aclEntry) bool { return e.grantee == role && e.privilege == privilege })
}

// name returns what a role is called, "" if it is gone.
func (a *access) name(oid uint32) string {
	if r := a.roles[oid]; r != nil {
		return r.name
	}
	return ""
}

// reach returns the roles that one reaches through memberships that count, with itself.
func (a *access) reach(from uint32, counts func(membership) bool) map[uint32]bool {
	reached := map[uint32]bool{from: true}
	for next := []uint32{from}; len(next) > 0; next = next[1:] {
		var edges []membership
		if r := a.roles[next[0]]; r != nil {
			edges = r.memberships
		}
		if owner, ok := a.byName[databaseOwner]; ok && next[0] == a.database.owner {
			edges = append(slices.Clone(edges), membership{of: owner, inherit: true, set: true})
		}
		for _, edge := range edges {
			if counts(edge) && !reached[edge.of] {
				reached[edge.of] = true
				next = append(next, edge.of)
			}
		}
	}
	return reached
}

// A person is a role with all that it can do as a member of others.
type person struct {
	*access
	oid      uint32
	all      bool            // a superuser
	readsAll bool            // whatever there is
	roles    map[uint32]bool // whose rights it has
}

// person returns a role as a person. One that is gone can do nothing.
func (a *access) person(oid uint32) person {
	p := person{access: a, oid: oid}
	if r := a.roles[oid]; r != nil {
		p.all = r.superuser
		p.roles = a.reach(oid, func(m membership) bool { return m.inherit })
		reader, ok := a.byName[readsAllData]
		p.readsAll = p.all || ok && p.roles[reader]
	}
	return p
}

// holds reports whether the person has the rights of a role.
func (p person) holds(role uint32) bool { return p.all || p.roles[role] }

// may reports whether the person has a privilege on something, in whatever way.
func (p person) may(privilege, kind string, on object) bool {
	return p.all || p.readsAll && kind != "DATABASE" || slices.ContainsFunc(on.acl, func(e aclEntry) bool {
		return e.privilege == privilege && (e.grantee == everybody || p.roles[e.grantee])
	})
}

// mayGrant reports whether the person may grant a privilege on something to others.
func (p person) mayGrant(privilege string, on object) bool {
	return p.holds(on.owner) || slices.ContainsFunc(on.acl, func(e aclEntry) bool {
		return e.privilege == privilege && e.grantable && p.roles[e.grantee]
	})
}

// A footing is on which the login can act as another role.
type footing int

const (
	unable   footing = iota
	asMember         // it may become a member first
	asRole           // it may SET ROLE
)

// footing returns how the login, a person, can act as a role.
func (p person) footing(as uint32) footing {
	switch target := p.access.roles[as]; {
	case target == nil:
		return unable
	case p.all, p.reach(p.oid, func(m membership) bool { return m.set })[as]:
		return asRole
	case target.superuser, target.name == databaseOwner:
		return unable
	case p.joinedByItself(as): // what it would take and give back is there already, and would be gone
		return unable
	case p.access.roles[p.oid].joinsAny, p.administers(as):
		return asMember
	}
	return unable
}

// joinedByItself reports whether the person made itself a member of a role.
func (p person) joinedByItself(of uint32) bool {
	return slices.ContainsFunc(p.access.roles[p.oid].memberships, func(m membership) bool { return m.of == of && p.roles[m.grantor] })
}

// administers reports whether the person has ADMIN OPTION on a role.
func (p person) administers(as uint32) bool {
	for oid := range p.roles {
		if r := p.access.roles[oid]; r != nil && slices.ContainsFunc(r.memberships, func(m membership) bool { return m.of == as && m.admin }) {
			return true
		}
	}
	return false
}
