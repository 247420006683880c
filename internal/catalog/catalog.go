// Package catalog is the engine's memory: the schema _stitch in a destination database, which
// holds definitions, bookmarks, runs and loading reports.
//
// It guarantees:
//
//   - The schema and all in it belong to one database user, the one that runs replications.
//     Another login acts as that user if it was granted membership; otherwise the package
//     refuses it. A superuser uses only a catalog of its own (owner.go).
//   - The package uses nothing but what the migrations made. Anything else in the schema, or
//     attached to its tables, makes Open fail before any of it can run, and so does another
//     role's privilege to write (shape.go). The package checks this in the transaction that
//     uses the catalog, or at the start of a session that does, with the catalog locked
//     against upgrades. After the check only the owner and superusers can change it: a login
//     trusts the role that it acts as.
//   - Who may run a replication, and whether its leader or a worker lives, rests on rows that
//     only the owner can write. The package trusts no lock that anyone can take (leader.go,
//     session.go).
//   - A unit of work belongs to one worker, by a lease in its row and the server's clock. The
//     transaction that loads rows occupies the only session that a worker may have, so no
//     worker could renew a lease in the middle of a COPY, and a lease that covers the longest
//     COPY would keep the unit of a dead worker for as long. So the workers that want the
//     unit renew its lease, as long as the server knows the session that claimed it. A worker
//     that has lost a unit cannot commit what it did for the unit (lease.go, unit.go).
//   - No wait is longer than maxLockWait, and a wait to drop the catalog is no longer than
//     lockTimeout. A wait in vain ends with an error that names who was in the way (lock.go).
//   - The schema is created and upgraded in one transaction, which excludes all others. The
//     package refuses a schema that a newer provider made (Install, migrations/).
//   - Functions take the caller's transaction, or a batch that goes to the server within it,
//     so that what they write commits together with the rows that it is about.
//   - The package writes no secret: a definition names servers, and holds no login.
package catalog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// Schema is where the catalog lives.
const Schema = "_stitch"

// ErrNoCatalog is returned when the database has no catalog.
var ErrNoCatalog = errors.New("the database has no catalog (schema _stitch)")

//go:embed migrations/*.sql
var migrations embed.FS

// Open prepares a transaction for the other functions of this package: the transaction acts as
// the catalog's owner, and waits for locks no longer than waitLimit. Open returns ErrNoCatalog
// if there is no catalog.
func Open(ctx context.Context, tx pgx.Tx) error {
	_, err := open(ctx, tx, "SET LOCAL ROLE ", using)
	return err
}

// OpenExclusive is Open for a transaction that may drop the catalog: until it ends, no other
// session installs one.
func OpenExclusive(ctx context.Context, tx pgx.Tx) error {
	_, err := open(ctx, tx, "SET LOCAL ROLE ", dropping)
	return err
}

// OpenSession is Open for all transactions of a session, which must not return to a pool
// afterwards. It upgrades an older catalog.
func OpenSession(ctx context.Context, conn *pgx.Conn) error {
	var current bool
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		current, err = open(ctx, tx, "SET ROLE ", using)
		return err
	})
	if current || err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return Install(ctx, tx) })
}

// Install creates or upgrades the catalog, and opens it for the transaction. Until that ends,
// no other session drops the catalog.
func Install(ctx context.Context, tx pgx.Tx) error {
	err := retryLocked(ctx, tx, upgrading, func() error {
		return inSavepoint(ctx, tx, func(tx pgx.Tx) error { return tryInstall(ctx, tx) })
	})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, limitWaitsSQL, waitLimit.String())
	return err
}

var (
	// errOutdated says that the catalog must be upgraded.
	errOutdated = errors.New("the catalog is older than this provider")
	// errRaced says that another session was faster.
	errRaced = errors.New("the catalog was dropped at the same time")
)

func tryInstall(ctx context.Context, tx pgx.Tx) error {
	none := false
	// This releases the lock on an older catalog: two sessions that held it would wait for each
	// other.
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		current, err := open(ctx, tx, "SET LOCAL ROLE ", installing)
		if none = errors.Is(err, ErrNoCatalog); none {
			return nil
		}
		if err == nil && !current {
			return errOutdated
		}
		return err
	})
	switch {
	case none:
		err = create(ctx, tx)
	case errors.Is(err, errOutdated):
		if _, err = open(ctx, tx, "SET LOCAL ROLE ", upgrading); errors.Is(err, ErrNoCatalog) {
			err = errRaced
		}
	default:
		return err
	}
	if err == nil {
		err = migrate(ctx, tx)
	}
	if err != nil {
		return fmt.Errorf("install the catalog: %w", err)
	}
	return nil
}

// open acts as the catalog's owner, locks the catalog and makes sure that it is this
// provider's. It reports whether the catalog has everything that this provider knows of.
func open(ctx context.Context, tx pgx.Tx, setRole string, mode lockMode) (current bool, err error) {
	o, err := readOwnership(ctx, tx)
	if err != nil {
		return false, err
	}
	if err := o.refusal(); err != nil {
		return false, err
	}
	if !o.acting {
		if _, err := tx.Exec(ctx, setRole+pgx.Identifier{o.owner}.Sanitize()); err != nil {
			return false, fmt.Errorf("act as %q, the owner of the catalog: %w", o.owner, err)
		}
	}
	s, err := lockAndRead(ctx, tx, mode, o)
	if err != nil {
		return false, err
	}
	return check(ctx, tx, s)
}

// check refuses a schema that holds anything but what the migrations made.
func check(ctx context.Context, tx pgx.Tx, s shape) (current bool, err error) {
	latest, err := latestVersion()
	if err != nil {
		return false, err
	}
	if s.isEmpty() {
		return false, ErrNoCatalog // a user created it
	}
	if readable, err := s.hasVersion(); err != nil {
		return false, err
	} else if !readable {
		want, err := shapeAfter(latest)
		return false, errors.Join(err, s.refusal(want))
	}
	var have int
	if err := tx.QueryRow(ctx, "SELECT version FROM _stitch.version").Scan(&have); err != nil {
		return false, fmt.Errorf("read the version of the catalog: %w", err)
	}
	if have < 1 {
		return false, fmt.Errorf("the catalog has version %d, which no release of this provider creates: restore the schema %s from a backup, or drop it", have, Schema)
	}
	if have > latest {
		return false, fmt.Errorf("the catalog has version %d, but this release of the provider supports only versions up to %d: "+
			"a newer release has upgraded the catalog. Use that release or a later one", have, latest)
	}
	want, err := shapeAfter(have)
	if err != nil {
		return false, err
	}
	return have == latest, s.refusal(want)
}

func latestVersion() (int, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	return len(files), err
}

// create creates the schema, unless it exists, and the table of the version in it. It fails
// if another session has created them: the catalog is not locked.
func create(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n WHERE n.nspname = $1)", Schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA _stitch"); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `
		COMMENT ON SCHEMA _stitch IS 'Definitions, bookmarks and reports of Stitch replications. Written by terraform-provider-stitch.';
		CREATE TABLE _stitch.version (version int PRIMARY KEY);
		INSERT INTO _stitch.version VALUES (0)`)
	if pgclient.Code(err) == pgclient.InvalidSchemaName {
		return errRaced
	}
	return err
}

// migrate runs the migrations that have not run yet. They are numbered from 1 without gaps,
// so the number of those that ran is the version.
func migrate(ctx context.Context, tx pgx.Tx) error {
	var have int
	if err := tx.QueryRow(ctx, "SELECT version FROM _stitch.version").Scan(&have); err != nil {
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
	if _, err = tx.Exec(ctx, "UPDATE _stitch.version SET version = $1", len(files)); err != nil {
		return err
	}
	return revokeDefaults(ctx, tx)
}

// revokeDefaults revokes what default privileges allow others to do with new tables, and makes
// sure that the catalog is now what the migrations make.
func revokeDefaults(ctx context.Context, tx pgx.Tx) error {
	var s shape
	batch := &pgx.Batch{}
	queueShape(batch, &s)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	for _, f := range s {
		if f.Undo == "" {
			continue
		}
		if _, err := tx.Exec(ctx, f.Undo); err != nil {
			return fmt.Errorf("%s: %w", f.Undo, err)
		}
	}
	s = shape{}
	batch = &pgx.Batch{}
	queueShape(batch, &s)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	_, err := check(ctx, tx, s)
	return err
}

// DropIfEmpty drops the catalog when no replication is left in it. The transaction must have
// been opened with OpenExclusive. It may hold locks that others wait for, so DropIfEmpty waits
// for one turn only, and RetryLocked can retry the whole transaction.
func DropIfEmpty(ctx context.Context, tx pgx.Tx) error {
	var left bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM _stitch.replication)").Scan(&left); err != nil {
		return fmt.Errorf("check for other replications: %w", err)
	}
	if left {
		return nil
	}
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DROP SCHEMA _stitch CASCADE")
		return err
	})
	if isInterference(err) {
		err = nameHolders(ctx, tx, upgrading, err)
	}
	if err != nil {
		return fmt.Errorf("drop the catalog: %w", err)
	}
	return nil
}
