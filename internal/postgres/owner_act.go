package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// An ownerAct says what it takes to act on something that has an owner. A login
// that lacks it may be able to become a member of the role in question, and then
// is one within a single transaction: no other session ever sees it, and nothing
// of it is left.
type ownerAct struct {
	holder   string // the owner, whose rights are needed; "" for nobody's
	taker    string // the role that is to be the owner; "" for none
	database bool   // it is about a database, so that CREATEDB is needed too
}

// A login is what this session acts as.
type login struct {
	Name      string
	Superuser bool
	CreateDB  bool
	Inherits  bool // has the rights of the roles that it is a member of
}

const loginSQL = `
	SELECT rolname, rolsuper, rolcreatedb,
	       rolinherit OR pg_catalog.current_setting('server_version_num')::int4 >= 160000 -- each membership says it
	FROM pg_catalog.pg_roles
	WHERE rolname = current_user`

// A standing is how the login stands to a role.
type standing struct {
	Role  string
	Holds bool // it has the role's rights
	Gives bool // it may make the role an owner
	Joins bool // it may become a member, and is none in a way that stands against that
}

// Before PostgreSQL 16, CREATEROLE is enough to become a member of any role, and
// who is one without having its rights does not get them by becoming one again.
const standingsSQL = `
	SELECT r.rolname,
	       pg_catalog.pg_has_role(r.oid, 'USAGE'),
	       pg_catalog.pg_has_role(r.oid, CASE WHEN v.recent THEN 'SET' ELSE 'MEMBER' END),
	       NOT r.rolsuper
	           AND r.rolname <> 'pg_database_owner'
	           AND NOT pg_catalog.pg_has_role(r.oid, l.oid, 'MEMBER')
	           AND (v.recent OR NOT pg_catalog.pg_has_role(r.oid, 'MEMBER'))
	           AND (pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') OR l.rolcreaterole AND NOT v.recent)
	FROM pg_catalog.pg_roles AS r
	JOIN pg_catalog.pg_roles AS l ON l.rolname = current_user
	CROSS JOIN (SELECT pg_catalog.current_setting('server_version_num')::int4 >= 160000) AS v(recent)
	WHERE r.rolname::text = ANY ($1::text[])
	ORDER BY r.rolname`

// joins returns the roles that the login must become a member of. What it
// lacks and can not have in that way is an error, with the SQL that changes it.
func (o ownerAct) joins(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, _ := tx.Query(ctx, loginSQL)
	as, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[login])
	if err != nil || as.Superuser {
		return nil, err
	}
	rows, _ = tx.Query(ctx, standingsSQL, []string{o.holder, o.taker})
	standings, err := pgx.CollectRows(rows, pgx.RowToStructByPos[standing])
	if err != nil {
		return nil, err
	}
	if o.taker != "" && !slices.ContainsFunc(standings, func(st standing) bool { return st.Role == o.taker }) {
		return nil, fmt.Errorf("role %q does not exist: create it first", o.taker)
	}
	join, refused := o.decide(Version(tx.Conn()), as, standings)
	if len(refused) > 0 {
		return nil, &forbiddenError{statements: refused}
	}
	return join, nil
}

// decide returns the roles to become a member of, and what somebody else must
// run first.
func (o ownerAct) decide(major int, as login, standings []standing) (join, refused []string) {
	if o.database && !as.CreateDB {
		refused = append(refused, "ALTER ROLE "+Ident(as.Name)+" CREATEDB")
	}
	membership := ""
	if major >= 16 {
		membership = " WITH INHERIT TRUE, SET TRUE"
	}
	for _, st := range standings {
		holder := st.Role == o.holder && !st.Holds
		taker := st.Role == o.taker && !st.Gives
		switch {
		case !holder && !taker:
		case st.Joins && (as.Inherits || !holder):
			join = append(join, st.Role)
		default:
			if !st.Gives || major >= 16 {
				refused = append(refused, "GRANT "+Ident(st.Role)+" TO "+Ident(as.Name)+membership)
			}
			if holder && !as.Inherits {
				refused = append(refused, "ALTER ROLE "+Ident(as.Name)+" INHERIT")
			}
		}
	}
	return join, refused
}

// run runs statements with what they take.
func (o ownerAct) run(ctx context.Context, tx pgx.Tx, statements ...string) error {
	join, err := o.joins(ctx, tx)
	if err != nil {
		return err
	}
	former := make([][]memberGrant, len(join))
	for i, role := range join { // sorted, as others wait for us, and we for them
		if former[i], err = memberGrants(ctx, tx, role); err != nil {
			return err
		}
		sql := "GRANT " + Ident(role) + " TO CURRENT_USER"
		if Version(tx.Conn()) >= 16 {
			sql += " WITH INHERIT TRUE, SET TRUE"
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("become a member of %q for the time of this change: %w", role, err)
		}
	}
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	for i, role := range join {
		if err := leaveRole(ctx, tx, role, former[i]); err != nil {
			return fmt.Errorf("be a member of %q no longer: %w", role, err)
		}
	}
	return nil
}

// A memberGrant is a membership of the login in a role, as one grantor granted
// it. PostgreSQL keeps one for each grantor since 16.
type memberGrant struct {
	Grantor      string
	Inherit, Set bool
}

const memberGrantsSQL = `
	SELECT pg_catalog.pg_get_userbyid(m.grantor),
	       coalesce((pg_catalog.to_jsonb(m) ->> 'inherit_option')::bool, true),
	       coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::bool, true)
	FROM pg_catalog.pg_auth_members AS m
	JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid
	JOIN pg_catalog.pg_roles AS l ON l.oid = m.member
	WHERE r.rolname = $1
	  AND l.rolname = current_user`

func memberGrants(ctx context.Context, tx pgx.Tx, role string) ([]memberGrant, error) {
	rows, _ := tx.Query(ctx, memberGrantsSQL, role)
	return pgx.CollectRows(rows, pgx.RowToStructByPos[memberGrant])
}

// leaveRole makes the memberships in a role what they were: the server chose the
// grantor, who may have granted one without the options that it took.
func leaveRole(ctx context.Context, tx pgx.Tx, role string, former []memberGrant) error {
	grants, err := memberGrants(ctx, tx, role)
	if err != nil {
		return err
	}
	for _, sql := range undoGrants(Version(tx.Conn()), role, former, grants) {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// undoGrants returns the SQL that turns memberships into the former ones.
func undoGrants(major int, role string, former, grants []memberGrant) []string {
	var sql []string
	for _, g := range grants {
		by := ""
		if major >= 16 {
			by = " GRANTED BY " + Ident(g.Grantor)
		}
		i := slices.IndexFunc(former, func(f memberGrant) bool { return f.Grantor == g.Grantor })
		switch {
		case i < 0:
			sql = append(sql, "REVOKE "+Ident(role)+" FROM CURRENT_USER"+by)
		case former[i] != g:
			sql = append(sql, fmt.Sprintf("GRANT %s TO CURRENT_USER WITH INHERIT %t, SET %t%s",
				Ident(role), former[i].Inherit, former[i].Set, by))
		}
	}
	return sql
}
