package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// reassignAttempts is how often what a user goes on creating is reassigned.
const reassignAttempts = 3

// databasesToReassign returns the databases in which something of a user is to
// be reassigned or revoked: the default one ("") if it all belongs to the
// server. It fails, before anything is changed, if one can not be connected to.
func (s *Server) databasesToReassign(ctx context.Context, name, to string) ([]string, error) {
	var dependents []Dependents
	err := s.inTx(ctx, "", func(tx pgx.Tx) (err error) {
		if _, err = user(ctx, tx, to); errors.Is(err, ErrNotFound) {
			return fmt.Errorf("there is no role %q to reassign to", to)
		}
		if err == nil {
			dependents, err = dependentsOf(ctx, tx.Conn(), name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var failures []error
	databases := s.reassignIn(dependents)
	for _, database := range databases {
		err := s.onConn(ctx, database, func(*pgx.Conn) error { return nil })
		if err != nil && Code(err) != "3D000" { // that one is gone
			failures = append(failures, fmt.Errorf("database %q: %w", database, err))
		}
	}
	if len(failures) == 0 {
		return databases, nil
	}
	return nil, Advise(fmt.Errorf("something in databases that can not be connected to is to be reassigned, so nothing was changed:\n%w", errors.Join(failures...)),
		"Let the login of this server entry connect to them, or have somebody who can run there:\n  "+reassignSQL(name, to))
}

// reassignIn leaves out the databases that this process is dropping.
func (s *Server) reassignIn(dependents []Dependents) []string {
	var databases []string
	onServer := false
	for _, d := range dependents {
		switch {
		case s.siblings.isDropping(s.config.address(), d.Database):
		case d.inside:
			databases = append(databases, d.Database)
		default:
			onServer = true
		}
	}
	if onServer && len(databases) == 0 {
		databases = []string{""} // what belongs to the server can be reassigned from everywhere
	}
	return databases
}

func reassignSQL(name, to string) string {
	return reassignOwnedSQL(name, to) + "; " + dropOwnedSQL(name) + ";"
}

func reassignOwnedSQL(name, to string) string {
	return "REASSIGN OWNED BY " + Ident(name) + " TO " + Ident(to)
}

func dropOwnedSQL(name string) string { return "DROP OWNED BY " + Ident(name) }

// What REASSIGN OWNED leaves to DROP OWNED holds no data: default privileges,
// and passwords for foreign servers.
const ownedSQL = `
	SELECT count(*)
	FROM pg_catalog.pg_shdepend AS d
	JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
	LEFT JOIN pg_catalog.pg_database AS b ON b.oid = d.dbid
	WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass
	  AND r.rolname = $1
	  AND d.deptype = 'o'
	  AND (d.dbid = 0 OR b.datname = pg_catalog.current_database())
	  AND d.classid NOT IN ('pg_catalog.pg_default_acl'::regclass, 'pg_catalog.pg_user_mapping'::regclass)`

// reassign gives what a user owns in a database to another role, and revokes
// what it was granted there.
func (s *Server) reassign(ctx context.Context, database, name, to string) error {
	err := s.changeRights(ctx, database, func(tx pgx.Tx) error {
		return asMember(ctx, tx, []string{name, to}, func() error { return reassignOwned(ctx, tx, name, to) })
	})
	switch {
	case err == nil, Code(err) == "3D000":
		return nil
	case database == "":
		database = s.config.Database
	}
	err = fmt.Errorf("reassign what it owns in database %q: %w", database, err)
	if Code(err) != "42501" {
		return err
	}
	return Advise(err, fmt.Sprintf("The login of this server entry may not do that. Have somebody who may run, in database %q:\n  %s", database, reassignSQL(name, to)))
}

// reassignOwned drops nothing that the user created while the rest was reassigned.
func reassignOwned(ctx context.Context, tx pgx.Tx, name, to string) error {
	for range reassignAttempts {
		if _, err := tx.Exec(ctx, reassignOwnedSQL(name, to)); err != nil {
			return err
		}
		var owned int
		if err := tx.QueryRow(ctx, ownedSQL, name).Scan(&owned); err != nil {
			return err
		}
		if owned == 0 {
			_, err := tx.Exec(ctx, dropOwnedSQL(name))
			return err
		}
	}
	return errors.New("the user goes on creating objects; set terminate_sessions = true and apply before destroying it")
}
