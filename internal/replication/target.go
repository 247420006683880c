package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// enterTarget starts the transaction of the destination that loads rows, with the
// table locked against changes of its structure, and looks at it. One that is not
// there is not locked: who is first to create it waits for nobody.
func (c *copying) enterTarget(ctx context.Context, patience time.Duration) error {
	var tx pgx.Tx
	err := inTurns(ctx, patience, func() (err error) {
		tx, err = lockTable(ctx, c.sessions.destination.conn.Conn, c.target, "ROW EXCLUSIVE", destinationLockTimeout)
		return err
	})
	if err != nil && isNoTable(err) { // what it is instead, if anything, is found below
		tx, err = c.sessions.destination.conn.Begin(ctx)
	}
	if postgres.Code(err) == lockNotAvailable {
		err = &heldError{nameHolders(ctx, c.sessions.destination.conn.Conn, c.target, false, err)}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", c.target, err)
	}
	there, err := lookAt(ctx, tx, c.replication, c.target, c.sessions.destination.types)
	if err != nil {
		rollback(ctx, tx)
		return err
	}
	there.viewed = append(there.viewed, c.fixed...)
	there.added = c.added
	c.targetTx, c.there, c.committing = tx, there, there.now
	return nil
}

// isNoTable reports whether a table could not be locked because it is not there,
// is something else, or is somebody else's.
func isNoTable(err error) bool {
	switch postgres.Code(err) {
	case "42P01", "3F000", "42809", "42501":
		return true
	}
	return false
}

// lockTable starts a transaction that holds a lock on a table, in one round trip.
// What it waits for afterwards, it waits for as long as timeout says.
func lockTable(ctx context.Context, conn *pgx.Conn, table postgres.TableName, mode, timeout string) (pgx.Tx, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: fmt.Sprintf("BEGIN; %s; LOCK TABLE ONLY %s IN %s MODE; SET LOCAL lock_timeout = '%s'",
		lockTurnSQL, table.SQL(), mode, timeout)})
	if err != nil { // what has begun is not ended by that
		_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
		return nil, err
	}
	return tx, nil
}

// leaveTarget ends that transaction, unless it was used.
func (c *copying) leaveTarget(ctx context.Context) {
	if c.targetTx != nil {
		rollback(ctx, c.targetTx)
		c.targetTx = nil
	}
}

// takeTarget returns the transaction in which the table was looked at, once. From
// then on it is another one, in which the table must be the same. It fails with
// errTargetLocked if the snapshot would have to be held while others have the table
// locked, and can be given back instead.
func (c *copying) takeTarget(ctx context.Context) (pgx.Tx, error) {
	if c.targetTx == nil {
		before, patience := c.there, lockPatience
		if !c.inParts {
			patience = 0
		}
		if err := c.enterTarget(ctx, patience); err != nil {
			if !c.inParts && postgres.Code(err) == lockNotAvailable {
				return nil, errTargetLocked
			}
			return nil, err
		}
		now := c.there
		c.there = before
		c.committing = now.now
		if (now.table == nil) != (before.table == nil) || now.table != nil && now.table.OID != before.table.OID || c.step.window.since != nil && now.older() != "" {
			c.leaveTarget(ctx)
			return nil, errTargetReplaced
		}
	}
	tx := c.targetTx
	c.targetTx = nil
	return tx, nil
}

// errTargetLocked is met when others have the destination table locked between two
// pieces.
var errTargetLocked = errors.New("the table in the destination is locked")

// errTargetReplaced is met when the destination table is another one than it was
// when the attempt began.
var errTargetReplaced = errors.New("the table in the destination was dropped, emptied or replaced while it was loaded")

// alter adds what the existing table lacks. It waits for its lock in short turns,
// because readers queue behind the one who waits, and likewise for those on tables
// whose foreign keys refer to this one.
func (c *copying) alter(ctx context.Context, sql string) error {
	err := inTurns(ctx, soloPatience, func() error {
		tx, err := lockTable(ctx, c.sessions.destination.conn.Conn, c.target, "ACCESS EXCLUSIVE", lockTurn)
		if err != nil {
			return err
		}
		defer rollback(ctx, tx)
		there, err := lookAt(ctx, tx, c.replication, c.target, c.sessions.destination.types)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
		if there.isWhereLeft() { // else the load finds out what the table is
			err := postgres.Send(ctx, tx, "change "+c.target.String(), func(batch *pgx.Batch) { catalog.QueueMoved(batch, c.replication, c.target.Name, c.target.SQL()) })
			if err != nil {
				return err
			}
		}
		return tx.Commit(ctx)
	})
	if err != nil {
		return fmt.Errorf("change columns of %s: %w", c.target, nameHolders(ctx, c.sessions.destination.conn.Conn, c.target, true, err))
	}
	return nil
}
