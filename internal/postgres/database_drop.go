package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
)

// A DatabaseDrop says what may be dropped or ended together with a database.
type DatabaseDrop struct {
	Tables   bool // and whatever else it holds
	Sessions bool // those of other clients
}

// DropDatabase drops a database; one that does not exist is no error. Unless DatabaseDrop allows
// it, DropDatabase drops no database that holds tables, and ends no sessions of other clients:
// the error lists them.
func DropDatabase(ctx context.Context, s *pgclient.Server, name string, may DatabaseDrop) error {
	defer s.BeginDrop(name)()
	defer s.Changed()

	err := dropDatabase(ctx, s, name, may)
	if err != nil {
		return fmt.Errorf("drop database %q: %w", name, err)
	}
	return nil
}

func dropDatabase(ctx context.Context, s *pgclient.Server, name string, may DatabaseDrop) error {
	have, err := databaseToDrop(ctx, s, name)
	if errors.Is(err, pgclient.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !may.Tables && !have.IsInvalid() {
		if err := refuseTables(ctx, s, name); err != nil {
			return err
		}
	}
	restore, err := assumeOwnership(ctx, s, have)
	if err != nil {
		return err
	}
	err = tryDropDatabase(ctx, s, name, may)
	var busy *SessionsError
	if errors.As(err, &busy) && busy.mayPass() {
		err = tryDropDatabase(ctx, s, name, may)
	}
	if err != nil && len(restore) > 0 {
		err = restoreOwnership(ctx, s, have, restore, err)
	}
	return err
}

func databaseToDrop(ctx context.Context, s *pgclient.Server, name string) (have Database, err error) {
	err = s.InTx(ctx, maintenanceDatabase(s, name), func(tx pgx.Tx) error {
		have, err = database(ctx, tx, name)
		return err
	})
	return have, err
}

// assumeOwnership makes the login the owner if it lacks the privileges of the present owner. A
// membership in that role would have to be committed to be of use, because DROP DATABASE runs in
// no transaction. assumeOwnership returns the SQL that gives the database back.
func assumeOwnership(ctx context.Context, s *pgclient.Server, have Database) (restore []string, err error) {
	err = privilege.ChangeRights(ctx, s, maintenanceDatabase(s, have.Name), func(tx pgx.Tx) error {
		restore = nil
		needed := privilege.Needs{RightsOf: []string{have.Owner}}
		memberships, err := needed.Memberships(ctx, tx, "DROP DATABASE "+pgclient.Ident(have.Name))
		if err != nil || len(memberships) == 0 {
			return err
		}
		if restore, err = ownRights(ctx, tx, have.Name); err != nil {
			return err
		}
		restore = append([]string{"ALTER DATABASE " + pgclient.Ident(have.Name) + " OWNER TO " + pgclient.Ident(have.Owner)}, restore...)
		needed.CreateDB = true
		return needed.Run(ctx, tx, "ALTER DATABASE "+pgclient.Ident(have.Name)+" OWNER TO CURRENT_USER")
	})
	if err != nil {
		return nil, err
	}
	return restore, nil
}

const ownRightsSQL = `
	SELECT privilege.privilege_type, privilege.is_grantable
	FROM pg_catalog.pg_database AS d
	CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) AS privilege
	JOIN pg_catalog.pg_roles AS login ON login.oid = privilege.grantee
	WHERE d.datname = $1
	  AND login.rolname = current_user
	ORDER BY 1`

// ownRights returns the SQL that grants again what the database's owner granted to the login.
// These privileges become the owner's own when the login becomes the owner, and are lost when
// the database is given back.
func ownRights(ctx context.Context, tx pgx.Tx, database string) ([]string, error) {
	rows, _ := tx.Query(ctx, ownRightsSQL, database)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (sql string, err error) {
		var privilege string
		var grantable bool
		err = row.Scan(&privilege, &grantable)
		sql = "GRANT " + privilege + " ON DATABASE " + pgclient.Ident(database) + " TO CURRENT_USER"
		if grantable {
			sql += " WITH GRANT OPTION"
		}
		return sql, err
	})
}

// restoreOwnership returns refusal, with any error of its own.
func restoreOwnership(ctx context.Context, s *pgclient.Server, have Database, restore []string, refusal error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err := privilege.ChangeRights(ctx, s, maintenanceDatabase(s, have.Name), func(tx pgx.Tx) error {
		now, err := database(ctx, tx, have.Name)
		if err != nil {
			return err
		}
		needed := privilege.Needs{RightsOf: []string{now.Owner, have.Owner}, NewOwner: have.Owner, CreateDB: true}
		return needed.Run(ctx, tx, restore...)
	})
	if err != nil && !errors.Is(err, pgclient.ErrNotFound) {
		return fmt.Errorf("%w\nThe login of this server entry became the owner of the database in order to drop it, and still is the owner, because giving it back to %q failed: %w", refusal, have.Owner, err)
	}
	return refusal
}

// tryDropDatabase waits for other sessions to end for as long as PostgreSQL does, 5 seconds.
func tryDropDatabase(ctx context.Context, s *pgclient.Server, name string, may DatabaseDrop) error {
	s.CloseIdleIn(name)
	if may.Sessions {
		return dropWithSessions(ctx, s, name)
	}
	return s.OnSession(ctx, maintenanceDatabase(s, name), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE "+pgclient.Ident(name))
		return explainDrop(ctx, conn, name, err, "The provider ends sessions of other clients only on request. "+
			"End them and apply again; or set terminate_sessions = true, apply that change alone, and then destroy or replace the database.")
	})
}

// explainDrop adds to the refusal to drop a database who is connected to it, and what else uses
// it. A database that does not exist is no error.
func explainDrop(ctx context.Context, conn *pgx.Conn, name string, refusal error, advice string) error {
	switch pgclient.Code(refusal) {
	case pgclient.InvalidCatalogName:
		return nil
	case pgclient.ObjectInUse, pgclient.InsufficientPrivilege:
		sessions, err := sessionsOf(ctx, conn, name)
		var obstacles []string
		if err == nil {
			obstacles, err = obstaclesOf(ctx, conn, name)
		}
		if err == nil {
			return &SessionsError{Sessions: sessions, Obstacles: obstacles, Err: refusal, advice: advice}
		}
	}
	return refusal
}

// dropWithSessions ends the sessions of other clients. PostgreSQL 13 and newer have an option
// for that; before, the database accepts no connections until it is dropped.
func dropWithSessions(ctx context.Context, s *pgclient.Server, name string) error {
	wasOpen := false
	err := s.OnSession(ctx, maintenanceDatabase(s, name), func(conn *pgx.Conn) (err error) {
		if pgclient.Version(conn) >= 13 {
			_, err = conn.Exec(ctx, "DROP DATABASE "+pgclient.Ident(name)+" WITH (FORCE)")
		} else {
			err = dropAfterDisconnecting(ctx, conn, name, &wasOpen)
		}
		return explainDrop(ctx, conn, name, err, "To end these sessions, the login must be a member of their roles or of pg_signal_backend. Only a superuser can end the sessions of superusers.")
	})
	if err != nil && wasOpen {
		err = allowSessions(ctx, s, name, err)
	}
	return err
}

const allowsSessionsSQL = `
	SELECT datallowconn
	FROM pg_catalog.pg_database
	WHERE datname = $1`

// DROP DATABASE ends autovacuum's workers, which run as no user, and parallel workers end with
// their leader. The login may not see the type of a process.
const terminateSQL = `
	SELECT pg_catalog.pg_terminate_backend(pid)
	FROM pg_catalog.pg_stat_activity
	WHERE datname = $1
	  AND usesysid IS NOT NULL
	  AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')`

// dropAfterDisconnecting makes the database accept no connections, ends its sessions, and drops
// it. It sets shut if this call or an earlier attempt disallowed connections.
func dropAfterDisconnecting(ctx context.Context, conn *pgx.Conn, name string, wasOpen *bool) error {
	open := false
	err := pgclient.BoundedTx(ctx, conn, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, allowsSessionsSQL, name).Scan(&open)
		if err != nil || !open {
			return err
		}
		_, err = tx.Exec(ctx, "ALTER DATABASE "+pgclient.Ident(name)+" ALLOW_CONNECTIONS false")
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	*wasOpen = *wasOpen || open
	err = pgclient.BoundedTx(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, terminateSQL, name)
		return err
	})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP DATABASE "+pgclient.Ident(name))
	return err
}

// allowSessions makes the database accept connections again, and returns refusal, with any error
// of its own.
func allowSessions(ctx context.Context, s *pgclient.Server, name string, refusal error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	sql := "ALTER DATABASE " + pgclient.Ident(name) + " ALLOW_CONNECTIONS true"
	err := s.InTx(ctx, maintenanceDatabase(s, name), func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	})
	if err != nil && pgclient.Code(err) != pgclient.InvalidCatalogName {
		return fmt.Errorf("%w\nThe database no longer accepts connections, and undoing that failed: %w\nTo undo it, run: %s;", refusal, err, sql)
	}
	return refusal
}
