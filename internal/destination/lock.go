package destination

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A Target is the table of the destination that a replication loads.
type Target struct {
	Replication int64
	Name        relation.TableName
}

// A TargetLock is a transaction that loads rows and has locked the table against changes of
// its structure.
type TargetLock struct {
	Tx    pgx.Tx // nil once it was detached or rolled back
	State TargetState
}

// Lock begins the transaction that loads rows, and reads what the destination holds of the
// table. A table that does not exist is not locked: the session that creates it first waits
// for no other.
func (d *Conn) Lock(ctx context.Context, t Target, maxWait time.Duration) (*TargetLock, error) {
	var tx pgx.Tx
	err := session.RetryLocked(ctx, maxWait, func() (err error) {
		tx, err = lockTable(ctx, d.Conn.Conn, t.Name, "ROW EXCLUSIVE", session.DestinationLockTimeout)
		return err
	})
	if err != nil && isNoTable(err) { // what the relation is instead, if there is one, is read below
		tx, err = d.Conn.Begin(ctx)
	}
	if pgclient.Code(err) == pgclient.LockNotAvailable {
		err = &session.LockTimeoutError{Err: session.NameHolders(ctx, d.Conn.Conn, t.Name, false, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", t.Name, err)
	}
	state, err := readTarget(ctx, tx, t.Replication, t.Name, d.Types)
	if err != nil {
		session.Rollback(ctx, tx)
		return nil, err
	}
	return &TargetLock{Tx: tx, State: state}, nil
}

// Relock is Lock for a table that was locked before, and must be the same. continues says
// whether the load goes on from its bookmark.
func (d *Conn) Relock(ctx context.Context, t Target, before TargetState, continues bool, maxWait time.Duration) (*TargetLock, error) {
	l, err := d.Lock(ctx, t, maxWait)
	if err != nil {
		return nil, err
	}
	now := l.State
	if (now.Table == nil) != (before.Table == nil) || now.Table != nil && now.Table.OID != before.Table.OID || continues && now.ChangeReason() != "" {
		l.Rollback(ctx)
		return nil, errTargetReplaced
	}
	return l, nil
}

// Detach returns the transaction to the caller, who ends it.
func (l *TargetLock) Detach() pgx.Tx {
	tx := l.Tx
	l.Tx = nil
	return tx
}

// Rollback ends the transaction, unless it was detached.
func (l *TargetLock) Rollback(ctx context.Context) {
	if l.Tx != nil {
		session.Rollback(ctx, l.Tx)
		l.Tx = nil
	}
}

// errTargetReplaced says that the destination table is not the one of when the attempt began.
var errTargetReplaced = errors.New("the table in the destination was dropped, emptied or replaced during the load")

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
		session.LockTimeoutSQL, table.SQL(), mode, timeout)})
	if err != nil { // an error does not end a transaction that has begun
		_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
		return nil, err
	}
	return tx, nil
}

// Alter adds what the existing table lacks. It waits for its lock in short turns, because
// readers queue behind a session that waits. It does the same for locks on tables whose
// foreign keys refer to this one.
func (d *Conn) Alter(ctx context.Context, t Target, sql string) error {
	err := session.RetryLocked(ctx, session.MaxExclusiveWait, func() error {
		tx, err := lockTable(ctx, d.Conn.Conn, t.Name, "ACCESS EXCLUSIVE", session.LockTimeout)
		if err != nil {
			return err
		}
		defer session.Rollback(ctx, tx)
		state, err := readTarget(ctx, tx, t.Replication, t.Name, d.Types)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
		if state.isSameStorage() { // else the load reads which table it is
			err := pgclient.Send(ctx, tx, "change "+t.Name.String(), func(batch *pgx.Batch) { catalog.QueueStorage(batch, t.Replication, t.Name.Name, t.Name.SQL()) })
			if err != nil {
				return err
			}
		}
		return tx.Commit(ctx)
	})
	if err != nil {
		return fmt.Errorf("change columns of %s: %w", t.Name, session.NameHolders(ctx, d.Conn.Conn, t.Name, true, err))
	}
	return nil
}

// CannotAlter reports whether PostgreSQL refused to change a column's type because an object
// other than a view depends on it, such as a generated column, for which PostgreSQL 12 to 14
// report a syntax error.
func CannotAlter(err error) bool {
	code := pgclient.Code(err)
	return code == pgclient.FeatureNotSupported || code == pgclient.SyntaxError
}
