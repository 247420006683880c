package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A ContentsError says that an object was not dropped because of what it holds.
type ContentsError struct{ Objects []string }

// refuseContents returns a ContentsError unless there are no objects.
func refuseContents(objects []string) error {
	if len(objects) == 0 {
		return nil
	}
	return &ContentsError{Objects: objects}
}

func (e *ContentsError) Error() string {
	return "these objects would be lost with it:" + e.List() +
		"\nMove what you still need elsewhere. To drop it with everything in it, set force_destroy = true and apply that change alone; " +
		"then destroy or replace it again."
}

// List names the objects, one a line.
func (e *ContentsError) List() string { return pgclient.List(e.Objects) }

// lossesSQL lists the tables of the schema $1, or of all user schemas if $1 is empty, with about
// how many rows each table has.
const lossesSQL = `
	SELECT n.nspname, c.relname, greatest(c.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(c.oid), 0)
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p')
	  AND NOT c.relispartition
	  AND CASE $1::pg_catalog.text
		WHEN '' THEN n.nspname NOT IN ('information_schema', '_stitch') AND n.nspname !~ '^pg_'
		ELSE n.nspname::pg_catalog.text = $1
	  END
	  AND NOT ` + isExtensionsSQL + `
	ORDER BY n.nspname, c.relname`

// Losses lists, for people, the tables that are dropped with a database, or with one schema of
// it, and about how many rows they have. For a database or schema that is gone already, the list
// is empty.
func Losses(ctx context.Context, s *pgclient.Server, database, schema string) (losses []string, err error) {
	err = s.InTx(ctx, database, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, lossesSQL, schema)
		losses, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			var t relation.TableName
			var n int64
			err := row.Scan(&t.Schema, &t.Name, &n)
			if n == 0 { // or the rows were not counted yet
				return t.String(), err
			}
			return fmt.Sprintf("%s, about %d rows", t, n), err
		})
		return err
	})
	if pgclient.Code(err) == pgclient.InvalidCatalogName {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the tables that would be lost: %w", err)
	}
	return losses, nil
}

// isExtensionsSQL reports whether a relation c belongs to an extension that creates it again, so
// that dropping it loses nothing. That is not so for a table
//
//   - that was added to the extension later (ALTER EXTENSION ... ADD TABLE): the extension's own
//     script creates its tables in the transaction in which it creates its other objects;
//   - that has ever had rows, if pg_dump would save all of them because the table is registered
//     as one for the data of users (pg_extension_config_dump).
//
// For a table in which only some rows belong to users, such as PostGIS's spatial_ref_sys, an SQL
// condition of the extension selects these rows. The condition is not run: such a table counts as
// the extension's.
const isExtensionsSQL = `EXISTS (
		SELECT
		FROM pg_catalog.pg_depend AS d
		JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
		WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
		  AND d.objid = c.oid
		  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
		  AND d.deptype = 'e'
		  AND CASE
			WHEN c.relkind NOT IN ('r', 'p', 'm') THEN true
			WHEN c.oid = ANY (e.extconfig) THEN
				e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] <> '' OR pg_catalog.pg_relation_size(c.oid) = 0
			ELSE EXISTS ( -- what stands for its row type was recorded with it
				SELECT
				FROM pg_catalog.pg_depend AS made
				WHERE made.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
				  AND made.refclassid = d.classid
				  AND made.refobjid = c.oid
				  AND made.deptype = 'i'
				  AND made.xmin = d.xmin
			) AND (e.xmin = d.xmin OR EXISTS (
				SELECT
				FROM pg_catalog.pg_depend AS other
				WHERE other.refclassid = d.refclassid
				  AND other.refobjid = e.oid
				  AND other.deptype = 'e'
				  AND other.classid NOT IN (d.classid, 'pg_catalog.pg_type'::pg_catalog.regclass) -- a table's row type is added with it
				  AND other.xmin = d.xmin))
		  END)`

// TablesOf returns a ContentsError if a database holds objects that would be lost with it.
func TablesOf(ctx context.Context, s *pgclient.Server, database string) error {
	return refuseTables(ctx, s, database)
}

// ContentsOf returns a ContentsError if a schema holds objects that would be lost with it.
func ContentsOf(ctx context.Context, s *pgclient.Server, database, schema string) error {
	return s.InTx(ctx, database, func(tx pgx.Tx) error { return refuseSchemaContents(ctx, tx, schema) })
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

// refuseTables returns a ContentsError if a database holds tables or other relations that users
// created, or large objects. Relations of the engine's catalog, _stitch, do not count.
func refuseTables(ctx context.Context, s *pgclient.Server, name string) error {
	var objects []string
	var large int64
	err := s.InTx(ctx, name, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(ctx, largeObjectsSQL).Scan(&large); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, tablesToLoseSQL)
		objects, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			var kind string
			var t relation.TableName
			err := row.Scan(&kind, &t.Schema, &t.Name)
			return kind + " " + t.String(), err
		})
		return err
	})
	switch pgclient.Code(err) {
	case pgclient.InvalidCatalogName:
		return nil
	case pgclient.ObjectNotInPrerequisiteState:
		err = pgclient.Advise(err, "The database accepts no connections, so its contents are unknown. Allow connections (ALTER DATABASE "+pgclient.Ident(name)+" ALLOW_CONNECTIONS true). Or, to drop it whatever it contains, set force_destroy = true, apply that change alone, and then destroy it.")
	}
	if err != nil {
		return fmt.Errorf("list the tables that would be lost: %w", err)
	}
	if large > 0 {
		objects = append(objects, fmt.Sprintf("large objects: %d", large))
	}
	return refuseContents(objects)
}

func refuseSchemaContents(ctx context.Context, tx pgx.Tx, name string) error {
	rows, _ := tx.Query(ctx, schemaContentsSQL, name)
	objects, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	return refuseContents(objects)
}
