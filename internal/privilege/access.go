package privilege

import (
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// An access says who may do what in one database, according to one reading of its catalogs. It
// answers as PostgreSQL itself would, without further queries: for any user, and for any number
// of resources in a plan. It is immutable.
type access struct {
	*roles
	databaseName string
	database     object
	schemas      map[string]object
	relations    map[string][]relations                   // by schema
	columns      map[relation.TableName]map[string]object // of relations whose columns have privileges of their own
	defaults     []defaultACL
}

// An object has an owner, and an access control list.
type object struct {
	owner uint32
	acl   []aclEntry
	wider []aclEntry // of a column: the access control list of its table
}

// An aclEntry is a privilege that a role granted.
type aclEntry struct {
	grantee   uint32 // or PUBLIC, as publicOID
	grantor   uint32
	privilege string
	grantable bool
}

// publicOID is the grantee that stands for PUBLIC.
const publicOID = 0

// relations are tables and other relations of one schema that are alike: of one kind and owner,
// and with one access control list.
type relations struct {
	object
	kind      string   // as in Right.Kind
	extension bool     // whether they belong to an extension
	names     []string // sorted
}

// A defaultACL is the access control list of the tables that a creator, its owner, will create:
// in one schema or, if schema is "", in all.
type defaultACL struct {
	object
	schema string
}

// grantedTo reports whether a privilege was granted to the role itself.
func (o object) grantedTo(role uint32, privilege string) bool {
	return slices.ContainsFunc(o.acl, func(e aclEntry) bool { return e.grantee == role && e.privilege == privilege })
}

// may reports whether the role has a privilege on an object, in whatever way.
func (p effectiveRole) may(privilege, kind string, on object) bool {
	allows := func(e aclEntry) bool {
		return e.privilege == privilege && (e.grantee == publicOID || p.rights[e.grantee])
	}
	return p.all || p.readsAll && kind != "DATABASE" || slices.ContainsFunc(on.acl, allows) || slices.ContainsFunc(on.wider, allows)
}

// mayGrant reports whether the role may grant a privilege on an object to others.
func (p effectiveRole) mayGrant(privilege string, on object) bool {
	allows := func(e aclEntry) bool { return e.privilege == privilege && e.grantable && p.rights[e.grantee] }
	return p.holds(on.owner) || slices.ContainsFunc(on.acl, allows) || slices.ContainsFunc(on.wider, allows)
}
