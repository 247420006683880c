package privilege

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A login that lacks what a change takes may be able to become a member of the role that has it.
// It is a member within a single transaction only: no other session ever sees the membership,
// and afterwards the login's memberships are the same, grant by grant.

// A need is what a change needs of a role.
type need struct {
	role     uint32
	rights   bool // all the privileges of the role
	become   bool // to SET ROLE to it, or to make it an owner
	optional bool // the change works without it
}

// meets reports whether the role already meets the need.
func (p effectiveRole) meets(n need) bool {
	return p.all || (!n.rights || p.rights[n.role]) && (!n.become || p.becomes[n.role])
}

// A temporaryMembership is the SQL that makes the login a member of a role, with every option of
// the membership, and the SQL that undoes it.
type temporaryMembership struct{ role, grant, revoke string }

// membershipFor returns how the role, the login, can come to meet a need that it does not meet
// yet. Before PostgreSQL 16, there is no earlier grant to restore: if a membership is not
// enough, granting it again does not help.
func (p effectiveRole) membershipFor(n need) (j temporaryMembership, ok bool) {
	grantor, ok := p.adminGrantor(n.role)
	if !ok || !p.mayBeMember(n.role) || n.rights && !p.byOID[p.oid].inherits {
		return temporaryMembership{}, false
	}
	member, by := pgclient.Ident(p.name(n.role)), ""
	j = temporaryMembership{role: p.name(n.role), grant: "GRANT " + member + " TO CURRENT_USER", revoke: "REVOKE " + member + " FROM CURRENT_USER"}
	if p.recent {
		by = " GRANTED BY " + pgclient.Ident(p.name(grantor))
		for _, m := range p.byOID[p.oid].memberships {
			if m.of == n.role && m.grantor == grantor {
				j.revoke = fmt.Sprintf("%s WITH INHERIT %t, SET %t", j.grant, m.inherit, m.set)
			}
		}
		j.grant += withAll
	}
	return temporaryMembership{j.role, j.grant + by, j.revoke + by}, true
}

// withAll are the options that a membership is granted with since PostgreSQL 16.
const withAll = " WITH INHERIT TRUE, SET TRUE"

// mayBeMember reports whether PostgreSQL lets the role be a member of another at all. It lets
// only superusers be members of a superuser.
func (p effectiveRole) mayBeMember(role uint32) bool {
	r := p.byOID[role]
	return r != nil && !r.superuser && r.name != databaseOwner && !p.reach(role, anyMembership)[p.oid]
}

// adminGrantor returns the role as which this one may grant membership in another: itself, or a
// role whose privileges it has.
func (p effectiveRole) adminGrantor(of uint32) (grantor uint32, ok bool) {
	administers := func(oid uint32) bool {
		r := p.byOID[oid]
		return r != nil && slices.ContainsFunc(r.memberships, func(m membership) bool { return m.of == of && m.admin })
	}
	within := p.rights
	if !p.recent {
		within = p.reach(p.oid, anyMembership)
	}
	if r := p.byOID[p.oid]; r != nil && r.createsAny || administers(p.oid) {
		return p.oid, true
	}
	for _, oid := range slices.Sorted(maps.Keys(within)) {
		if administers(oid) {
			return oid, true
		}
	}
	return 0, false
}

// membershipsFor returns how the role comes to meet needs, in the order in which the
// memberships must be granted, and the needs that it cannot meet. A membership may include
// others.
func (p effectiveRole) membershipsFor(needs []need) (memberships []temporaryMembership, unmet []need) {
	p.rights, p.becomes = maps.Clone(p.rights), maps.Clone(p.becomes)
	// Sessions that wait for each other lock roles in one order.
	for _, n := range slices.SortedStableFunc(slices.Values(needs), func(a, b need) int { return strings.Compare(p.name(a.role), p.name(b.role)) }) {
		if p.meets(n) {
			continue
		}
		j, ok := p.membershipFor(n)
		if !ok {
			unmet = append(unmet, n)
			continue
		}
		memberships = append(memberships, j)
		maps.Copy(p.becomes, p.reach(n.role, canSetRole))
		if p.byOID[p.oid].inherits {
			maps.Copy(p.rights, p.reach(n.role, inherits))
		}
	}
	return memberships, slices.DeleteFunc(unmet, p.meets)
}

// remedies returns the SQL after which the role would meet a need. It returns none if no
// membership would help, or if it would be a membership in a superuser.
func (p effectiveRole) remedies(n need) []string {
	if !p.mayBeMember(n.role) {
		return nil
	}
	var sql []string
	login := p.byOID[p.oid]
	grant := "GRANT " + pgclient.Ident(p.name(n.role)) + " TO " + pgclient.Ident(login.name)
	switch {
	case p.recent:
		sql = append(sql, grant+withAll)
	case !slices.ContainsFunc(login.memberships, func(m membership) bool { return m.of == n.role }):
		sql = append(sql, grant)
	}
	if n.rights && !login.inherits {
		sql = append(sql, "ALTER ROLE "+pgclient.Ident(login.name)+" INHERIT")
	}
	return sql
}

// Needs says what a change takes that a login may lack.
type Needs struct {
	RightsOf []string // roles whose privileges the change needs, such as the owner's
	Helpful  []string // roles whose privileges help, as far as the login can get them
	NewOwner string   // the role that becomes an owner; "" for none
	CreateDB bool
}

// each returns the needs one by one. A role that only helps may be gone.
func (n Needs) each(all *roles) (each []need, err error) {
	add := func(name string, as need) {
		oid, ok := all.byName[name]
		if !ok && !as.optional {
			err = fmt.Errorf("role %q does not exist: create it first", name)
		}
		if as.role = all.actual(oid); ok {
			each = append(each, as)
		}
	}
	if n.NewOwner != "" {
		add(n.NewOwner, need{become: true})
	}
	for _, name := range n.RightsOf {
		add(name, need{rights: true})
	}
	for _, name := range n.Helpful {
		add(name, need{rights: true, optional: true})
	}
	return each, err
}

// decide returns how the login of this server entry comes to meet its needs. If it cannot,
// decide returns the SQL that another role must run: the memberships that the login lacks or, if
// these cannot be granted, the change itself.
func (n Needs) decide(all *roles, change []string) (memberships []temporaryMembership, refused []string, err error) {
	login := all.effective(all.login)
	each, err := n.each(all)
	if err != nil || login.all {
		return nil, nil, err
	}
	if n.CreateDB && !all.byOID[all.login].createsDBs {
		refused = append(refused, "ALTER ROLE "+pgclient.Ident(all.name(all.login))+" CREATEDB")
	}
	memberships, unmet := login.membershipsFor(each)
	for _, u := range unmet {
		remedies := login.remedies(u)
		switch {
		case u.optional:
		case remedies == nil:
			return nil, change, nil
		default:
			refused = append(refused, remedies...)
		}
	}
	return memberships, slices.Compact(refused), nil
}

// Memberships reads the roles and decides. A need that cannot be met is a forbiddenError.
func (n Needs) Memberships(ctx context.Context, tx pgx.Tx, change ...string) ([]temporaryMembership, error) {
	all, err := readRoles(ctx, tx)
	if err != nil {
		return nil, err
	}
	memberships, refused, err := n.decide(all, change)
	if err == nil && len(refused) > 0 {
		err = &forbiddenError{statements: refused}
	}
	return memberships, err
}

// Run runs the statements of a change with the memberships that it needs.
func (n Needs) Run(ctx context.Context, tx pgx.Tx, change ...string) error {
	return n.While(ctx, tx, change, func() error { return execAll(ctx, tx, change) })
}

// While runs f with the memberships that f needs, for the change that others can run in SQL. If
// it fails, the caller must roll its transaction back.
func (n Needs) While(ctx context.Context, tx pgx.Tx, change []string, f func() error) error {
	memberships, err := n.Memberships(ctx, tx, change...)
	if err != nil {
		return err
	}
	for _, j := range memberships {
		if _, err := tx.Exec(ctx, j.grant); err != nil {
			return fmt.Errorf("join role %q for this change: %w", j.role, err)
		}
	}
	if err := f(); err != nil {
		return err
	}
	for _, j := range slices.Backward(memberships) {
		if _, err := tx.Exec(ctx, j.revoke); err != nil {
			return fmt.Errorf("leave role %q again: %w", j.role, err)
		}
	}
	return nil
}

func execAll(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
