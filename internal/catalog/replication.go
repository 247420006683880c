package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrNotFound says that the catalog does not hold what was asked for.
var ErrNotFound = errors.New("not found in the catalog")

// ErrExists says that another replication has the schema name.
var ErrExists = errors.New("another replication of this database has that schema name")

// A Replication is a definition and what is known about its schema.
type Replication struct {
	ID            int64
	SchemaName    string
	Definition    json.RawMessage
	SchemaCreated bool   // by a run
	SourceSystem  string // system identifier of the cluster that runs read; "" while it is not known
	Key           string // tells it from other replications with its schema name, here and in other databases
}

// InsertReplication records a new replication and returns its id.
func InsertReplication(ctx context.Context, tx pgx.Tx, r Replication) (int64, error) {
	var id int64
	err := tx.QueryRow(ctx, `
		INSERT INTO _stitch.replication (schema_name, definition)
		VALUES ($1, $2)
		ON CONFLICT (schema_name) DO NOTHING
		RETURNING id`, r.SchemaName, r.Definition).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrExists
	}
	if err != nil {
		return 0, fmt.Errorf("record replication %q: %w", r.SchemaName, err)
	}
	return id, nil
}

// ReplicationOf returns the replication into the schema schemaName, or ErrNotFound.
func ReplicationOf(ctx context.Context, tx pgx.Tx, schemaName string) (Replication, error) {
	r := Replication{SchemaName: schemaName}
	err := tx.QueryRow(ctx, `
		SELECT id, definition, schema_created, coalesce(source_system, ''), pg_catalog.format('%s/%s', id, (extract(epoch FROM created_at) * 1000000)::bigint)
		FROM _stitch.replication
		WHERE schema_name = $1`, schemaName).Scan(&r.ID, &r.Definition, &r.SchemaCreated, &r.SourceSystem, &r.Key)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Replication{}, fmt.Errorf("read replication %q: %w", schemaName, err)
	}
	return r, nil
}

// UpdateDefinition replaces the definition of a replication.
func UpdateDefinition(ctx context.Context, tx pgx.Tx, schemaName string, definition json.RawMessage) error {
	tag, err := tx.Exec(ctx, `
		UPDATE _stitch.replication
		SET definition = $2, updated_at = pg_catalog.now()
		WHERE schema_name = $1`, schemaName, definition)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("change replication %q: %w", schemaName, err)
	}
	return nil
}

// LockDefinition returns a member of the definition, or nil if the definition has none of
// that name. No other transaction changes the definition before this one ends.
func LockDefinition(ctx context.Context, tx pgx.Tx, replication int64, member string) (json.RawMessage, error) {
	var value json.RawMessage
	err := tx.QueryRow(ctx, `
		SELECT definition->$2::pg_catalog.text
		FROM _stitch.replication
		WHERE id = $1
		FOR SHARE`, replication, member).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("lock the definition of the replication: %w", err)
	}
	return value, nil
}

// MarkSchemaCreated records that a run created the replication's schema.
func MarkSchemaCreated(ctx context.Context, tx pgx.Tx, replication int64) error {
	_, err := tx.Exec(ctx, "UPDATE _stitch.replication SET schema_created = true WHERE id = $1", replication)
	if err != nil {
		return fmt.Errorf("record that the schema was created: %w", err)
	}
	return nil
}

// QueueSourceSystem records, by a batch, which cluster the replication reads.
func QueueSourceSystem(batch *pgx.Batch, replication int64, system string) {
	queue(batch, "record which cluster is the source", nil,
		"UPDATE _stitch.replication SET source_system = $2 WHERE id = $1 AND source_system IS DISTINCT FROM $2", replication, system)
}

// DeleteReplication deletes a replication, with its bookmarks, runs and reports.
func DeleteReplication(ctx context.Context, tx pgx.Tx, replication int64) error {
	if _, err := tx.Exec(ctx, "DELETE FROM _stitch.replication WHERE id = $1", replication); err != nil {
		return fmt.Errorf("delete the replication from the catalog: %w", err)
	}
	return nil
}
