package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// viewProblems returns what is wrong with views of the source, by name, as far as planning a
// query of them shows it. Planning expands functions that are written in SQL, and evaluates
// constant ones. Those belong to others, so they run in a transaction that writes nothing,
// for a limited time, and in a session that ends after them. A function may catch the
// server's timeout and go on.
func viewProblems(ctx context.Context, from pgclient.Endpoint, views []relation.TableName) (map[relation.TableName]string, error) {
	if len(views) == 0 {
		return nil, nil
	}
	conn, err := from.Server.Acquire(ctx, from.Database)
	if err != nil {
		return nil, err
	}
	defer conn.Discard()
	at := source.Session{Conn: conn.Conn, Pins: session.PinsSQL(pgclient.Version(conn.Conn), session.SourceLockTimeout) + "; SET statement_timeout = '5s'"}
	problems := map[relation.TableName]string{}
	for _, view := range views {
		err := explain(ctx, at, view)
		if advice := session.PathAdvice(err); advice != "" {
			problems[view] = fmt.Sprintf("%s cannot be read: %v. %s", view, err, advice)
		}
		if conn.IsClosed() { // the run reports anything else that is wrong with a view
			return nil, fmt.Errorf("plan a query of %s: %w", view, err)
		}
	}
	return problems, nil
}

// explain makes the source plan a query of a view.
func explain(ctx context.Context, session source.Session, view relation.TableName) error {
	ctx, cancel := context.WithTimeout(ctx, planningLimit)
	defer cancel()
	err := session.Read(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "EXPLAIN SELECT * FROM "+view.SQL())
		return err
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("it did not end within %s: PostgreSQL evaluates IMMUTABLE functions when it plans, and one of them did not stop when it was cancelled: %w", planningLimit, err)
	}
	return err
}

// planningLimit is longer than the server's own limit above.
const planningLimit = 7 * time.Second
