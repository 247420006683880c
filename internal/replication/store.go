package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// Create stores a new definition in the destination. It refuses a schema that already holds
// tables unless adopt is set: the first run would change them. It takes over the tables that
// a replication of the same source has left. source is empty if it is not known.
func Create(ctx context.Context, destination pgclient.Endpoint, d definition.Definition, adopt bool, source pgclient.Identity) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	err = withRetry(ctx, destination, d.SchemaName, catalog.Install, func(tx pgx.Tx, g *grantTx) error {
		if err := refuseOther(ctx, tx, d.SchemaName); err != nil {
			return err
		}
		id, err := catalog.InsertReplication(ctx, tx, catalog.Replication{SchemaName: d.SchemaName, Definition: text})
		if err != nil {
			return err
		}
		return completeCreation(ctx, tx, g, id, d, adopt, source)
	})
	if err != nil {
		return fmt.Errorf("create replication %q: %w", d.Name, err)
	}
	return nil
}

// completeCreation does what creating a replication takes apart from storing its definition.
func completeCreation(ctx context.Context, tx pgx.Tx, g *grantTx, id int64, d definition.Definition, adoptTables bool, source pgclient.Identity) error {
	taken, err := readTakeover(ctx, tx, d, source)
	if err != nil {
		return err
	}
	if err := taken.refusal(d.SchemaName); err != nil && !adoptTables {
		return err
	}
	if err := taken.apply(ctx, tx, id, d.SchemaName); err != nil {
		return err
	}
	g.tables = d.TableNames()
	return readersChange{replication: id, schema: d.SchemaName, readers: d.Readers, grantTx: g}.apply(ctx, tx, nil)
}

// refuseOther names the replication that owns the schema, if another one does.
func refuseOther(ctx context.Context, tx pgx.Tx, schemaName string) error {
	stored, err := catalog.ReplicationOf(ctx, tx, schemaName)
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
	return &ExistsError{SchemaName: schemaName, Name: other.Name}
}

// Stored returns what the catalog holds of a replication. It returns catalog.ErrNotFound, or
// catalog.ErrNoCatalog, if it holds nothing.
func Stored(ctx context.Context, destination pgclient.Endpoint, schemaName string) (stored catalog.Replication, err error) {
	err = InCatalog(ctx, destination, func(tx pgx.Tx) (err error) {
		stored, err = catalog.ReplicationOf(ctx, tx, schemaName)
		return err
	})
	return stored, err
}

// Update replaces a stored definition. It lets the definition's readers read what is loaded,
// and stops former readers from reading it.
func Update(ctx context.Context, destination pgclient.Endpoint, d definition.Definition) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return withRetry(ctx, destination, d.SchemaName, catalog.Install, func(tx pgx.Tx, g *grantTx) error {
		g.tables = d.TableNames()
		stored, err := catalog.ReplicationOf(ctx, tx, d.SchemaName)
		if err != nil {
			return err
		}
		before, err := Decode(stored)
		if err != nil {
			return err
		}
		change := readersChange{replication: stored.ID, schema: d.SchemaName, readers: d.Readers, removed: without(before.Readers, d.Readers), grantTx: g}
		locked, err := change.lockTables(ctx, tx) // before the definition, as loads do
		if err != nil {
			return err
		}
		if err := catalog.UpdateDefinition(ctx, tx, d.SchemaName, text); err != nil {
			return err
		}
		return change.apply(ctx, tx, locked)
	})
}

// Delete deletes a definition, its bookmarks and reports, and drops the catalog with the last
// one. The loaded tables stay unless force is set. With force, Delete drops them, and the
// schema if a run created it and it holds nothing else. Delete revokes the readers' access to
// what stays. It succeeds if what it would delete is already gone, even the whole database.
func Delete(ctx context.Context, destination pgclient.Endpoint, schemaName string, force bool) error {
	err := session.RetryLocked(ctx, session.MaxLockWait, func() error {
		return inGrantTx(ctx, destination, catalog.OpenExclusive, func(tx pgx.Tx, g *grantTx) error { return deleteAll(ctx, tx, g, schemaName, force) })
	})
	if IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete replication %q: %w", schemaName, err)
	}
	return nil
}

func deleteAll(ctx context.Context, tx pgx.Tx, g *grantTx, schemaName string, force bool) error {
	stored, err := catalog.ReplicationOf(ctx, tx, schemaName)
	if err != nil {
		return err
	}
	if d, err := Decode(stored); err == nil && len(d.Readers) > 0 {
		if err := g.lockRights(ctx, tx); err != nil { // before tables are locked
			return err
		}
	}
	if _, err := tx.Exec(ctx, session.LockTimeoutSQL); err != nil { // readers of the tables queue behind this session
		return err
	}
	handleTables := markLeft
	if force {
		handleTables = dropLoaded
	}
	if err := handleTables(ctx, tx, stored); err != nil {
		return err
	}
	if err := revokeFromReaders(ctx, tx, g, stored); err != nil {
		return err
	}
	if err := catalog.DeleteReplication(ctx, tx, stored.ID); err != nil {
		return err
	}
	return catalog.DropIfEmpty(ctx, tx)
}

func dropLoaded(ctx context.Context, tx pgx.Tx, stored catalog.Replication) error {
	tables, err := catalog.LoadedTables(ctx, tx, stored.ID)
	if err != nil {
		return err
	}
	if tables, err = ownTables(ctx, tx, stored.SchemaName, tables); err != nil {
		return err
	}
	for _, name := range tables {
		table := relation.TableName{Schema: stored.SchemaName, Name: name}
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "LOCK TABLE "+table.SQL()+" IN ACCESS EXCLUSIVE MODE")
			return err
		})
		if err != nil {
			return fmt.Errorf("lock %s to drop it: %w", table, session.NameHolders(ctx, tx, table, true, err))
		}
	}
	// They are listed again, now that none of them can be replaced any more.
	if tables, err = ownTables(ctx, tx, stored.SchemaName, tables); err != nil {
		return err
	}
	for _, name := range tables {
		table := relation.TableName{Schema: stored.SchemaName, Name: name}
		if _, err := tx.Exec(ctx, "DROP TABLE "+table.SQL()); err != nil {
			return fmt.Errorf("drop %s: %w", table, err)
		}
	}
	if kept, err := destination.DropOrphanedStaging(ctx, tx, stored.SchemaName); err != nil || len(kept) > 0 {
		return errors.Join(append(kept, err)...)
	}
	if !stored.SchemaCreated {
		return nil
	}
	var empty bool
	if err := tx.QueryRow(ctx, schemaEmptySQL, stored.SchemaName).Scan(&empty); err != nil {
		return fmt.Errorf("check whether schema %q is empty: %w", stored.SchemaName, err)
	}
	if !empty {
		return nil
	}
	if _, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgclient.Ident(stored.SchemaName)); err != nil {
		return fmt.Errorf("drop schema %q: %w", stored.SchemaName, err)
	}
	return nil
}

// ownTables returns those of the loaded tables that exist. It refuses a table that another
// role owns.
func ownTables(ctx context.Context, tx pgx.Tx, schema string, loaded []string) (own []string, err error) {
	rows, _ := tx.Query(ctx, ownersSQL, schema, loaded)
	var name, owner string
	var loads bool
	var refusal error
	_, err = pgx.ForEachRow(rows, []any{&name, &owner, &loads}, func() error {
		if !loads {
			refusal = fmt.Errorf("drop %s: it belongs to %q, not to the role that loads. Another role has replaced the loaded table: drop it by hand, or set force_destroy = false",
				relation.TableName{Schema: schema, Name: name}, owner)
		}
		own = append(own, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check which loaded tables exist: %w", err)
	}
	return own, refusal
}

// ownersSQL finds those of the tables $2 of the schema $1 that exist, and who owns them.
const ownersSQL = `
	SELECT c.relname, o.rolname, o.rolname = current_user
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
	WHERE n.nspname = $1 AND c.relname::pg_catalog.text = ANY ($2::pg_catalog.text[]) AND c.relkind IN ('r', 'p')
	ORDER BY c.relname`

// schemaEmptySQL reports whether the schema belongs to the role that loads, and holds nothing.
const schemaEmptySQL = `
	SELECT EXISTS (
		SELECT
		FROM pg_catalog.pg_namespace AS n
		JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
		WHERE n.nspname = $1 AND o.rolname = current_user
	) AND NOT EXISTS (
		SELECT
		FROM pg_catalog.pg_depend AS d
		JOIN pg_catalog.pg_namespace AS n ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = n.oid
		WHERE n.nspname = $1 AND d.deptype = 'n'
	)`

// InCatalog runs f in a transaction of a catalog that exists.
func InCatalog(ctx context.Context, destination pgclient.Endpoint, f func(pgx.Tx) error) error {
	return onCatalog(ctx, destination, catalog.Open, f)
}

// onCatalog opens the catalog with open and runs f, in one transaction.
func onCatalog(ctx context.Context, destination pgclient.Endpoint, open func(context.Context, pgx.Tx) error, f func(pgx.Tx) error) error {
	return destination.Server.OnConn(ctx, destination.Database, func(conn *pgx.Conn) error {
		return pgclient.InTx(ctx, conn, func(tx pgx.Tx) error {
			if err := open(ctx, tx); err != nil {
				return err
			}
			return f(tx)
		})
	})
}

// CheckSource returns what is wrong with the definition given what the source has now, and
// the tables that KeepsVersions lists. A failure to read the source is an error, not a
// problem.
func CheckSource(ctx context.Context, source pgclient.Endpoint, d definition.Definition) (problems []definition.Problem, keepVersions []string, err error) {
	tables, err := relation.Read(ctx, source.Server, source.Database, d.SourceTables())
	if err != nil {
		return nil, nil, err
	}
	problems, err = checkSource(ctx, source, d, tables)
	return problems, d.KeepsVersions(tables), err
}

func checkSource(ctx context.Context, source pgclient.Endpoint, d definition.Definition, tables map[relation.TableName]relation.Table) ([]definition.Problem, error) {
	problems := d.CheckSource(tables)
	var missing, views []relation.TableName
	var schemas []string
	for _, name := range d.SourceTables() {
		if table, ok := tables[name]; !ok {
			missing, schemas = append(missing, name), append(schemas, name.Schema)
		} else if table.Kind == relation.View {
			views = append(views, name)
		}
	}
	unreadable, err := viewProblems(ctx, source, views)
	if err != nil {
		return nil, err
	}
	for _, key := range d.Keys() {
		name, err := relation.ParseTableName(key)
		if message, ok := unreadable[name]; ok && err == nil {
			problems = append(problems, definition.Problem{Table: key, Attribute: "", Message: message})
		}
	}
	if len(missing) == 0 {
		return problems, nil
	}
	relations, err := relation.List(ctx, source.Server, source.Database, schemas)
	if err != nil {
		return nil, err
	}
	for i, p := range problems {
		if name, err := relation.ParseTableName(p.Table); err == nil && slices.Contains(missing, name) {
			problems[i].Message += ". " + definition.Hint(name, relations)
		}
	}
	return problems, nil
}

// IsNotFound reports whether err says that the catalog does not hold what was looked for, or
// that the catalog, or its database, is gone.
func IsNotFound(err error) bool {
	return errors.Is(err, catalog.ErrNoCatalog) || errors.Is(err, catalog.ErrNotFound) ||
		pgclient.IsUnreachable(err) && pgclient.Code(err) == pgclient.InvalidCatalogName
}

// Decode reads the definition in what the catalog holds of a replication.
func Decode(stored catalog.Replication) (definition.Definition, error) {
	var d definition.Definition
	if err := json.Unmarshal(stored.Definition, &d); err != nil {
		return definition.Definition{}, fmt.Errorf("read the definition of %q: %w", stored.SchemaName, err)
	}
	return d, nil
}
