package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Database is a database of a server.
type Database struct {
	Name  string
	Owner string // "" when creating: the login; when updating: whoever it is
}

// CreateDatabase creates a database and returns it with its owner.
func (s *Server) CreateDatabase(ctx context.Context, d Database) (Database, error) {
	err := s.onConn(ctx, s.besides(d.Name), func(conn *pgx.Conn) error {
		sql := "CREATE DATABASE " + Ident(d.Name)
		if d.Owner == "" {
			if err := conn.QueryRow(ctx, `SELECT current_user`).Scan(&d.Owner); err != nil {
				return err
			}
			_, err := conn.Exec(ctx, sql)
			return err
		}
		_, err := conn.Exec(ctx, sql+" OWNER "+Ident(d.Owner))
		return explainOwner(err, d.Owner, " and may create databases")
	})
	if err != nil {
		return Database{}, fmt.Errorf("create database %q: %w", d.Name, err)
	}
	return d, nil
}

const databaseSQL = `
	SELECT datname, pg_catalog.pg_get_userbyid(datdba)
	FROM pg_catalog.pg_database
	WHERE datname = $1`

// Database returns the database called name, or ErrNotFound.
func (s *Server) Database(ctx context.Context, name string) (Database, error) {
	var d Database
	err := s.onConn(ctx, "", func(conn *pgx.Conn) (err error) {
		d, err = database(ctx, conn, name)
		return err
	})
	if Code(err) == "3D000" && name == s.config.Database {
		err = ErrNotFound // it was to be connected to
	}
	if err != nil {
		return Database{}, fmt.Errorf("read database %q: %w", name, err)
	}
	return d, nil
}

func database(ctx context.Context, conn *pgx.Conn, name string) (Database, error) {
	rows, _ := conn.Query(ctx, databaseSQL, name)
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Database])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return d, err
}

// UpdateDatabase gives the database to d.Owner if that is another one.
func (s *Server) UpdateDatabase(ctx context.Context, d Database) error {
	err := s.onConn(ctx, "", func(conn *pgx.Conn) error {
		have, err := database(ctx, conn, d.Name)
		if err != nil || d.Owner == "" || d.Owner == have.Owner {
			return err
		}
		_, err = conn.Exec(ctx, "ALTER DATABASE "+Ident(d.Name)+" OWNER TO "+Ident(d.Owner))
		return explainOwner(err, d.Owner, " and may create databases")
	})
	if err != nil {
		return fmt.Errorf("update database %q: %w", d.Name, err)
	}
	return nil
}

// DropDatabase drops a database; one that is gone is done. Unless it is told to
// by force, it drops none that holds tables. Sessions of others are never
// terminated: if they stay, the error lists them.
func (s *Server) DropDatabase(ctx context.Context, name string, force bool) error {
	address := s.config.address()
	s.siblings.beginDrop(address, name)
	defer s.siblings.endDrop(address, name)

	err := s.dropDatabase(ctx, name, force)
	if err != nil {
		return fmt.Errorf("drop database %q: %w", name, err)
	}
	return nil
}

func (s *Server) dropDatabase(ctx context.Context, name string, force bool) error {
	if !force {
		if err := s.refuseTables(ctx, name); err != nil {
			return err
		}
	}
	err := s.tryDropDatabase(ctx, name)
	var busy *SessionsError
	if errors.As(err, &busy) && busy.mayPass() {
		err = s.tryDropDatabase(ctx, name)
	}
	return err
}

// tryDropDatabase waits for as long as PostgreSQL does, 5 seconds, for other
// sessions to end.
func (s *Server) tryDropDatabase(ctx context.Context, name string) error {
	s.siblings.leave(s.config.address(), name)
	return s.onConn(ctx, s.besides(name), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE "+Ident(name))
		switch Code(err) {
		case "3D000":
			return nil
		case "55006":
			sessions, failed := sessionsOf(ctx, conn, name)
			if failed == nil {
				return &SessionsError{Sessions: sessions, Err: err}
			}
		}
		return err
	})
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
	  AND n.nspname NOT LIKE 'pg\_%'
	  AND NOT EXISTS ( -- part of an extension, or a table's own sequence
		SELECT
		FROM pg_catalog.pg_depend AS d
		WHERE d.classid = 'pg_catalog.pg_class'::regclass
		  AND d.objid = c.oid
		  AND (d.deptype = 'e' OR c.relkind = 'S' AND d.deptype IN ('a', 'i') AND d.refobjsubid <> 0))
	ORDER BY n.nspname, c.relname`

// refuseTables returns a ContentsError if a database holds tables or the like
// that somebody made. The memory of the engine, _stitch, is none of them.
func (s *Server) refuseTables(ctx context.Context, name string) error {
	var objects []string
	err := s.onConn(ctx, name, func(conn *pgx.Conn) (err error) {
		rows, _ := conn.Query(ctx, tablesToLoseSQL)
		objects, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			var kind string
			var t TableName
			err := row.Scan(&kind, &t.Schema, &t.Name)
			return kind + " " + t.String(), err
		})
		return err
	})
	if err != nil && Code(err) != "3D000" {
		return fmt.Errorf("look for tables that would be lost: %w", err)
	}
	return refuseContents(objects)
}

// besides is a database to be connected to while something is done to the one
// called name ("" for the default one).
func (s *Server) besides(name string) string {
	switch {
	case name != s.config.Database:
		return ""
	case name != DefaultDatabase:
		return DefaultDatabase
	}
	return "template1"
}

// explainOwner adds to the refusal of an owner what it takes to have that one.
func explainOwner(err error, owner, also string) error {
	if Code(err) != "42501" {
		return err
	}
	return fmt.Errorf("%w\nOwner can become %q only if the login of this server entry is a superuser, or is a member of that role (GRANT %s TO CURRENT_USER)%s",
		err, owner, Ident(owner), also)
}

func dropKey(address, database string) string { return address + "/" + database }

// beginDrop notes that a database is being dropped, so that those who are in
// its way leave it, and those whose way it is in wait.
func (all *Servers) beginDrop(address, database string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.dropping[dropKey(address, database)]++
}

func (all *Servers) endDrop(address, database string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	key := dropKey(address, database)
	if all.dropping[key]--; all.dropping[key] == 0 {
		delete(all.dropping, key)
	}
}

func (all *Servers) isDropping(address, database string) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.dropping[dropKey(address, database)] > 0
}

// leave closes the idle connections to a database, of all entries.
func (all *Servers) leave(address, database string) {
	for _, s := range all.byName {
		if s.config.address() == address {
			s.closeIdle(func(c *Conn) bool { return c.database == database })
		}
	}
}
