package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
)

// reassignAttempts is how often to reassign objects while the user creates more of them.
const reassignAttempts = 3

// databasesToReassign returns the databases in which objects of a user must be reassigned, or
// privileges revoked: the default one ("") if all of them belong to the server. It fails, before
// anything is changed, if it cannot connect to one of the databases.
func databasesToReassign(ctx context.Context, s *pgclient.Server, name, to string) ([]string, error) {
	var databases []string
	err := s.InTx(ctx, "", func(tx pgx.Tx) error {
		dependents, err := dependentsOf(ctx, tx, name)
		if databases = reassignIn(s, dependents); err != nil || len(databases) == 0 {
			return err
		}
		if _, err = user(ctx, tx, to); errors.Is(err, pgclient.ErrNotFound) {
			return fmt.Errorf("the role %q in reassign_owned_to does not exist", to)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, database := range databases {
		err := s.OnConn(ctx, database, func(*pgx.Conn) error { return nil })
		if err != nil && pgclient.Code(err) != pgclient.InvalidCatalogName { // a database that is gone needs nothing
			failures = append(failures, fmt.Errorf("database %q: %w", database, err))
		}
	}
	if len(failures) == 0 {
		return databases, nil
	}
	return nil, pgclient.Advise(fmt.Errorf("the user owns objects or has privileges in databases that the login cannot connect to. Nothing was changed:\n%w", errors.Join(failures...)),
		"Allow the login of this server entry to connect to these databases, or ask an administrator to run in each of them:\n  "+reassignSQL(name, to)+";")
}

// reassignIn leaves out the databases that this process is dropping.
func reassignIn(s *pgclient.Server, dependents []Dependents) []string {
	var databases []string
	onServer := false
	for _, d := range dependents {
		switch {
		case s.IsDropping(d.Database):
		case d.inside:
			databases = append(databases, d.Database)
		default:
			onServer = true
		}
	}
	if onServer && len(databases) == 0 {
		databases = []string{""} // objects of the server can be reassigned from every database
	}
	return databases
}

func reassignSQL(name, to string) string {
	return reassignOwnedSQL(name, to) + "; " + dropOwnedSQL(name)
}

func reassignOwnedSQL(name, to string) string {
	return "REASSIGN OWNED BY " + pgclient.Ident(name) + " TO " + pgclient.Ident(to)
}

func dropOwnedSQL(name string) string { return "DROP OWNED BY " + pgclient.Ident(name) }

// reassign gives the objects that a user owns in a database to another role, and revokes the
// privileges that the user was granted there.
func reassign(ctx context.Context, s *pgclient.Server, database, name, to string) error {
	err := privilege.ChangeObjects(ctx, s, database, pgclient.Contention{Owner: name}, func(tx pgx.Tx) error {
		owners, err := ownersOfRights(ctx, tx, name)
		if err != nil {
			return err
		}
		needed := privilege.Needs{RightsOf: []string{name, to}, NewOwner: to, Helpful: owners}
		return needed.While(ctx, tx, []string{reassignSQL(name, to)}, func() error { return reassignOwned(ctx, tx, name, to) })
	})
	if err == nil || pgclient.Code(err) == pgclient.InvalidCatalogName {
		return nil
	}
	var left *leftoverError
	refused := pgclient.Code(err) == pgclient.InsufficientPrivilege && !pgclient.IsUnreachable(err) || errors.As(err, &left)
	err = fmt.Errorf("reassign its objects in database %q: %w", s.DatabaseName(database), err)
	if !refused {
		return err
	}
	return pgclient.Advise(err, fmt.Sprintf("The login of this server entry is not allowed to do that. Nothing was changed in that database. Ask an administrator to run there:\n  %s;", reassignSQL(name, to)))
}

// ownersOfRights returns the owners of the objects on which a user has privileges: a login that
// is neither one of these owners nor a member of one revokes nothing.
func ownersOfRights(ctx context.Context, tx pgx.Tx, name string) ([]string, error) {
	rows, _ := tx.Query(ctx, `
		SELECT DISTINCT owner.rolname
		FROM pg_catalog.pg_shdepend AS d
		JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
		LEFT JOIN pg_catalog.pg_database AS b ON b.oid = d.dbid
		JOIN pg_catalog.pg_shdepend AS o
			ON o.dbid = d.dbid AND o.classid = d.classid AND o.objid = d.objid
			AND o.deptype = 'o' AND o.refclassid = d.refclassid
		JOIN pg_catalog.pg_roles AS owner ON owner.oid = o.refobjid
		WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
		  AND r.rolname = $1
		  AND d.deptype = 'a'
		  AND (d.dbid = 0 OR b.datname = pg_catalog.current_database())
		  AND owner.oid <> r.oid
		ORDER BY 1`, name)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// dependingSQL lists, in the words of a DependentsError, what depends on a user in this database
// and on the server. REASSIGN OWNED leaves default privileges and passwords for foreign servers
// to DROP OWNED.
const dependingSQL = `
	SELECT ` + dependenceSQL + `
	FROM pg_catalog.pg_shdepend AS d
	JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
	LEFT JOIN pg_catalog.pg_database AS b ON b.oid = d.dbid
	WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
	  AND r.rolname = $1
	  AND (d.dbid = 0 OR b.datname = pg_catalog.current_database())
	  AND (NOT $2 OR d.deptype = 'o'
	       AND d.classid NOT IN ('pg_catalog.pg_default_acl'::pg_catalog.regclass, 'pg_catalog.pg_user_mapping'::pg_catalog.regclass))
	ORDER BY d.deptype DESC, d.classid, d.objid
	LIMIT $3`

func depending(ctx context.Context, tx pgx.Tx, name string, onlyOwned bool) ([]string, error) {
	rows, _ := tx.Query(ctx, dependingSQL, name, onlyOwned, namedDependents)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// A leftoverError says what still depends on a user after the login has done all that it may do.
type leftoverError struct{ names []string }

func (e *leftoverError) Error() string { return "these remain: " + strings.Join(e.names, ", ") }

// reassignOwned drops nothing that the user created while the rest was being reassigned, and
// leaves nothing behind.
func reassignOwned(ctx context.Context, tx pgx.Tx, name, to string) error {
	for range reassignAttempts {
		if _, err := tx.Exec(ctx, reassignOwnedSQL(name, to)); err != nil {
			return err
		}
		owned, err := depending(ctx, tx, name, true)
		if err != nil {
			return err
		}
		if len(owned) > 0 {
			continue
		}
		if _, err := tx.Exec(ctx, dropOwnedSQL(name)); err != nil {
			return err
		}
		left, err := depending(ctx, tx, name, false) // if the login may not revoke, the server only warns
		if err == nil && len(left) > 0 {
			err = &leftoverError{names: left}
		}
		return err
	}
	return errors.New("the user keeps creating objects: set terminate_sessions = true, apply, and destroy the user again")
}
