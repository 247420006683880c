package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

const (
	maxDropWait = 60 * time.Second       // to wait for databases that this process is dropping
	dropGrace   = 3 * time.Second        // within which the drop of such a database is expected to begin
	dropPause   = 500 * time.Millisecond // between attempts
)

// DropOptions say what is done with what a user owns.
type DropOptions struct {
	ReassignOwnedTo   string // the role that gets what the user owns, while the user's privileges are revoked; "": the user stays if it owns or was granted anything
	TerminateSessions bool
}

// DropUser drops a user; one that does not exist is no error. What depends on the user is left
// unchanged unless it must be reassigned. Terraform destroys a user and a database with its objects
// at the same time, so DropUser waits while all that depends on the user is in databases that this
// process is dropping, or may be about to drop.
//
// DropUser ends the user's sessions when nothing else keeps it from being dropped, and before it
// reassigns anything, so that the sessions create nothing more. If the drop fails after that, the
// user may log in again.
func DropUser(ctx context.Context, s *pgclient.Server, name string, options DropOptions) error {
	defer s.Changed()
	err := dropUser(ctx, s, name, options)
	var dependents *DependentsError
	if err == nil || errors.As(err, &dependents) { // these errors need no prefix
		return err
	}
	return fmt.Errorf("drop database user %q: %w", name, err)
}

func dropUser(ctx context.Context, s *pgclient.Server, name string, options DropOptions) error {
	if options == (DropOptions{}) {
		return dropRole(ctx, s, name, true)
	}
	have, err := userToDrop(ctx, s, name, options)
	if errors.Is(err, pgclient.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var databases []string
	if options.ReassignOwnedTo == "" {
		err = dropRole(ctx, s, name, false)
	} else {
		databases, err = databasesToReassign(ctx, s, name, options.ReassignOwnedTo)
	}
	if err != nil {
		return err
	}
	if options.TerminateSessions {
		err = terminateSessions(ctx, s, have)
	}
	for _, database := range databases {
		if err == nil {
			err = reassign(ctx, s, database, name, options.ReassignOwnedTo)
		}
	}
	if err == nil {
		err = dropRole(ctx, s, name, true)
	}
	if err != nil && options.TerminateSessions {
		err = errors.Join(err, allowLogin(ctx, s, have))
	}
	return err
}

// userToDrop reads the user. It refuses a drop that would fail after it has left a role without
// its objects, and one that would drop what must be reassigned.
func userToDrop(ctx context.Context, s *pgclient.Server, name string, options DropOptions) (u User, err error) {
	if name == options.ReassignOwnedTo {
		return User{}, errors.New("the objects of the user cannot be reassigned to the user itself")
	}
	err = s.InTx(ctx, "", func(tx pgx.Tx) error {
		if u, err = user(ctx, tx, name); err != nil {
			return err
		}
		var itself bool
		if err := tx.QueryRow(ctx, `SELECT $1::pg_catalog.name IN (current_user, session_user)`, name).Scan(&itself); err != nil {
			return err
		}
		if itself {
			return errors.New("the login of this server entry cannot drop itself")
		}
		return nil
	})
	return u, err
}

// dropRole drops a role or, unless really is set, checks whether it could. It waits for
// databases that are being dropped.
func dropRole(ctx context.Context, s *pgclient.Server, name string, really bool) error {
	began := time.Now()
	hopeful := began // when waiting was last useful
	for {
		var dependents []Dependents
		err := s.Retry(ctx, "", pgclient.Contention{}, func() (err error) {
			dependents, err = tryDropRole(ctx, s, name, really)
			return err
		})
		switch {
		case err == nil:
			return nil
		case pgclient.Code(err) == pgclient.InsufficientPrivilege && !pgclient.IsUnreachable(err):
			return pgclient.Advise(err, "The login of this server entry is not allowed to drop the user. Ask an administrator to run:\n  DROP ROLE "+pgclient.Ident(name)+";")
		case pgclient.Code(err) != pgclient.DependentObjectsStillExist:
			return err
		default:
			if len(dependents) > 0 && areDropping(s, dependents) {
				hopeful = time.Now()
			}
			if onServer(dependents) || time.Since(hopeful) > dropGrace || time.Since(began) > maxDropWait {
				return dependentsError(ctx, s, name, dependents, err)
			}
		}
		if err := pgclient.Pause(ctx, dropPause); err != nil {
			return err
		}
	}
}

// errDryRun rolls back a trial.
var errDryRun = errors.New("this was a trial")

// tryDropRole returns what depends on the role if that is why the server refuses; it returns
// nothing if the dependents have gone since. It gives the connection back before its caller
// waits.
func tryDropRole(ctx context.Context, s *pgclient.Server, name string, really bool) (dependents []Dependents, refusal error) {
	err := s.OnConn(ctx, "", func(conn *pgx.Conn) (err error) {
		refusal = pgclient.BoundedTx(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "DROP ROLE "+pgclient.Ident(name))
			if err == nil && !really {
				err = errDryRun
			}
			return err
		})
		switch {
		case pgclient.Code(refusal) == pgclient.UndefinedObject, errors.Is(refusal, errDryRun): // the role is gone, or could be dropped
			refusal = nil
		case pgclient.Code(refusal) == pgclient.DependentObjectsStillExist:
			err = pgclient.ReadTx(ctx, conn, func(tx pgx.Tx) (err error) {
				dependents, err = dependentsOf(ctx, tx, name)
				return err
			})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return dependents, refusal
}
