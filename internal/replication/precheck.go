package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A DestinationPrecheck says what is known of a destination before a definition is stored in
// it.
type DestinationPrecheck struct {
	Stored        bool     // a definition for the schema
	Name          string   // of the replication that has the stored definition
	Refusals      []string // why Adopt would not take over the stored definition
	TablesInWay   error    // why Create refuses the schema, without a stored definition and without adopt
	PerhapsLeft   bool     // Create may take over some of those once it is known which database the source is
	AbsentReaders []string // readers without a role of their name
	SourceSystem  string   // identifier of the cluster that runs have read; "" while it is not known
}

// PrecheckDestination reads what a definition meets at its destination, for a source of that
// identity.
func PrecheckDestination(ctx context.Context, destination pgclient.Endpoint, d definition.Definition, source pgclient.Identity) (o DestinationPrecheck, err error) {
	err = destination.Server.OnConn(ctx, destination.Database, func(conn *pgx.Conn) error {
		return pgclient.InTx(ctx, conn, func(tx pgx.Tx) error {
			switch err := catalog.Open(ctx, tx); {
			case errors.Is(err, catalog.ErrNoCatalog):
			case err != nil:
				return err
			default:
				if err := o.readStored(ctx, tx, d); err != nil {
					return err
				}
			}
			if !o.Stored {
				taken, err := readTakeover(ctx, tx, d, source)
				if err != nil {
					return err
				}
				o.TablesInWay, o.PerhapsLeft = taken.refusal(d.SchemaName), len(taken.unsure) > 0
			}
			o.AbsentReaders, err = absentRoles(ctx, tx, d.Readers)
			return err
		})
	})
	return o, err
}

func (o *DestinationPrecheck) readStored(ctx context.Context, tx pgx.Tx, d definition.Definition) error {
	stored, err := catalog.ReplicationOf(ctx, tx, d.SchemaName)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	other, err := Decode(stored)
	if err != nil {
		return err
	}
	history, err := catalog.HistoryOf(ctx, tx, stored.ID)
	if err != nil {
		return err
	}
	o.Stored, o.Name, o.SourceSystem = true, other.Name, stored.SourceSystem
	o.Refusals, err = refusalsOf(d, stored, history)
	return err
}

func absentRoles(ctx context.Context, tx pgx.Tx, names []string) ([]string, error) {
	rows, _ := tx.Query(ctx, `
		SELECT w.name
		FROM pg_catalog.unnest($1::pg_catalog.text[]) AS w (name)
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname::pg_catalog.text = w.name)
		ORDER BY w.name`, names)
	absent, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("check which readers exist: %w", err)
	}
	return absent, nil
}

// unreadableSQL finds those of the tables $2 in the schemas $1 that the login may not read as
// a whole, and the columns of each that it may read.
const unreadableSQL = `
	SELECT n.nspname, c.relname, pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
		ARRAY(
			SELECT a.attname::pg_catalog.text
			FROM pg_catalog.pg_attribute AS a
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
				AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'))
	FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS w (schema_name, table_name)
	JOIN pg_catalog.pg_namespace AS n ON n.nspname::pg_catalog.text = w.schema_name
	JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname::pg_catalog.text = w.table_name
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
		AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))
	ORDER BY n.nspname, c.relname`

// An unreadable is a row of unreadableSQL.
type unreadable struct {
	Schema, Table string
	Usage         bool
	Columns       []string // that may be read
}

// A SourcePrecheck says what the login of a source may read there, and which cluster it is.
type SourcePrecheck struct {
	Unreadable map[string][]string // by missing privilege: the tables, as the definition writes them
	System     string              // identifier of the cluster; "" where it may not be read
}

// PrecheckSource reads which of the tables to replicate the login of a source may read.
func PrecheckSource(ctx context.Context, source pgclient.Endpoint, d definition.Definition) (o SourcePrecheck, err error) {
	var schemas, names []string
	for _, name := range d.SourceTables() {
		schemas, names = append(schemas, name.Schema), append(names, name.Name)
	}
	var found []unreadable
	err = source.Server.OnConn(ctx, source.Database, func(conn *pgx.Conn) error {
		return pgclient.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			id, err := pgclient.ReadIdentity(ctx, tx)
			if err != nil {
				return err
			}
			o.System = id.System
			rows, _ := tx.Query(ctx, unreadableSQL, schemas, names)
			if found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[unreadable]); err != nil {
				return fmt.Errorf("check what the login can read: %w", err)
			}
			return nil
		})
	})
	if err != nil || len(found) == 0 {
		return o, err
	}
	tables, err := relation.Read(ctx, source.Server, source.Database, d.SourceTables())
	o.Unreadable = missingPrivileges(d, found, tables)
	return o, err
}

// missingPrivileges names the privileges that the login lacks to read what is selected.
func missingPrivileges(d definition.Definition, found []unreadable, tables map[relation.TableName]relation.Table) map[string][]string {
	lacked := map[string][]string{}
	for _, key := range d.Keys() {
		name, err := relation.ParseTableName(key)
		i := slices.IndexFunc(found, func(u unreadable) bool { return u.Schema == name.Schema && u.Table == name.Name })
		if err != nil || i < 0 {
			continue
		}
		if !found[i].Usage {
			right := "USAGE on schema " + roleText(name.Schema)
			lacked[right] = append(lacked[right], key)
		}
		for _, column := range d.Tables[key].Selected(tables[name]) {
			if !slices.Contains(found[i].Columns, column.Name) {
				lacked["SELECT"] = append(lacked["SELECT"], key)
				break
			}
		}
	}
	return lacked
}
