package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// withMemberships runs f while the login has the privileges of roles: as a member of
// those whose privileges it lacks; and of helpful ones, as far as it may be.
// Every membership is given back before the transaction commits, so that nobody
// else ever sees it. If f fails, the caller's transaction has to be rolled back.
func withMemberships(ctx context.Context, tx pgx.Tx, roles, helpful []string, f func() error) error {
	var giveBack []string
	for i, role := range slices.Concat(roles, helpful) {
		sql, err := takeMembership(ctx, tx, role)
		if Code(err) == "42501" && i >= len(roles) {
			continue
		}
		if err != nil {
			return err
		}
		giveBack = append(sql, giveBack...)
	}
	if err := f(); err != nil {
		return err
	}
	for _, sql := range giveBack {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("give a membership back: %w", err)
		}
	}
	return nil
}

// Before PostgreSQL 16, privileges come with every membership, but to a role
// that is NOINHERIT, which another grant does not change.
const privilegesOfSQL = `
	SELECT current_user, pg_catalog.pg_has_role(r.oid, 'USAGE') AND (
	           pg_catalog.current_setting('server_version_num')::int < 160000 OR pg_catalog.pg_has_role(r.oid, $2))
	FROM pg_catalog.pg_roles AS r
	WHERE r.rolname = $1`

// takeMembership makes the login a member of a role, if it lacks its privileges,
// and returns the SQL that undoes that.
func takeMembership(ctx context.Context, tx pgx.Tx, role string) (giveBack []string, err error) {
	recent := Version(tx.Conn()) >= 16
	may := "MEMBER"
	if recent {
		may = "SET"
	}
	rows, _ := tx.Query(ctx, privilegesOfSQL, role, may)
	var login string
	var has, found bool
	_, err = pgx.ForEachRow(rows, []any{&login, &has}, func() error { found = true; return nil })
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, fmt.Errorf("there is no role %q", role)
	case has:
		return nil, nil
	}
	grant := "GRANT " + Ident(role) + " TO " + Ident(login)
	if recent {
		grant += " WITH INHERIT TRUE, SET TRUE"
	}
	before, err := grantsOfRole(ctx, tx, login, role)
	if err != nil || !recent && len(before) > 0 {
		return nil, err // what lacks is lacking for another reason, and what there is must stay
	}
	if err := attempt(ctx, tx, grant); err != nil {
		return nil, err
	}
	after, err := grantsOfRole(ctx, tx, login, role)
	return undoMembership(role, login, before, after), err
}

// A grantOfRole makes somebody a member of a role.
type grantOfRole struct {
	Grantor      string // part of its identity since PostgreSQL 16, else ""
	Inherit, Set bool
}

const grantsOfRoleSQL = `
	SELECT CASE WHEN $3 THEN pg_catalog.pg_get_userbyid(m.grantor)::text ELSE '' END,
	       coalesce((pg_catalog.to_jsonb(m) ->> 'inherit_option')::bool, true),
	       coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::bool, true)
	FROM pg_catalog.pg_auth_members AS m
	JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
	JOIN pg_catalog.pg_roles AS l ON l.oid = m.member
	WHERE l.rolname = $1
	  AND g.rolname = $2`

func grantsOfRole(ctx context.Context, tx pgx.Tx, login, role string) ([]grantOfRole, error) {
	rows, _ := tx.Query(ctx, grantsOfRoleSQL, login, role, Version(tx.Conn()) >= 16)
	return pgx.CollectRows(rows, pgx.RowToStructByPos[grantOfRole])
}

// undoMembership returns the SQL that turns the memberships of a login that
// there are after a grant into those before it.
func undoMembership(role, login string, before, after []grantOfRole) []string {
	var sql []string
	for _, m := range after {
		by := ""
		if m.Grantor != "" {
			by = " GRANTED BY " + Ident(m.Grantor)
		}
		i := slices.IndexFunc(before, func(b grantOfRole) bool { return b.Grantor == m.Grantor })
		switch {
		case i < 0:
			sql = append(sql, "REVOKE "+Ident(role)+" FROM "+Ident(login)+by)
		case before[i] != m:
			sql = append(sql, fmt.Sprintf("GRANT %s TO %s WITH INHERIT %t, SET %t%s", Ident(role), Ident(login), before[i].Inherit, before[i].Set, by))
		}
	}
	return sql
}
