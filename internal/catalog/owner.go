package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ownerSQL reads which role the schema $1 belongs to and whether the login may act for that
// role. It looks at the role that logged in, because any code can return to that role (RESET
// ROLE), and at the memberships that were granted, because a superuser is a member of every
// role only by implication. It counts only memberships that the login itself granted, or a
// role with power over the member: any other role could make the login a member of a role of
// its own, in order to have its catalog used.
const ownerSQL = `
	WITH RECURSIVE login AS (
		SELECT r.oid, r.rolname, r.rolsuper
		FROM pg_catalog.pg_roles AS r
		WHERE r.rolname = session_user
	), acts (oid) AS (
		SELECT l.oid
		FROM login AS l
		UNION
		SELECT m.roleid
		FROM acts AS a
		CROSS JOIN login AS l
		CROSS JOIN (VALUES (true)) AS before16 (set_option) -- what set_option below is where memberships have none
		CROSS JOIN LATERAL (
			SELECT g.roleid
			FROM pg_catalog.pg_auth_members AS g
			LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantor
			WHERE g.member = a.oid AND set_option
				AND (g.grantor = l.oid
					OR r.rolsuper
					OR r.rolcreaterole AND pg_catalog.current_setting('server_version_num')::int < 160000
					OR EXISTS (
						SELECT
						FROM pg_catalog.pg_auth_members AS p
						WHERE p.roleid = a.oid AND p.member = g.grantor AND p.admin_option))
		) AS m
	)
	SELECT o.rolname, l.rolname, l.rolsuper, o.oid IN (SELECT a.oid FROM acts AS a), o.rolname = current_user,
		EXISTS (
			SELECT
			FROM pg_catalog.pg_class AS c
			WHERE c.relnamespace = n.oid AND c.relname = 'version' AND c.relkind = 'r' AND c.relowner = n.nspowner),
		ARRAY(
			SELECT coalesce(r.rolname, 'a role that is gone'::pg_catalog.name)
			FROM pg_catalog.pg_auth_members AS g
			LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantor
			WHERE g.roleid = o.oid AND g.member = l.oid
			ORDER BY 1)
	FROM pg_catalog.pg_namespace AS n
	JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
	CROSS JOIN login AS l
	WHERE n.nspname = $1`

// An ownership says which role the catalog belongs to, and who the login is.
type ownership struct {
	owner, login string
	super        bool     // the login is a superuser
	member       bool     // the login is the owner, or was granted membership in it and may SET ROLE to it
	acting       bool     // the session already acts as the owner
	lockable     bool     // the owner has a table that keeps the version
	grantors     []string // of the login's own membership in the owner
}

// readOwnership also pins how names are resolved and written in the transaction. It returns
// ErrNoCatalog if there is no schema.
func readOwnership(ctx context.Context, tx pgx.Tx) (ownership, error) {
	var o ownership
	batch := &pgx.Batch{}
	batch.Queue("SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('quote_all_identifiers', 'off', true)")
	batch.Queue(ownerSQL, Schema).QueryRow(func(row pgx.Row) error {
		return row.Scan(&o.owner, &o.login, &o.super, &o.member, &o.acting, &o.lockable, &o.grantors)
	})
	err := tx.SendBatch(ctx, batch).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return ownership{}, ErrNoCatalog
	}
	if err != nil {
		return ownership{}, fmt.Errorf("read the owner of the catalog: %w", err)
	}
	return o, nil
}

// refusal returns why the login must not use the catalog, or nil.
func (o ownership) refusal() error {
	if o.owner == o.login || o.member && !o.super {
		return nil
	}
	return &OwnerError{Owner: o.owner, Login: o.login, Superuser: o.super, Grantors: o.grantors}
}

// An OwnerError says that the catalog belongs to a role that the login must not act as.
type OwnerError struct {
	Owner, Login string
	Superuser    bool     // the login is a superuser
	Grantors     []string // who made the login a member of the owner, without power over the login
}

func (e *OwnerError) Error() string {
	why := "is not a member of that role, or is not allowed to SET ROLE to it"
	switch {
	case e.Superuser:
		why = "is a superuser. A superuser can use only its own catalog, because code that another role puts into a catalog could gain a superuser's rights"
	case len(e.Grantors) > 0:
		why = fmt.Sprintf("is a member of that role only because %s granted the membership, or is not allowed to SET ROLE to it. A role's administrator can make any login its member, "+
			"so a membership counts only if a superuser or a role that administers %q granted it", strings.Join(e.Grantors, ", "), e.Login)
	}
	return fmt.Sprintf("open the catalog: schema %[1]s belongs to %[2]q, and the login %[3]q %[4]s. "+
		"Use a server entry that logs in as %[2]q. If this provider did not create the schema, ask %[2]q or a superuser to drop it, or to rename it: ALTER SCHEMA %[1]s RENAME TO %[1]s_old",
		Schema, e.Owner, e.Login, why)
}
