package privilege

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// The roles of newAccess.
const (
	superuserOID, loginOID, ownerOID, otherOID, strangerOID, userOID, groupOID = 10, 100, 101, 102, 103, 104, 105
)

// newAccess is that of a login that has the privileges of "owner", may become "other", and
// administers "joinable" roles, to the given relations.
func newAccess(all map[string]relations) *access {
	a := &access{
		databaseName: "shop", relations: map[string][]relations{},
		roles: rolesOf(loginOID, superuserOID, map[uint32]*role{
			superuserOID: {name: "postgres", superuser: true},
			loginOID:     {name: "admin", memberships: []membership{{of: ownerOID, inherit: true, set: true}, {of: otherOID, set: true}, {of: groupOID, admin: true}}},
			ownerOID:     {name: "owner"},
			otherOID:     {name: "other"},
			strangerOID:  {name: "stranger"},
			userOID:      {name: "stitch"},
			groupOID:     {name: "joinable"},
		}),
		database: object{owner: superuserOID},
		schemas:  map[string]object{"public": {owner: superuserOID, acl: []aclEntry{{publicOID, superuserOID, "USAGE", false}}}},
	}
	for name, alike := range all {
		alike.kind, alike.names = "TABLE", []string{name}
		a.relations["public"] = append(a.relations["public"], alike)
	}
	slices.SortFunc(a.relations["public"], func(a, b relations) int { return strings.Compare(a.names[0], b.names[0]) })
	return a
}

// rolesOf are those of a server before PostgreSQL 16.
func rolesOf(login, databaseOwner uint32, byOID map[uint32]*role) *roles {
	all := &roles{login: login, databaseOwner: databaseOwner, byOID: byOID, byName: map[string]uint32{}}
	for oid, r := range byOID {
		all.byName[r.name] = oid
	}
	return all
}

func ownedBy(owner uint32, acl ...aclEntry) relations {
	return relations{object: object{owner: owner, acl: acl}}
}

// selects is SELECT that grantor granted to grantee.
func selects(grantee, grantor uint32) aclEntry {
	return aclEntry{grantee: grantee, grantor: grantor, privilege: "SELECT"}
}

var wholePublic = scope{user: "stitch", whole: []string{"public"}}

func TestPlanGrants(t *testing.T) {
	inDatabase := ownedBy(strangerOID)
	inDatabase.extension = true
	a := newAccess(map[string]relations{
		"a_ours":        ownedBy(ownerOID),
		"b_everybodys":  ownedBy(ownerOID, selects(publicOID, ownerOID)),
		"c_granted":     ownedBy(ownerOID, selects(userOID, ownerOID)),
		"d_others":      ownedBy(otherOID),
		"e_joinable":    ownedBy(groupOID),
		"f_readable":    ownedBy(groupOID, selects(publicOID, groupOID)),
		"g_strangers":   ownedBy(strangerOID),
		"h_readable":    ownedBy(strangerOID, selects(publicOID, strangerOID)),
		"i_superusers":  ownedBy(superuserOID, selects(publicOID, superuserOID)),
		"j_extension's": inDatabase,
	})
	plan, err := a.planGrants(a.effective(userOID), wholePublic)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Equal(t, "sql", plan.sql, []string{
		`GRANT SELECT ON TABLE "public"."a_ours", "public"."b_everybodys" TO "stitch"`,
		`GRANT "joinable" TO CURRENT_USER`,
		`SET LOCAL ROLE "joinable"`,
		`GRANT SELECT ON TABLE "public"."e_joinable" TO "stitch"`,
		`RESET ROLE`,
		`REVOKE "joinable" FROM CURRENT_USER`,
		`SET LOCAL ROLE "other"`,
		`GRANT SELECT ON TABLE "public"."d_others" TO "stitch"`,
		`RESET ROLE`,
	})
	pgtest.Equal(t, "refused", plan.refused, []string{`GRANT SELECT ON TABLE "public"."g_strangers" TO "stitch"`})
}

func TestPlanRevokes(t *testing.T) {
	a := newAccess(map[string]relations{
		"a": ownedBy(ownerOID, selects(userOID, ownerOID)),
		"b": ownedBy(strangerOID, selects(userOID, otherOID)),
		"c": ownedBy(strangerOID, selects(userOID, loginOID)),
		"d": ownedBy(strangerOID, selects(userOID, strangerOID)),
		"e": ownedBy(userOID, selects(userOID, userOID)),
		"f": ownedBy(strangerOID, selects(groupOID, strangerOID)),
	})
	plan := a.planRevokes(a.effective(userOID), wholePublic, false, 1)
	pgtest.Equal(t, "sql", plan.sql, []string{
		`REVOKE SELECT ON TABLE "public"."a", "public"."c" FROM "stitch"`,
		`SET LOCAL ROLE "other"`,
		`REVOKE SELECT ON TABLE "public"."b" FROM "stitch"`,
		`RESET ROLE`,
	})
	pgtest.Equal(t, "refused", plan.refused, []string{
		`SET ROLE "stranger"`,
		`REVOKE SELECT ON TABLE "public"."d" FROM "stitch"`,
		`RESET ROLE`,
	})
	if plan := a.planRevokes(a.effective(userOID), wholePublic, true, 1); len(plan.sql)+len(plan.refused) > 0 {
		t.Errorf("no option was given to pass anything on: %q %q", plan.sql, plan.refused)
	}
}

func TestObjectListsOfManyTables(t *testing.T) {
	var rights []Right
	for i := range 2*relationsPerGrant + 1 {
		rights = append(rights, Right{Privilege: "SELECT", Kind: "TABLE", Schema: "public", Name: fmt.Sprint("t", i)})
	}
	lists := objectLists("shop", rights)
	if names := strings.Count(strings.Join(lists, ""), `"public"."t`); len(lists) != 3 || names != len(rights) {
		t.Errorf("%d lists name %d tables, want 3 and %d", len(lists), names, len(rights))
	}
	pgtest.Equal(t, "lists", objectLists("shop", []Right{
		{Privilege: "CONNECT", Kind: "DATABASE", Name: "shop"},
		{Privilege: "CREATE", Kind: "DATABASE", Name: "shop"},
		{Privilege: "USAGE", Kind: "SCHEMA", Name: "public"},
		{Privilege: "USAGE", Kind: "SCHEMA", Name: `a"b`},
		{Privilege: "SELECT", Kind: "VIEW", Schema: "public", Name: "open.orders"},
		{Privilege: "SELECT", Kind: "TABLE", Schema: "public", Name: "Orders"},
		{Privilege: "SELECT", Kind: "TABLE", Schema: "public", Name: "Orders", Column: "id"},
		{Privilege: "SELECT", Kind: "TABLE", Schema: "public", Name: "Orders", Column: "to,tal"},
	}), []string{
		`CONNECT ON DATABASE "shop"`,
		`CREATE ON DATABASE "shop"`,
		`USAGE ON SCHEMA "public", "a""b"`,
		`SELECT ON TABLE "public"."Orders", "public"."open.orders"`,
		`SELECT ("id", "to,tal") ON TABLE "public"."Orders"`,
	})
}

func TestPlanDefaultGrants(t *testing.T) {
	const statement = `ALTER DEFAULT PRIVILEGES FOR ROLE "%s" IN SCHEMA "public" GRANT SELECT ON TABLES TO "stitch"`
	tests := map[string]struct {
		creator uint32 // of a table
		acl     []aclEntry
		sql     []string
		refused []string
	}{
		"whose rights the login has":      {creator: ownerOID, sql: []string{fmt.Sprintf(statement, "owner")}},
		"granted before":                  {creator: ownerOID, acl: []aclEntry{selects(userOID, ownerOID)}},
		"had in another way":              {creator: ownerOID, acl: []aclEntry{selects(publicOID, ownerOID)}, sql: []string{fmt.Sprintf(statement, "owner")}},
		"whom the login may become":       {creator: otherOID, sql: []string{`SET LOCAL ROLE "other"`, fmt.Sprintf(statement, "other"), `RESET ROLE`}},
		"that it may join":                {creator: groupOID, sql: []string{`GRANT "joinable" TO CURRENT_USER`, `SET LOCAL ROLE "joinable"`, fmt.Sprintf(statement, "joinable"), `RESET ROLE`, `REVOKE "joinable" FROM CURRENT_USER`}},
		"that it need not join":           {creator: groupOID, acl: []aclEntry{selects(publicOID, groupOID)}},
		"a stranger":                      {creator: strangerOID, refused: []string{fmt.Sprintf(statement, "stranger")}},
		"a stranger who lets all read":    {creator: strangerOID, acl: []aclEntry{selects(publicOID, strangerOID)}},
		"the user itself":                 {creator: userOID},
		"nobody but the schema's owner":   {creator: 0},
		"a role that is gone, as its oid": {creator: 999},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAccess(map[string]relations{"t": ownedBy(test.creator)})
			if test.creator == 0 {
				delete(a.relations, "public")
			}
			a.defaults = []defaultACL{{object: object{owner: test.creator, acl: test.acl}, schema: "public"}}
			plan := a.planDefaultGrants(a.effective(userOID), []string{"public"})
			pgtest.Equal(t, "sql", plan.sql, test.sql)
			pgtest.Equal(t, "refused", plan.refused, test.refused)
		})
	}
}

func TestDroppedSource(t *testing.T) {
	orders, invoices := relation.TableName{Schema: "public", Name: "orders"}, relation.TableName{Schema: "billing", Name: "invoices"}
	both := []string{"public", "billing"}
	tests := map[string]struct {
		old, new SourceGrants
		want     scope
	}{
		"nothing changed": {
			old: SourceGrants{Schemas: both, FutureTables: true},
			new: SourceGrants{Schemas: both, FutureTables: true},
		},
		"a schema": {
			old:  SourceGrants{Schemas: both, FutureTables: true},
			new:  SourceGrants{Schemas: both[:1], FutureTables: true},
			want: scope{schemas: both[1:], whole: both[1:], future: both[1:]},
		},
		"the tables to come": {
			old:  SourceGrants{Schemas: both, FutureTables: true},
			new:  SourceGrants{Schemas: both},
			want: scope{future: both},
		},
		"all tables but the listed": {
			old:  SourceGrants{Schemas: both},
			new:  SourceGrants{Schemas: both, Tables: []relation.TableName{orders}},
			want: scope{whole: both, except: []relation.TableName{orders}},
		},
		"the list of tables": {
			old: SourceGrants{Schemas: both, Tables: []relation.TableName{orders, invoices}},
			new: SourceGrants{Schemas: both},
		},
		"a listed table": {
			old:  SourceGrants{Schemas: both, Tables: []relation.TableName{orders, invoices}},
			new:  SourceGrants{Schemas: both, Tables: []relation.TableName{invoices}},
			want: scope{tables: []relation.TableName{orders, invoices}, except: []relation.TableName{invoices}},
		},
		"a schema of a listed table": {
			old:  SourceGrants{Schemas: both, Tables: []relation.TableName{orders, invoices}},
			new:  SourceGrants{Schemas: both[:1]},
			want: scope{schemas: both[1:], tables: []relation.TableName{invoices}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := droppedSource(test.old, test.new)
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
		})
	}
}
