package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A DatabaseDrop says what may go with a database.
type DatabaseDrop struct {
	Tables   bool // and whatever else it holds
	Sessions bool // those of others
}

// DropDatabase drops a database; one that is gone is done. Without leave it drops
// none that holds tables, and ends no sessions of others: the error lists them.
func (s *Server) DropDatabase(ctx context.Context, name string, may DatabaseDrop) error {
	defer s.BeginDrop(name)()
	defer s.Changed()

	err := s.dropDatabase(ctx, name, may)
	if err != nil {
		return fmt.Errorf("drop database %q: %w", name, err)
	}
	return nil
}

func (s *Server) dropDatabase(ctx context.Context, name string, may DatabaseDrop) error {
	have, err := s.databaseToDrop(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !may.Tables && !have.IsInvalid() {
		if err := s.refuseTables(ctx, name); err != nil {
			return err
		}
	}
	giveBack, err := s.takeDatabase(ctx, have)
	if err != nil {
		return err
	}
	err = s.tryDropDatabase(ctx, name, may)
	var busy *SessionsError
	if errors.As(err, &busy) && busy.mayPass() {
		err = s.tryDropDatabase(ctx, name, may)
	}
	if err != nil && len(giveBack) > 0 {
		err = s.giveDatabaseBack(ctx, have, giveBack, err)
	}
	return err
}

func (s *Server) databaseToDrop(ctx context.Context, name string) (have Database, err error) {
	err = s.inTx(ctx, s.besides(name), func(tx pgx.Tx) error {
		have, err = database(ctx, tx, name)
		return err
	})
	return have, err
}

// takeDatabase makes the login the owner if it has not the rights of the one
// that is: a membership in that role would have to be committed to be of use,
// as DROP DATABASE runs in no transaction. It returns the SQL that undoes that.
func (s *Server) takeDatabase(ctx context.Context, have Database) (giveBack []string, err error) {
	err = s.changeRights(ctx, s.besides(have.Name), func(tx pgx.Tx) error {
		giveBack = nil
		needed := needs{rightsOf: []string{have.Owner}}
		joins, err := needed.joinings(ctx, tx, "DROP DATABASE "+Ident(have.Name))
		if err != nil || len(joins) == 0 {
			return err
		}
		if giveBack, err = ownRights(ctx, tx, have.Name); err != nil {
			return err
		}
		giveBack = append([]string{"ALTER DATABASE " + Ident(have.Name) + " OWNER TO " + Ident(have.Owner)}, giveBack...)
		needed.createDB = true
		return needed.run(ctx, tx, "ALTER DATABASE "+Ident(have.Name)+" OWNER TO CURRENT_USER")
	})
	if err != nil {
		return nil, err
	}
	return giveBack, nil
}

const ownRightsSQL = `
	SELECT privilege.privilege_type, privilege.is_grantable
	FROM pg_catalog.pg_database AS d
	CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) AS privilege
	JOIN pg_catalog.pg_roles AS login ON login.oid = privilege.grantee
	WHERE d.datname = $1
	  AND login.rolname = current_user
	ORDER BY 1`

// ownRights returns the SQL for what the owner of a database granted to the login.
// It becomes the owner's own when the login is that, and goes with the ownership.
func ownRights(ctx context.Context, tx pgx.Tx, database string) ([]string, error) {
	rows, _ := tx.Query(ctx, ownRightsSQL, database)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (sql string, err error) {
		var privilege string
		var grantable bool
		err = row.Scan(&privilege, &grantable)
		sql = "GRANT " + privilege + " ON DATABASE " + Ident(database) + " TO CURRENT_USER"
		if grantable {
			sql += " WITH GRANT OPTION"
		}
		return sql, err
	})
}

// giveDatabaseBack returns refusal, with what else went wrong.
func (s *Server) giveDatabaseBack(ctx context.Context, have Database, giveBack []string, refusal error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	err := s.changeRights(ctx, s.besides(have.Name), func(tx pgx.Tx) error {
		now, err := database(ctx, tx, have.Name)
		if err != nil {
			return err
		}
		needed := needs{rightsOf: []string{now.Owner, have.Owner}, newOwner: have.Owner, createDB: true}
		return needed.run(ctx, tx, giveBack...)
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w\nThe login of this server entry, which became its owner to drop it, is so still: give it back to %q failed: %w", refusal, have.Owner, err)
	}
	return refusal
}

// tryDropDatabase waits for as long as PostgreSQL does, 5 seconds, for other
// sessions to end.
func (s *Server) tryDropDatabase(ctx context.Context, name string, may DatabaseDrop) error {
	s.LeaveDatabase(name)
	if may.Sessions {
		return s.dropWithSessions(ctx, name)
	}
	return s.onSession(ctx, s.besides(name), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE "+Ident(name))
		return explainDrop(ctx, conn, name, err, "Sessions of others are not ended unless that is wanted. "+
			"End them and apply again; or set terminate_sessions = true, apply that alone, and then destroy or replace the database.")
	})
}

// explainDrop adds to the refusal to drop a database who is connected to it, and what
// else uses it. One that is gone is done.
func explainDrop(ctx context.Context, conn *pgx.Conn, name string, refusal error, advice string) error {
	switch Code(refusal) {
	case InvalidCatalogName:
		return nil
	case ObjectInUse, InsufficientPrivilege:
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

// dropWithSessions ends the sessions of others. PostgreSQL has a way to do that
// since 13; before, nobody is let in meanwhile.
func (s *Server) dropWithSessions(ctx context.Context, name string) error {
	shut := false
	err := s.onSession(ctx, s.besides(name), func(conn *pgx.Conn) (err error) {
		if Version(conn) >= 13 {
			_, err = conn.Exec(ctx, "DROP DATABASE "+Ident(name)+" WITH (FORCE)")
		} else {
			err = dropShut(ctx, conn, name, &shut)
		}
		return explainDrop(ctx, conn, name, err, "Ending sessions takes membership in their roles or in pg_signal_backend, and a superuser for those of superusers.")
	})
	if err != nil && shut {
		err = s.allowSessions(ctx, name, err)
	}
	return err
}

const allowsSessionsSQL = `
	SELECT datallowconn
	FROM pg_catalog.pg_database
	WHERE datname = $1`

// Autovacuum's workers, who act as nobody, are ended by DROP DATABASE, and
// parallel ones end with whom they work for. What kind it is may not be shown.
const terminateSQL = `
	SELECT pg_catalog.pg_terminate_backend(pid)
	FROM pg_catalog.pg_stat_activity
	WHERE datname = $1
	  AND usesysid IS NOT NULL
	  AND coalesce(backend_type, 'client backend') IN ('client backend', 'walsender')`

// dropShut lets nobody in, ends the sessions that are, and drops the database. It
// sets shut if that is what keeps others out, also after an earlier attempt.
func dropShut(ctx context.Context, conn *pgx.Conn, name string, shut *bool) error {
	open := false
	err := boundedTx(ctx, conn, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, allowsSessionsSQL, name).Scan(&open)
		if err != nil || !open {
			return err
		}
		_, err = tx.Exec(ctx, "ALTER DATABASE "+Ident(name)+" ALLOW_CONNECTIONS false")
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	*shut = *shut || open
	err = boundedTx(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, terminateSQL, name)
		return err
	})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DROP DATABASE "+Ident(name))
	return err
}

// allowSessions lets everybody in again, and returns refusal with what went wrong.
func (s *Server) allowSessions(ctx context.Context, name string, refusal error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	sql := "ALTER DATABASE " + Ident(name) + " ALLOW_CONNECTIONS true"
	err := s.inTx(ctx, s.besides(name), func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	})
	if err != nil && Code(err) != InvalidCatalogName {
		return fmt.Errorf("%w\nNobody can connect to it now, and undoing that failed: %w\nRun: %s;", refusal, err, sql)
	}
	return refusal
}

const tablesToLoseSQL = `
	SELECT CASE c.relkind
			WHEN 'v' THEN 'view'
			WHEN 'm' THEN 'materialized view'
			WHEN 'S' THEN 'sequence'
			WHEN 'f' THEN 'foreign table'
			ELSE 'table'
		END, n.nspname, c.relname
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	  AND NOT c.relispartition
	  AND n.nspname NOT IN ('information_schema', '_stitch')
	  AND n.nspname !~ '^pg_'
	  AND NOT ` + isExtensionsSQL + `
	  AND NOT EXISTS ( -- a table's own sequence
		SELECT
		FROM pg_catalog.pg_depend AS d
		WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
		  AND d.objid = c.oid
		  AND c.relkind = 'S'
		  AND d.deptype IN ('a', 'i')
		  AND d.refobjsubid <> 0)
	ORDER BY n.nspname, c.relname`

const largeObjectsSQL = `SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata`

// refuseTables returns a ContentsError if a database holds tables or the like
// that somebody made, or large objects. The memory of the engine, _stitch, is none of them.
func (s *Server) refuseTables(ctx context.Context, name string) error {
	var objects []string
	var large int64
	err := s.inTx(ctx, name, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(ctx, largeObjectsSQL).Scan(&large); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, tablesToLoseSQL)
		objects, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			var kind string
			var t TableName
			err := row.Scan(&kind, &t.Schema, &t.Name)
			return kind + " " + t.String(), err
		})
		return err
	})
	switch Code(err) {
	case InvalidCatalogName:
		return nil
	case ObjectNotInPrerequisiteState:
		err = Advise(err, "Let somebody in (ALTER DATABASE "+Ident(name)+" ALLOW_CONNECTIONS true), or give up what it may hold: set force_destroy = true, apply that alone, and then destroy it.")
	}
	if err != nil {
		return fmt.Errorf("look for tables that would be lost: %w", err)
	}
	if large > 0 {
		objects = append(objects, fmt.Sprintf("large objects: %d", large))
	}
	return refuseContents(objects)
}
