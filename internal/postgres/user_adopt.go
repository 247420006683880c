package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A process that dies after CreateUser, CreateDatabase or CreateSchema and before Terraform has
// written its state leaves an object behind, which the next create finds. The functions called
// Adopt... take over such an object if it is what the create would have made and has not been
// used since. For any other object, they return the reasons against it, one a line, and change
// nothing. Drop functions treat an adopted object like a created one, so these functions inspect
// everything that would be lost with it, or that others may have prepared.

// AdoptUser takes over a user that CreateUser found to exist. It changes nothing.
// The seal recognises the password later.
func AdoptUser(ctx context.Context, s *pgclient.Server, u User, password *Password) (*PasswordSeal, []string, error) {
	seal, refusals, err := adoptUser(ctx, s, u, password)
	if err != nil {
		return nil, nil, fmt.Errorf("adopt database user %q: %w", u.Name, err)
	}
	return seal, refusals, nil
}

func adoptUser(ctx context.Context, s *pgclient.Server, u User, password *Password) (*PasswordSeal, []string, error) {
	found, err := inspectUser(ctx, s, u)
	if err != nil {
		return nil, nil, err
	}
	refusals := u.refusals(found)
	if len(refusals) > 0 {
		return nil, append(refusals, verifierRefusals(found.verifier, u.Name, password)...), nil
	}
	if found.verifier == nil {
		refusals, err = loginRefusals(ctx, s, u.Name, password)
		return nil, refusals, err
	}
	refusals = verifierRefusals(found.verifier, u.Name, password)
	if len(refusals) > 0 {
		return nil, refusals, nil
	}
	return sealPassword(*found.verifier), nil, nil
}

// A foundUser is a user that exists, and all that has been done with it.
type foundUser struct {
	User
	isInitial  bool     // it was created with the server
	noInherit  bool     // it does not inherit the privileges of the roles that it is a member of
	settings   []string // databases in which it has parameters of its own
	related    []string // its relations to other roles, in whole lines
	dependents []Dependents
}

// refusals returns why a user that exists is not taken over for u, apart from its password.
func (u User) refusals(found foundUser) []string {
	var lines []string
	if found.isInitial {
		lines = append(lines, "it came with the server")
	}
	for _, attribute := range found.attributes {
		lines = append(lines, "it is "+attribute)
	}
	if found.noInherit {
		lines = append(lines, "it is NOINHERIT")
	}
	lines = append(lines, u.powerRefusals(found.User)...)
	if found.Login != u.Login {
		lines = append(lines, fmt.Sprintf("login is %t, not %t", found.Login, u.Login))
	}
	if found.ConnectionLimit != u.ConnectionLimit {
		lines = append(lines, fmt.Sprintf("connection_limit is %d, not %d", found.ConnectionLimit, u.ConnectionLimit))
	}
	if !SameValidUntil(found.ValidUntil, u.ValidUntil) {
		lines = append(lines, fmt.Sprintf("valid_until is %s, not %s", canonicalInstant(found.ValidUntil), canonicalInstant(u.ValidUntil)))
	}
	if found.Replication != u.Replication {
		lines = append(lines, fmt.Sprintf("replication is %t, not %t", found.Replication, u.Replication))
	}
	lines = append(lines, parameterRefusals(u.Parameters, found.Parameters)...)
	for _, database := range found.settings {
		lines = append(lines, fmt.Sprintf("it has parameters of its own in database %q", database))
	}
	lines = append(lines, found.related...)
	for _, d := range found.dependents {
		where := "on the server"
		if d.Database != "" {
			where = fmt.Sprintf("in database %q", d.Database)
		}
		lines = append(lines, fmt.Sprintf("it owns objects or has privileges %s: %s", where, d))
	}
	return lines
}

// parameterRefusals names the parameters in which a user that exists differs from one that would
// be created: it must have the wanted parameters and no others. A value may be a secret.
func parameterRefusals(want, have map[string]string) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		_, value, found := findParameter(have, name)
		switch {
		case !found:
			lines = append(lines, fmt.Sprintf("the parameter %s is configured, but not set", name))
		case !sameParameter(name, want[name], value):
			lines = append(lines, fmt.Sprintf("the value of the parameter %s differs from the configured one", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, _, found := findParameter(want, name); !found {
			lines = append(lines, fmt.Sprintf("the parameter %s is set, but not configured", name))
		}
	}
	return lines
}

// Grants that CREATE ROLE itself makes do not count: since PostgreSQL 16, a login that is no
// superuser has ADMIN OPTION on the roles that it creates. Nor do the roles that the user must
// be a member of, $2.
const foundUserSQL = `
	SELECT r.oid < 16384,
	       NOT r.rolinherit,
	       ARRAY(
	           SELECT coalesce(d.datname::pg_catalog.text, s.setdatabase::pg_catalog.text)
	           FROM pg_catalog.pg_db_role_setting AS s
	           LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
	           WHERE s.setrole = r.oid AND s.setdatabase <> 0
	           ORDER BY 1
	       ),
	       ARRAY(
	           SELECT CASE
	                      WHEN m.roleid = r.oid THEN 'role ' || pg_catalog.quote_ident(member.rolname) || ' is a member of it'
	                      WHEN m.member = r.oid THEN 'it is a member of role ' || pg_catalog.quote_ident(g.rolname)
	                      ELSE 'it made ' || pg_catalog.quote_ident(member.rolname) || ' a member of role ' || pg_catalog.quote_ident(g.rolname)
	                  END
	           FROM pg_catalog.pg_auth_members AS m
	           JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
	           JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
	           WHERE r.oid IN (m.roleid, m.member, m.grantor)
	             AND NOT (
	                 m.roleid = r.oid AND member.rolname = current_user AND NOT member.rolsuper AND m.grantor IN (10, m.member)
	                 AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000
	             )
	             AND NOT (m.member = r.oid AND NOT m.admin_option AND g.rolname::pg_catalog.text = ANY ($2::pg_catalog.text[]))
	           UNION ALL
	           SELECT 'the login of this server entry did not create it: the login has no ADMIN OPTION on it, and could not drop it'
	           FROM pg_catalog.pg_roles AS login
	           WHERE login.rolname = current_user
	             AND NOT login.rolsuper
	             AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000
	             AND NOT EXISTS (
	                 SELECT
	                 FROM pg_catalog.pg_auth_members AS m
	                 WHERE m.roleid = r.oid AND m.member = login.oid AND m.admin_option)
	           ORDER BY 1
	       )
	FROM pg_catalog.pg_roles AS r
	WHERE r.rolname = $1`

const verifierSQL = `
	SELECT coalesce(rolpassword, '')
	FROM pg_catalog.pg_authid
	WHERE rolname = $1`

// inspectUser reads a user that exists, or returns ErrNotFound.
func inspectUser(ctx context.Context, s *pgclient.Server, u User) (found foundUser, err error) {
	name := u.Name
	err = s.InTx(ctx, "", func(tx pgx.Tx) error {
		found, err = readFoundUser(ctx, tx, name, slices.Concat(replicationRoles, u.Roles))
		if err != nil || found.isInitial { // what depends on initial users is not recorded
			return err
		}
		found.dependents, err = dependentsOf(ctx, tx, name)
		return err
	})
	if err != nil {
		return foundUser{}, err
	}
	found.dependents = describe(ctx, s, name, found.dependents)
	return found, nil
}

func readFoundUser(ctx context.Context, tx pgx.Tx, name string, roles []string) (found foundUser, err error) {
	rows, _ := tx.Query(ctx, usersSQL, name, replicationRoles)
	mayVerify := false
	found.User, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (u User, err error) {
		u, mayVerify, err = scanUser(row, pgclient.Version(tx.Conn()))
		return u, err
	})
	if err != nil {
		return foundUser{}, rowNotFound(err)
	}
	err = tx.QueryRow(ctx, foundUserSQL, name, roles).Scan(&found.isInitial, &found.noInherit, &found.settings, &found.related)
	if err == nil && mayVerify {
		found.verifier = new(string)
		err = tx.QueryRow(ctx, verifierSQL, name).Scan(found.verifier)
	}
	return found, rowNotFound(err)
}
