package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// ReadUser returns the user called name, or ErrNotFound. In a plan, all callers share one
// reading of all users.
func ReadUser(ctx context.Context, s *pgclient.Server, name string) (User, error) {
	all := func(ctx context.Context) (map[string]User, error) { return readUsers(ctx, s) }
	read := all
	if s.IsPlanning() {
		read = func(ctx context.Context) (map[string]User, error) { return pgclient.ReadShared(ctx, s, "", all) }
	}
	users, err := read(ctx)
	u, found := users[name]
	if err == nil && !found {
		err = pgclient.ErrNotFound
	}
	if err != nil {
		return User{}, fmt.Errorf("read database user %q: %w", name, err)
	}
	return u, nil
}

// usersSQL reads one role, or all if $1 is null. Membership in a role of $2 stands for the
// attribute REPLICATION.
const usersSQL = `
	SELECT r.rolname, r.rolcanlogin, r.rolconnlimit, r.rolvaliduntil, coalesce(r.rolconfig, '{}'),
	       r.rolreplication,
	       ARRAY(
	           SELECT g.rolname::pg_catalog.text
	           FROM pg_catalog.pg_roles AS g
	           WHERE g.rolname::pg_catalog.text = ANY ($2::pg_catalog.text[])
	           ORDER BY 1
	       ),
	       coalesce(m.roles, '{}'),
	       coalesce(m.grantors, '{}'),
	       coalesce(m.admins, '{}'),
	       r.rolbypassrls,
	       pg_catalog.array_remove(ARRAY[
	           CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
	           CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
	           CASE WHEN r.rolsuper THEN 'SUPERUSER' END
	       ], NULL),
	       pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT')
	FROM pg_catalog.pg_roles AS r
	LEFT JOIN (
	    SELECT m.member,
	           pg_catalog.array_agg(g.rolname::pg_catalog.text ORDER BY m.roleid, m.grantor) AS roles,
	           pg_catalog.array_agg(pg_catalog.pg_get_userbyid(m.grantor)::pg_catalog.text ORDER BY m.roleid, m.grantor) AS grantors,
	           pg_catalog.array_agg(m.admin_option ORDER BY m.roleid, m.grantor) AS admins
	    FROM pg_catalog.pg_auth_members AS m
	    JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
	    GROUP BY m.member
	) AS m ON m.member = r.oid
	WHERE $1::pg_catalog.name IS NULL OR r.rolname = $1::pg_catalog.name`

const verifiersSQL = `
	SELECT rolname, coalesce(rolpassword, '')
	FROM pg_catalog.pg_authid`

// readUsers reads all users and, if the login may see them, the verifiers of their passwords.
func readUsers(ctx context.Context, s *pgclient.Server) (map[string]User, error) {
	var users map[string]User
	err := s.InTx(ctx, "", func(tx pgx.Tx) error {
		users = map[string]User{}
		rows, _ := tx.Query(ctx, usersSQL, nil, replicationRoles)
		mayVerify := false
		_, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u User, err error) {
			u, mayVerify, err = scanUser(row, pgclient.Version(tx.Conn()))
			users[u.Name] = u
			return u, err
		})
		if err != nil || !mayVerify {
			return err
		}
		return addVerifiers(ctx, tx, users)
	})
	return users, err
}

func addVerifiers(ctx context.Context, tx pgx.Tx, users map[string]User) error {
	rows, _ := tx.Query(ctx, verifiersSQL)
	var name, verifier string
	_, err := pgx.ForEachRow(rows, []any{&name, &verifier}, func() error {
		if u, found := users[name]; found {
			kept := verifier
			u.verifier = &kept
			users[name] = u
		}
		return nil
	})
	return err
}

// user reads one user, without its verifier, or returns ErrNotFound.
func user(ctx context.Context, tx pgx.Tx, name string) (User, error) {
	rows, _ := tx.Query(ctx, usersSQL, name, replicationRoles)
	u, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (User, error) {
		u, _, err := scanUser(row, pgclient.Version(tx.Conn()))
		return u, err
	})
	return u, rowNotFound(err)
}

// rowNotFound turns the error of a query without a row into ErrNotFound.
func rowNotFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return pgclient.ErrNotFound
	}
	return err
}

func scanUser(row pgx.CollectableRow, major int) (u User, mayVerify bool, err error) {
	var validUntil pgtype.Timestamptz
	var config, roles, grantors []string
	var admins []bool
	err = row.Scan(&u.Name, &u.Login, &u.ConnectionLimit, &validUntil, &config,
		&u.replicating.attribute, &u.replicating.existing, &roles, &grantors, &admins, &u.BypassRLS, &u.attributes, &mayVerify)
	if err == nil {
		err = pgclient.SameLength(len(roles), len(grantors), len(admins))
	}
	if err != nil {
		return User{}, false, err
	}
	u.ValidUntil = validUntilText(validUntil)
	u.Parameters = make(map[string]string, len(config))
	for _, item := range config {
		name, value, _ := strings.Cut(item, "=")
		u.Parameters[name] = value
	}
	for i, role := range roles {
		grant := roleGrant{role: role, grantor: grantors[i], admin: admins[i]}
		if major < 16 {
			grant.grantor = "" // in these versions, the grantor is not part of a membership's identity
		}
		if slices.Contains(replicationRoles, role) {
			u.replicating.grants = append(u.replicating.grants, grant)
		} else {
			u.memberships = append(u.memberships, grant)
		}
	}
	u.Replication = u.replicating.attribute || len(u.replicating.grants) > 0
	return u, mayVerify, err
}
