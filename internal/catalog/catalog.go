// Package catalog is the engine's memory: the schema _stitch in a destination
// database, which holds definitions, bookmarks, runs and loading reports.
//
// It guarantees:
//
//   - The schema and all in it belong to one database user, the one that runs
//     replications. Another login acts as that user, or is refused (Open).
//   - The schema is created and upgraded in one transaction, under a lock; one
//     that a newer provider made is refused (Install, migrations/).
//   - Functions take the caller's transaction, or a batch that goes to the server
//     within it, so that what they write commits together with the rows that it is about.
//   - No secret is written: a definition names servers, and holds no login.
package catalog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Schema is where the catalog lives.
const Schema = "_stitch"

// lockClass is the first key of the advisory locks that the catalog takes; the
// second is 0 for its own upgrade, or the id of a replication.
const lockClass = 0x57_17_c4

// ErrNone is returned when the database has no catalog.
var ErrNone = errors.New("the database has no catalog (schema _stitch)")

//go:embed migrations/*.sql
var migrations embed.FS

const ownerSQL = `
	SELECT r.rolname, current_user, pg_catalog.pg_has_role(r.oid, 'MEMBER'), r.rolname = current_user,
		EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = 'version')
	FROM pg_catalog.pg_namespace AS n
	JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
	WHERE n.nspname = $1`

// Open prepares a transaction for the other functions of this package: it acts
// as the catalog's owner. It returns ErrNone if there is no catalog.
func Open(ctx context.Context, tx pgx.Tx) error {
	_, err := open(ctx, tx, "SET LOCAL ROLE ")
	return err
}

// OpenAlone is Open for a transaction that may drop the catalog: until it ends,
// nobody installs one.
func OpenAlone(ctx context.Context, tx pgx.Tx) error {
	if err := lockCatalog(ctx, tx); err != nil {
		return err
	}
	return Open(ctx, tx)
}

// OpenSession is Open for all transactions of a session, which must not go back
// to a pool afterwards. It upgrades an older catalog.
func OpenSession(ctx context.Context, conn *pgx.Conn) error {
	current, err := open(ctx, conn, "SET ROLE ")
	if current || err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return Install(ctx, tx) })
}

// Install creates the catalog or upgrades it, and opens it for the transaction.
func Install(ctx context.Context, tx pgx.Tx) error {
	// Two transactions that both found no catalog would both create it.
	if err := lockCatalog(ctx, tx); err != nil {
		return err
	}
	current, err := open(ctx, tx, "SET LOCAL ROLE ")
	if current || err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	if err := migrate(ctx, tx); err != nil {
		return fmt.Errorf("install the catalog: %w", err)
	}
	return nil
}

func lockCatalog(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1, 0)", lockClass); err != nil {
		return fmt.Errorf("lock the catalog: %w", err)
	}
	return nil
}

// querier is a connection or a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// open also reports whether the catalog has all that this provider knows of.
func open(ctx context.Context, q querier, setRole string) (current bool, err error) {
	var owner, login string
	var member, same, complete bool // the schema may have been made by hand
	err = q.QueryRow(ctx, ownerSQL, Schema).Scan(&owner, &login, &member, &same, &complete)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, ErrNone
	}
	if err != nil {
		return false, fmt.Errorf("open the catalog: %w", err)
	}
	if !same && !member {
		return false, &OwnerError{Owner: owner, Login: login}
	}
	if !same {
		if _, err := q.Exec(ctx, setRole+pgx.Identifier{owner}.Sanitize()); err != nil {
			return false, fmt.Errorf("act as %q, the owner of the catalog: %w", owner, err)
		}
	}
	if !complete {
		return false, ErrNone
	}
	return checkVersion(ctx, q)
}

// An OwnerError says that the catalog belongs to a role that the login can not act as.
type OwnerError struct{ Owner, Login string }

func (e *OwnerError) Error() string {
	return fmt.Sprintf("open the catalog: schema %s belongs to %q, and the login %q is not a member of that role: "+
		"use a server entry that logs in as %q, or GRANT %s TO %s", Schema, e.Owner, e.Login, e.Owner,
		pgx.Identifier{e.Owner}.Sanitize(), pgx.Identifier{e.Login}.Sanitize())
}

func checkVersion(ctx context.Context, q querier) (current bool, err error) {
	var have int
	err = q.QueryRow(ctx, "SELECT version FROM _stitch.version").Scan(&have)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" { // dropped meanwhile
		return false, ErrNone
	}
	if err != nil {
		return false, fmt.Errorf("read the version of the catalog: %w", err)
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return false, err
	}
	if have > len(files) {
		return false, fmt.Errorf("the catalog has version %d and this provider knows up to %d: "+
			"a newer release of the provider has been used here, use that one or a later one", have, len(files))
	}
	return have == len(files), nil
}

// migrate runs the migrations that are still to come. They are numbered from 1
// without gaps, so the number of those that ran is the version.
func migrate(ctx context.Context, tx pgx.Tx) error {
	var have int
	err := tx.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = $1", Schema).Scan(&have)
	if err != nil {
		return err
	}
	if have == 0 {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA _stitch"); err != nil {
			return err
		}
	}
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.to_regclass('_stitch.version') IS NOT NULL").Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, `
			COMMENT ON SCHEMA _stitch IS 'Definitions, bookmarks and reports of Stitch replications. Written by terraform-provider-stitch.';
			CREATE TABLE _stitch.version (version int NOT NULL);
			INSERT INTO _stitch.version VALUES (0)`); err != nil {
			return err
		}
	}
	if err := tx.QueryRow(ctx, "SELECT version FROM _stitch.version FOR UPDATE").Scan(&have); err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, file := range files[min(have, len(files)):] {
		sql, err := migrations.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(sql)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	_, err = tx.Exec(ctx, "UPDATE _stitch.version SET version = $1 WHERE version < $1", len(files))
	return err
}

// DropIfEmpty drops the catalog when no replication is left in it. The
// transaction must have been opened with OpenAlone.
func DropIfEmpty(ctx context.Context, tx pgx.Tx) error {
	var left bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM _stitch.replication)").Scan(&left); err != nil {
		return fmt.Errorf("look for other replications: %w", err)
	}
	if left {
		return nil
	}
	if _, err := tx.Exec(ctx, "DROP SCHEMA _stitch CASCADE"); err != nil {
		return fmt.Errorf("drop the catalog: %w", err)
	}
	return nil
}
