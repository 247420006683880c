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

// A Schema is a schema of a database.
type Schema struct {
	Database string
	Name     string
	Owner    string // "" when creating: the login; when updating: the present owner
	Comment  string // "": no comment
}

// CheckSchemaName refuses the names of schemas that users cannot create.
func CheckSchemaName(name string) error {
	if err := pgclient.CheckName(name); err != nil {
		return err
	}
	switch {
	case name == "public":
		return errors.New("the schema public comes with every database: choose another name")
	case name == "_stitch":
		return errors.New("this provider keeps its catalog in the schema _stitch: choose another name")
	case name == "information_schema", strings.HasPrefix(name, "pg_"):
		return fmt.Errorf("the schema name %q is reserved for PostgreSQL: choose another name", name)
	}
	return nil
}

// CreateSchema creates a schema and returns it with its owner.
func CreateSchema(ctx context.Context, s *pgclient.Server, c Schema) (Schema, error) {
	var created Schema
	err := CheckSchemaName(c.Name)
	if err == nil {
		err = privilege.ChangeRights(ctx, s, c.Database, func(tx pgx.Tx) (err error) {
			created, err = createSchema(ctx, tx, c)
			return err
		})
	}
	if err != nil {
		return Schema{}, fmt.Errorf("create schema %q in database %q: %w", c.Name, c.Database, err)
	}
	return created, nil
}

// createSchema creates a schema that the login owns and then gives it away, which takes fewer
// privileges than creating it for another role.
func createSchema(ctx context.Context, tx pgx.Tx, c Schema) (Schema, error) {
	if _, err := tx.Exec(ctx, "CREATE SCHEMA "+pgclient.Ident(c.Name)); err != nil {
		return Schema{}, err
	}
	return alterSchema(ctx, tx, c)
}

// ReadSchema returns the schema called name, or ErrNotFound if the schema or its database does
// not exist. In a plan, all callers share one reading of all schemas of a database.
func ReadSchema(ctx context.Context, s *pgclient.Server, database, name string) (Schema, error) {
	c, err := findSchema(ctx, s, database, name)
	if pgclient.Code(err) == pgclient.InvalidCatalogName {
		err = pgclient.ErrNotFound
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read schema %q of database %q: %w", name, database, err)
	}
	return c, nil
}

func findSchema(ctx context.Context, s *pgclient.Server, database, name string) (c Schema, err error) {
	if !s.IsPlanning() {
		err = s.InTx(ctx, database, func(tx pgx.Tx) (err error) {
			c, err = schema(ctx, tx, database, name)
			return err
		})
		return c, err
	}
	all, err := pgclient.ReadShared(ctx, s, database, func(ctx context.Context) (all map[string]Schema, err error) {
		err = s.InTx(ctx, database, func(tx pgx.Tx) (err error) {
			all, err = schemasByName(ctx, tx, database)
			return err
		})
		return all, err
	})
	if err != nil {
		return Schema{}, err
	}
	c, ok := all[name]
	if !ok {
		return Schema{}, pgclient.ErrNotFound
	}
	return c, nil
}

const schemasSQL = `
	SELECT $1::pg_catalog.text, n.nspname, pg_catalog.pg_get_userbyid(n.nspowner),
	       coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), '')
	FROM pg_catalog.pg_namespace AS n`

const schemaSQL = schemasSQL + `
	WHERE n.nspname = $2`

func schema(ctx context.Context, tx pgx.Tx, database, name string) (Schema, error) {
	rows, _ := tx.Query(ctx, schemaSQL, database, name)
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Schema])
	if errors.Is(err, pgx.ErrNoRows) {
		err = pgclient.ErrNotFound
	}
	return c, err
}

func schemasByName(ctx context.Context, tx pgx.Tx, database string) (map[string]Schema, error) {
	rows, _ := tx.Query(ctx, schemasSQL, database)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Schema])
	all := make(map[string]Schema, len(list))
	for _, c := range list {
		all[c.Name] = c
	}
	return all, err
}

// UpdateSchema changes what differs.
func UpdateSchema(ctx context.Context, s *pgclient.Server, c Schema) error {
	err := privilege.ChangeRights(ctx, s, c.Database, func(tx pgx.Tx) error {
		_, err := alterSchema(ctx, tx, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("update schema %q of database %q: %w", c.Name, c.Database, err)
	}
	return nil
}

// alterSchema changes what differs, and returns the schema as it is afterwards.
func alterSchema(ctx context.Context, tx pgx.Tx, want Schema) (Schema, error) {
	have, err := schema(ctx, tx, want.Database, want.Name)
	if err != nil {
		return Schema{}, err
	}
	sql := want.changes(have)
	if len(sql) == 0 {
		return have, nil
	}
	needed := privilege.Needs{RightsOf: []string{have.Owner}}
	if want.Owner != have.Owner {
		needed.NewOwner = want.Owner
	}
	if err := needed.Run(ctx, tx, sql...); err != nil {
		return Schema{}, err
	}
	return schema(ctx, tx, want.Database, want.Name)
}

// changes returns the SQL that turns have into c. The owner comes last: after that change, the
// login may no longer own the schema.
func (c Schema) changes(have Schema) []string {
	var sql []string
	if c.Comment != have.Comment {
		sql = append(sql, "COMMENT ON SCHEMA "+pgclient.Ident(c.Name)+" IS "+commentLiteral(c.Comment))
	}
	if c.Owner != "" && c.Owner != have.Owner {
		sql = append(sql, "ALTER SCHEMA "+pgclient.Ident(c.Name)+" OWNER TO "+pgclient.Ident(c.Owner))
	}
	return sql
}

// DropSchema drops a schema; a schema or database that does not exist is no error. A schema that
// holds anything is dropped only by force, which also drops what depends on its contents
// elsewhere, such as views.
func DropSchema(ctx context.Context, s *pgclient.Server, database, name string, force bool) error {
	err := privilege.ChangeObjects(ctx, s, database, pgclient.Contention{Attempts: pgclient.DropLockAttempts, Schema: name}, func(tx pgx.Tx) error {
		have, err := schema(ctx, tx, database, name)
		if err != nil {
			return err
		}
		return dropSchema(ctx, tx, have, force)
	})
	if errors.Is(err, pgclient.ErrNotFound) || pgclient.Code(err) == pgclient.InvalidCatalogName {
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
	LEFT JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
	WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
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

func dropSchema(ctx context.Context, tx pgx.Tx, have Schema, force bool) error {
	sql := "DROP SCHEMA " + pgclient.Ident(have.Name)
	if force {
		sql += " CASCADE"
	} else {
		if err := refuseSchemaContents(ctx, tx, have.Name); err != nil {
			return err
		}
	}
	return privilege.Needs{RightsOf: []string{have.Owner}}.Run(ctx, tx, sql)
}
