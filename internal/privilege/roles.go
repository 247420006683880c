package privilege

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// Roles are those of a server, according to one reading, as one database sees them. They are
// immutable.
type roles struct {
	place         string // distinguishes databases, by whatever address they are reached
	recent        bool   // a membership may have several grants, each with its own options: since PostgreSQL 16
	login         uint32 // of this server entry
	databaseOwner uint32
	byOID         map[uint32]*role
	byName        map[string]uint32
}

// A role is a user, or a group of them.
type role struct {
	name        string
	superuser   bool
	createsDBs  bool
	createsAny  bool         // it may make any role a member of any role but superusers: with CREATEROLE, before PostgreSQL 16
	inherits    bool         // it has the privileges that come with memberships, or can have them
	memberships []membership // of this role in others
}

// A membership is that of one role in another, with its options.
type membership struct {
	of, grantor         uint32
	inherit, set, admin bool
}

// Roles that PostgreSQL treats specially.
const (
	databaseOwner = "pg_database_owner" // whose only member is the owner of the database
	readsAllData  = "pg_read_all_data"
)

// placeExpression distinguishes the databases b.
const placeExpression = `(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint || '/' || b.oid`

// Since PostgreSQL 16, the membership says whether its privileges are inherited and SET ROLE is
// allowed. Before, the member says whether it inherits, and SET ROLE is always allowed.
const rolesSQL = `
	SELECT ` + placeExpression + `, v.recent, r.oid, r.rolname, r.rolsuper, r.rolcreatedb, r.rolcreaterole AND NOT v.recent, r.rolinherit OR v.recent,
	       r.rolname = current_user, r.oid = b.datdba,
	       coalesce(m.of, '{}'), coalesce(m.grantor, '{}'), coalesce(m.inherit, '{}'), coalesce(m.set, '{}'), coalesce(m.admin, '{}')
	FROM pg_catalog.pg_roles AS r
	JOIN pg_catalog.pg_database AS b ON b.datname = pg_catalog.current_database()
	CROSS JOIN (SELECT pg_catalog.current_setting('server_version_num')::int >= 160000) AS v (recent)
	LEFT JOIN (
		SELECT m.member, pg_catalog.array_agg(m.roleid) AS of, pg_catalog.array_agg(m.grantor) AS grantor, pg_catalog.array_agg(o.inherit) AS inherit, pg_catalog.array_agg(o.set) AS set, pg_catalog.array_agg(m.admin_option) AS admin
		FROM pg_catalog.pg_auth_members AS m
		JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
		CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(m)) AS j (membership)
		CROSS JOIN LATERAL (
			SELECT coalesce((j.membership ->> 'inherit_option')::boolean, r.rolinherit), coalesce((j.membership ->> 'set_option')::boolean, true)
		) AS o (inherit, set)
		GROUP BY m.member
	) AS m ON m.member = r.oid`

func readRoles(ctx context.Context, tx pgx.Tx) (*roles, error) {
	all := &roles{byOID: map[uint32]*role{}, byName: map[string]uint32{}}
	rows, _ := tx.Query(ctx, rolesSQL)
	var oid uint32
	var r role
	var isLogin, isOwner bool
	var of, grantors []uint32
	var inherit, set, admin []bool
	columns := []any{
		&all.place, &all.recent, &oid, &r.name, &r.superuser, &r.createsDBs, &r.createsAny, &r.inherits,
		&isLogin, &isOwner, &of, &grantors, &inherit, &set, &admin,
	}
	_, err := pgx.ForEachRow(rows, columns, func() error {
		if err := pgclient.SameLength(len(of), len(grantors), len(inherit), len(set), len(admin)); err != nil {
			return err
		}
		found := r
		found.memberships = make([]membership, len(of))
		for i := range of {
			found.memberships[i] = membership{of: of[i], grantor: grantors[i], inherit: inherit[i], set: set[i], admin: admin[i]}
		}
		all.byOID[oid], all.byName[r.name] = &found, oid
		if isLogin {
			all.login = oid
		}
		if isOwner {
			all.databaseOwner = oid
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the roles of the server: %w", err)
	}
	if all.byOID[all.login] == nil {
		return nil, errors.New("the server does not list the role of this login: another session has renamed it. Apply again")
	}
	return all, nil
}

// name returns the name of a role, or "" if the role is gone.
func (all *roles) name(oid uint32) string {
	if r := all.byOID[oid]; r != nil {
		return r.name
	}
	return ""
}

// actual returns the role that another one stands for: pg_database_owner, which no role can be
// made a member of, stands for the owner of the database.
func (all *roles) actual(oid uint32) uint32 {
	if all.name(oid) == databaseOwner {
		return all.databaseOwner
	}
	return oid
}

// The memberships that count for reach.
func inherits(m membership) bool    { return m.inherit }
func canSetRole(m membership) bool  { return m.set }
func anyMembership(membership) bool { return true }

// reach returns the roles that a role reaches through memberships that count, including itself.
func (all *roles) reach(from uint32, counts func(membership) bool) map[uint32]bool {
	reached := map[uint32]bool{from: true}
	visit := func(next []uint32, to uint32) []uint32 {
		if !reached[to] {
			reached[to] = true
			next = append(next, to)
		}
		return next
	}
	for next := []uint32{from}; len(next) > 0; next = next[1:] {
		if r := all.byOID[next[0]]; r != nil {
			for _, m := range r.memberships {
				if counts(m) {
					next = visit(next, m.of)
				}
			}
		}
		if owner, ok := all.byName[databaseOwner]; ok && next[0] == all.databaseOwner {
			next = visit(next, owner)
		}
	}
	return reached
}

// An effectiveRole is a role with all that it can do as a member of others.
type effectiveRole struct {
	*roles
	oid      uint32
	all      bool            // a superuser
	readsAll bool            // all tables
	rights   map[uint32]bool // roles whose privileges it has
	becomes  map[uint32]bool // roles that it can SET ROLE to, and make an owner
}

// effective returns a role with what it can do. A role that is gone can do nothing.
func (all *roles) effective(oid uint32) effectiveRole {
	p := effectiveRole{roles: all, oid: oid}
	if r := all.byOID[oid]; r != nil {
		p.all = r.superuser
		p.rights, p.becomes = all.reach(oid, inherits), all.reach(oid, canSetRole)
		reader, ok := all.byName[readsAllData]
		p.readsAll = p.all || ok && p.rights[reader]
	}
	return p
}

// holds reports whether the role has the privileges of another.
func (p effectiveRole) holds(role uint32) bool { return p.all || p.rights[role] }
