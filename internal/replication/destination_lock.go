package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A target is the table of the destination that a replication loads.
type target struct {
	replication int64
	name        relation.TableName
}

// A targetLock is a transaction that loads rows and has locked the table against changes of
// its structure.
type targetLock struct {
	tx    pgx.Tx // nil once it was taken or left
	state targetState
}

// lock begins the transaction that loads rows, and reads what the destination holds of the
// table. A table that does not exist is not locked: the session that creates it first waits
// for no other.
func (d *destinationConn) lock(ctx context.Context, t target, patience time.Duration) (*targetLock, error) {
	var tx pgx.Tx
	err := inTurns(ctx, patience, func() (err error) {
		tx, err = lockTable(ctx, d.conn.Conn, t.name, "ROW EXCLUSIVE", destinationLockTimeout)
		return err
	})
	if err != nil && isNoTable(err) { // what the relation is instead, if there is one, is read below
		tx, err = d.conn.Begin(ctx)
	}
	if pgclient.Code(err) == pgclient.LockNotAvailable {
		err = &heldError{nameHolders(ctx, d.conn.Conn, t.name, false, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", t.name, err)
	}
	state, err := readTarget(ctx, tx, t.replication, t.name, d.types)
	if err != nil {
		rollback(ctx, tx)
		return nil, err
	}
	return &targetLock{tx: tx, state: state}, nil
}

// lockAgain is lock for a table that was locked before, and must be the same. goesOn says
// whether the load goes on from its bookmark.
func (d *destinationConn) lockAgain(ctx context.Context, t target, before targetState, goesOn bool, patience time.Duration) (*targetLock, error) {
	l, err := d.lock(ctx, t, patience)
	if err != nil {
		return nil, err
	}
	now := l.state
	if (now.table == nil) != (before.table == nil) || now.table != nil && now.table.OID != before.table.OID || goesOn && now.older() != "" {
		l.leave(ctx)
		return nil, errTargetReplaced
	}
	return l, nil
}

// take returns the transaction to the caller, who ends it.
func (l *targetLock) take() pgx.Tx {
	tx := l.tx
	l.tx = nil
	return tx
}

// leave ends the transaction, unless it was taken.
func (l *targetLock) leave(ctx context.Context) {
	if l.tx != nil {
		rollback(ctx, l.tx)
		l.tx = nil
	}
}

// errTargetReplaced says that the destination table is not the one of when the attempt began.
var errTargetReplaced = errors.New("the table in the destination was dropped, emptied or replaced while it was loaded")

// isNoTable reports whether a table could not be locked because it does not exist, is another
// kind of relation, or belongs to another role.
func isNoTable(err error) bool {
	switch pgclient.Code(err) {
	case pgclient.UndefinedTable, pgclient.InvalidSchemaName, pgclient.WrongObjectType, pgclient.InsufficientPrivilege:
		return true
	}
	return false
}

// lockTable starts a transaction that holds a lock on a table, in one round trip. timeout
// bounds each later wait for a lock in the transaction.
func lockTable(ctx context.Context, conn *pgx.Conn, table relation.TableName, mode, timeout string) (pgx.Tx, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: fmt.Sprintf("BEGIN; %s; LOCK TABLE ONLY %s IN %s MODE; SET LOCAL lock_timeout = '%s'",
		lockTurnSQL, table.SQL(), mode, timeout)})
	if err != nil { // an error does not end a transaction that has begun
		_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
		return nil, err
	}
	return tx, nil
}

// alter adds what the existing table lacks. It waits for its lock in short turns, because
// readers queue behind a session that waits. It does the same for locks on tables whose
// foreign keys refer to this one.
func (d *destinationConn) alter(ctx context.Context, t target, sql string) error {
	err := inTurns(ctx, exclusivePatience, func() error {
		tx, err := lockTable(ctx, d.conn.Conn, t.name, "ACCESS EXCLUSIVE", lockTurn)
		if err != nil {
			return err
		}
		defer rollback(ctx, tx)
		state, err := readTarget(ctx, tx, t.replication, t.name, d.types)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
		if state.isWhereLeft() { // else the load reads which table it is
			err := pgclient.Send(ctx, tx, "change "+t.name.String(), func(batch *pgx.Batch) { catalog.QueueMoved(batch, t.replication, t.name.Name, t.name.SQL()) })
			if err != nil {
				return err
			}
		}
		return tx.Commit(ctx)
	})
	if err != nil {
		return fmt.Errorf("change columns of %s: %w", t.name, nameHolders(ctx, d.conn.Conn, t.name, true, err))
	}
	return nil
}

// cannotAlter reports whether PostgreSQL refused to change a column's type because an object
// other than a view depends on it, such as a generated column, for which PostgreSQL 12 to 14
// report a syntax error.
func cannotAlter(err error) bool {
	code := pgclient.Code(err)
	return code == pgclient.FeatureNotSupported || code == pgclient.SyntaxError
}
