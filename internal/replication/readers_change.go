package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A readersChange lets some roles read what a replication loads, and stops others from
// reading it.
//
// A load that changes a table's structure and a GRANT on that table must not run at the same
// time: PostgreSQL fails the later one. So a change locks the tables whose privileges it
// changes against changes of structure, and only then the definition. A load of a table that
// is new to the replication reads who its readers are at its end, with the definition locked:
// the one that comes second sees what the first has done.
type readersChange struct {
	replication      int64
	schema           string
	readers, removed []string
	grantTx          *grantTx // records what else this apply grants; nil if no reader leaves, and nothing is claimed
}

// without returns the names that are not among others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

func (c readersChange) isEmpty() bool { return len(c.readers) == 0 && len(c.removed) == 0 }

func (c readersChange) plan(ctx context.Context, tx pgx.Tx) (p readersPlan, loaded []string, err error) {
	if err := c.grantTx.lockRights(ctx, tx); err != nil {
		return readersPlan{}, nil, err
	}
	if loaded, err = catalog.LoadedTables(ctx, tx, c.replication); err != nil {
		return readersPlan{}, nil, err
	}
	lacked, err := readerRights(ctx, tx, notGrantedSQL, c.schema, c.readers, loaded)
	if err != nil {
		return readersPlan{}, nil, err
	}
	granted, err := grantedTo(ctx, tx, c.schema, c.removed, loaded)
	if err != nil || len(granted) == 0 {
		return decideReaders(c.schema, lacked, nil), loaded, err
	}
	if granted, err = c.grantTx.revocable(ctx, tx, c, granted); err != nil {
		return readersPlan{}, nil, err
	}
	p = decideReaders(c.schema, lacked, granted)
	p.columns, err = columnsGrantedTo(ctx, tx, c.schema, granted)
	return p, loaded, err
}

// lockTables locks the tables whose privileges change, and returns their names. It does not
// wait for a lock, because a run might have to wait for tables that are already locked: see
// withRetry.
func (c readersChange) lockTables(ctx context.Context, tx pgx.Tx) ([]string, error) {
	if c.isEmpty() {
		return nil, nil
	}
	p, loaded, err := c.plan(ctx, tx)
	if err == nil {
		err = p.refusal()
	}
	if err == nil {
		err = limitLockWait(ctx, tx)
	}
	if err != nil {
		return nil, err
	}
	tables := p.tables(loaded)
	return tables, lockStructure(ctx, tx, c.schema, tables, " NOWAIT")
}

// lockStructure locks tables against changes of their structure, and against nothing else.
func lockStructure(ctx context.Context, tx pgx.Tx, schema string, tables []string, wait string) error {
	if len(tables) == 0 {
		return nil
	}
	names := make([]string, len(tables))
	for i, table := range tables {
		names[i] = relation.TableName{Schema: schema, Name: table}.SQL()
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"+wait); err != nil {
		return &readersError{schema, err}
	}
	return nil
}

// apply changes privileges, given the tables that are locked. The transaction has already
// changed or created the definition.
func (c readersChange) apply(ctx context.Context, tx pgx.Tx, locked []string) error {
	if c.isEmpty() {
		return nil
	}
	for _, reader := range c.readers {
		if err := CheckReader(reader); err != nil {
			return err
		}
	}
	p, loaded, err := c.plan(ctx, tx)
	if err == nil {
		err = p.refusal()
	}
	if err != nil {
		return err
	}
	if len(without(p.tables(loaded), locked)) > 0 {
		return errTablesAdded
	}
	if err := c.grantTx.claim(ctx, tx, c, loaded); err != nil {
		return err
	}
	return p.run(ctx, tx)
}

// limitLockWait bounds how long the transaction waits for a lock.
func limitLockWait(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, session.LockTimeoutSQL)
	return err
}

func (p readersPlan) run(ctx context.Context, tx pgx.Tx) error {
	if err := limitLockWait(ctx, tx); err != nil {
		return err
	}
	for _, sql := range p.statements() {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return &readersError{p.schema, err}
		}
	}
	return nil
}

// revokeFromReaders revokes what a replication's readers were granted. The transaction has a
// lock_timeout.
func revokeFromReaders(ctx context.Context, tx pgx.Tx, g *grantTx, stored catalog.Replication) error {
	d, err := Decode(stored)
	if err != nil || len(d.Readers) == 0 {
		return err
	}
	p, loaded, err := readersChange{replication: stored.ID, schema: stored.SchemaName, removed: d.Readers, grantTx: g}.plan(ctx, tx)
	if err != nil {
		return err
	}
	if err := lockStructure(ctx, tx, stored.SchemaName, p.tables(loaded), ""); err != nil {
		return err
	}
	return p.run(ctx, tx)
}

// errTablesAdded says that a load came in between.
var errTablesAdded = errors.New("a run loaded more tables at the same time")

const (
	maxReadersWait = time.Minute            // for what prevents a change of readers
	readersPause   = 100 * time.Millisecond // between attempts
)

// withRetry is onCatalog that tries again while others prevent a change of readers, such as a
// run that gives a table another key. It holds no lock between attempts.
func withRetry(ctx context.Context, destination pgclient.Endpoint, schema string, open func(context.Context, pgx.Tx) error, f func(pgx.Tx, *grantTx) error) error {
	for deadline := time.Now().Add(maxReadersWait); ; {
		err := inGrantTx(ctx, destination, open, f)
		switch {
		case err == nil || !isInterference(err):
			return err
		case time.Now().After(deadline):
			return destination.Server.NameHolders(ctx, destination.Database, schema, err)
		}
		if err := pgclient.Pause(ctx, readersPause); err != nil {
			return err
		}
	}
}

// A readersError says why privileges could not be changed.
type readersError struct {
	schema string
	err    error
}

func (e *readersError) Error() string {
	return fmt.Sprintf("change the privileges of readers of schema %q: %v", e.schema, e.err)
}

func (e *readersError) Unwrap() error { return e.err }

// isInterference reports whether a change of readers failed only because of what others did
// at the same time, such as holding a lock that the change needs.
func isInterference(err error) bool {
	var change *readersError
	if !errors.As(err, &change) {
		return errors.Is(err, errTablesAdded)
	}
	return pgclient.Code(err) == pgclient.LockNotAvailable || pgclient.IsInterference(err)
}

// OpenSchema creates the schema unless it exists, and grants access to the readers. Once
// tables were loaded into a schema that existed, it leaves missing privileges to the next
// apply: they may have been revoked on purpose. A load continues without what cannot be
// granted, and the note says what that is.
func OpenSchema(ctx context.Context, tx pgx.Tx, replication int64, schema string) (note string, err error) {
	readers, err := destination.LockReaders(ctx, tx, replication)
	if err != nil {
		return "", err
	}
	created, err := createSchema(ctx, tx, replication, schema)
	if err != nil || len(readers) == 0 {
		return "", err
	}
	p, loaded, err := readersChange{replication: replication, schema: schema, readers: readers}.plan(ctx, tx)
	if err != nil || !created && len(loaded) > 0 {
		return "", err
	}
	refusal := p.refusal()
	if err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return p.run(ctx, tx) }); err != nil {
		refusal = err
	}
	if refusal != nil {
		note = pgclient.Explain(fmt.Errorf("not all readers can read the loaded tables: %w", refusal))
	}
	return note, nil
}

func createSchema(ctx context.Context, tx pgx.Tx, replication int64, name string) (created bool, err error) {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", name).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for schema %q: %w", name, err)
	}
	if exists {
		return false, nil
	}
	if _, err := tx.Exec(ctx, "CREATE SCHEMA "+pgclient.Ident(name)); err != nil {
		return false, fmt.Errorf("create schema %q in the destination: %w", name, err)
	}
	return true, catalog.MarkSchemaCreated(ctx, tx, replication)
}
