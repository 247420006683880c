package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// A replication that is deleted leaves its tables, and marks each in the comment of a system
// column. A replication that is created later in its place, because the first was replaced,
// tainted or destroyed by mistake, takes these tables over: they were loaded from the same
// tables of the same source.

// leftColumn is the system column whose comment says what a table was loaded from.
var leftColumn = definition.SystemColumns[len(definition.SystemColumns)-1]

// leftMark is the comment on a table that was loaded from a table of a database, see
// identity.String.
func leftMark(key, database string, schemaCreated bool) string {
	mark := fmt.Sprintf("Left by the replication of %s of the database %s.", definition.CanonicalKey(key), database)
	if schemaCreated {
		mark += createdMark
	}
	return mark
}

const createdMark = " A run of it created the schema."

// markLeft marks the tables that a replication leaves. If it cannot mark them, a later
// replication treats them as tables of others.
func markLeft(ctx context.Context, tx pgx.Tx, stored catalog.Replication) error {
	d, err := Decode(stored)
	if err != nil {
		return err
	}
	databases, err := catalog.LoadedFrom(ctx, tx, stored.ID)
	if err != nil {
		return err
	}
	found, err := readFound(ctx, tx, stored.SchemaName)
	if err != nil {
		return err
	}
	own := map[string]bool{}
	for _, t := range found {
		own[t.Name] = t.Own && databases[t.Name] != ""
	}
	var statements []string
	for _, key := range d.Keys() {
		if name, err := d.TableNameOf(key); err == nil && own[name] {
			statements = append(statements, commentOnLeft(stored.SchemaName, name, leftMark(key, databases[name], stored.SchemaCreated)))
		}
	}
	_ = destination.TryAll(ctx, tx, statements) // all fail if one of the tables cannot be locked
	return nil
}

func commentOnLeft(schema, table, text string) string {
	return "COMMENT ON COLUMN " + relation.TableName{Schema: schema, Name: table}.SQL() + "." + pgclient.Ident(leftColumn.Name) + " IS " + pgclient.Literal(text)
}

// A foundTable is a table or view that a schema holds.
type foundTable struct {
	Name string
	Own  bool   // a table of the role that loads, with the system column
	Mark string // the comment on that column
}

// foundSQL lists the relations of the schema $1 that can be read as a table, with the comment
// on the column $2.
const foundSQL = `
	SELECT c.relname, c.relkind IN ('r', 'p') AND o.rolname = current_user AND a.attnum IS NOT NULL,
		coalesce(pg_catalog.col_description(c.oid, a.attnum), '')
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
	LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname::pg_catalog.text = $2 AND NOT a.attisdropped
	WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	ORDER BY c.relname`

func readFound(ctx context.Context, tx pgx.Tx, schema string) ([]foundTable, error) {
	rows, _ := tx.Query(ctx, foundSQL, schema, leftColumn.Name)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[foundTable])
	if err != nil {
		return nil, fmt.Errorf("read the contents of schema %q: %w", schema, err)
	}
	return found, nil
}

// A takeover says what becomes of the contents of a schema when a replication is created for
// it.
type takeover struct {
	left          []string // tables that an earlier replication has left for it
	unsure        []string // tables that an earlier replication of the same tables has left, from a database that is not known
	foreign       []string // tables and views that must not be changed
	schemaCreated bool     // by a run of that earlier replication
}

// takeOver decides what a replication of that source takes over. A schema that an earlier
// replication created may hold views and tables of others, unless one has a name that this
// replication loads into.
func takeOver(d definition.Definition, found []foundTable, source pgclient.Identity) (t takeover) {
	keys := map[string]string{}
	for _, key := range d.Keys() {
		if name, err := d.TableNameOf(key); err == nil {
			keys[name] = key
		}
	}
	var loads, beside []string
	for _, f := range found {
		key, isLoaded := keys[f.Name]
		if !isLoaded {
			beside = append(beside, f.Name)
			continue
		}
		switch left, created, unsure := f.leftBy(key, source); {
		case left:
			t.left, t.schemaCreated = append(t.left, f.Name), t.schemaCreated || created
		case unsure:
			t.unsure = append(t.unsure, f.Name)
			fallthrough
		default:
			loads = append(loads, f.Name)
		}
	}
	t.foreign = loads
	if len(t.left) == 0 {
		t.foreign = slices.Sorted(slices.Values(append(loads, beside...)))
	}
	return t
}

// leftBy reports whether a replication of a table of the source left the table, and whether
// one of its runs created the schema. It is unsure if the database is not known, then or now.
func (f foundTable) leftBy(key string, from pgclient.Identity) (left, created, unsure bool) {
	if !f.Own {
		return false, false, false
	}
	before, after, _ := strings.Cut(leftMark(key, "\x00", false), "\x00")
	database, ok := strings.CutPrefix(f.Mark, before)
	if !ok {
		return false, false, false
	}
	created = strings.HasSuffix(database, createdMark)
	database, ok = strings.CutSuffix(strings.TrimSuffix(database, createdMark), after)
	now := source.Identity{System: from.System, Database: from.Database, Started: source.StartOf(from)}
	switch {
	case !ok:
		return false, false, false
	case database == now.String(), database == now.Unknown():
		return true, created, false
	}
	return false, false, now.System == "" || strings.HasPrefix(database, source.StartedPrefix)
}

// readTakeover reads what the schema holds.
func readTakeover(ctx context.Context, tx pgx.Tx, d definition.Definition, source pgclient.Identity) (takeover, error) {
	found, err := readFound(ctx, tx, d.SchemaName)
	return takeOver(d, found, source), err
}

// refusal names the tables that are in the way, and is nil if none are.
func (t takeover) refusal(schema string) error {
	if len(t.foreign) == 0 {
		return nil
	}
	why := ""
	if len(t.unsure) > 0 {
		why = fmt.Sprintf(". An earlier replication of the same tables left %s, but the provider cannot tell whether they came from the same database: the source cannot be read now, "+
			"or its login is not allowed to call pg_control_system(), pg_control_checkpoint() and pg_control_recovery(), which identify the cluster", definition.ListSome(t.unsure))
	}
	return fmt.Errorf("schema %q of the destination already contains %s, which this replication did not load. "+
		"Set adopt = true to let its runs change the contents of tables of the same name, for instance because an earlier replication left them. "+
		"Otherwise choose another schema_name%s", schema, definition.ListSome(t.foreign), why)
}

// apply assigns the tables to a replication that was created in place of the one that left
// them.
func (t takeover) apply(ctx context.Context, tx pgx.Tx, replication int64, schema string) error {
	if t.schemaCreated {
		if err := catalog.MarkSchemaCreated(ctx, tx, replication); err != nil {
			return err
		}
	}
	statements := make([]string, len(t.left))
	for i, table := range t.left {
		statements[i] = commentOnLeft(schema, table, leftColumn.Comment)
	}
	_ = destination.TryAll(ctx, tx, statements) // only the comment stays, if it fails
	return nil
}
