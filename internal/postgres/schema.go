package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Schema is a schema of a database.
type Schema struct {
	Database string
	Name     string
	Owner    string // "" when creating: the login; when updating: whoever it is
}

// CheckSchemaName refuses the names of schemas that are not anybody's to create.
func CheckSchemaName(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	switch {
	case name == "public":
		return errors.New("the schema public belongs to every database, it is not created: choose another name")
	case name == "_stitch":
		return errors.New("the schema _stitch is where this provider keeps its catalog: choose another name")
	case name == "information_schema", strings.HasPrefix(name, "pg_"):
		return fmt.Errorf("the schema name %q is reserved for PostgreSQL: choose another name", name)
	}
	return nil
}

// CreateSchema creates a schema and returns it with its owner.
func (s *Server) CreateSchema(ctx context.Context, c Schema) (Schema, error) {
	var created Schema
	err := CheckSchemaName(c.Name)
	if err == nil {
		err = s.inTx(ctx, c.Database, func(tx pgx.Tx) (err error) {
			created, err = createSchema(ctx, tx, c)
			return err
		})
	}
	if err != nil {
		return Schema{}, fmt.Errorf("create schema %q in database %q: %w", c.Name, c.Database, err)
	}
	return created, nil
}

func createSchema(ctx context.Context, tx pgx.Tx, c Schema) (Schema, error) {
	sql := "CREATE SCHEMA " + Ident(c.Name)
	if c.Owner != "" {
		sql += " AUTHORIZATION " + Ident(c.Owner)
	}
	if _, err := tx.Exec(ctx, sql); err != nil {
		if c.Owner != "" {
			err = explainSchemaOwner(err, c.Owner)
		}
		return Schema{}, err
	}
	return schema(ctx, tx, c.Database, c.Name)
}

// Schema returns the schema called name, or ErrNotFound if there is none, or no
// such database.
func (s *Server) Schema(ctx context.Context, database, name string) (Schema, error) {
	var c Schema
	err := s.inTx(ctx, database, func(tx pgx.Tx) (err error) {
		c, err = schema(ctx, tx, database, name)
		return err
	})
	if Code(err) == "3D000" {
		err = ErrNotFound
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read schema %q of database %q: %w", name, database, err)
	}
	return c, nil
}

const schemaSQL = `
	SELECT $1::text, nspname, pg_catalog.pg_get_userbyid(nspowner)
	FROM pg_catalog.pg_namespace
	WHERE nspname = $2`

func schema(ctx context.Context, tx pgx.Tx, database, name string) (Schema, error) {
	rows, _ := tx.Query(ctx, schemaSQL, database, name)
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Schema])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return c, err
}

// UpdateSchema gives the schema to c.Owner if that is another one.
func (s *Server) UpdateSchema(ctx context.Context, c Schema) error {
	err := s.inTx(ctx, c.Database, func(tx pgx.Tx) error {
		have, err := schema(ctx, tx, c.Database, c.Name)
		if err != nil || c.Owner == "" || c.Owner == have.Owner {
			return err
		}
		_, err = tx.Exec(ctx, "ALTER SCHEMA "+Ident(c.Name)+" OWNER TO "+Ident(c.Owner))
		return explainSchemaOwner(err, c.Owner)
	})
	if err != nil {
		return fmt.Errorf("update schema %q of database %q: %w", c.Name, c.Database, err)
	}
	return nil
}

func explainSchemaOwner(err error, owner string) error {
	return explainOwner(err, owner, " and may create schemas in this database")
}

// DropSchema drops a schema; one that is gone, with its database or alone, is
// done. One that holds anything is dropped only by force, which takes along
// what depends on that elsewhere, such as views.
func (s *Server) DropSchema(ctx context.Context, database, name string, force bool) error {
	err := s.inTx(ctx, database, func(tx pgx.Tx) error { return dropSchema(ctx, tx, name, force) })
	if code := Code(err); code == "3D000" || code == "3F000" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop schema %q of database %q: %w", name, database, err)
	}
	return nil
}

const schemaContentsSQL = `
	SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
	FROM pg_catalog.pg_depend AS d
	JOIN pg_catalog.pg_namespace AS n ON n.oid = d.refobjid
	LEFT JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND d.classid = 'pg_catalog.pg_class'::regclass
	WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass
	  AND n.nspname = $1
	  AND d.deptype = 'n'
	  AND c.relispartition IS NOT TRUE
	  AND NOT EXISTS ( -- a table's own sequence
		SELECT
		FROM pg_catalog.pg_depend AS o
		WHERE o.classid = d.classid
		  AND o.objid = d.objid
		  AND c.relkind = 'S'
		  AND o.deptype IN ('a', 'i')
		  AND o.refobjsubid <> 0)
	ORDER BY d.classid, c.relname, d.objid`

// The lock is not waited for without end: those who read the tables meanwhile
// would queue up behind.
func dropSchema(ctx context.Context, tx pgx.Tx, name string, force bool) error {
	if force {
		_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '30s'; DROP SCHEMA "+Ident(name)+" CASCADE")
		return err
	}
	rows, _ := tx.Query(ctx, schemaContentsSQL, name)
	objects, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if err := refuseContents(objects); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SET LOCAL lock_timeout = '30s'; DROP SCHEMA "+Ident(name))
	return err
}
