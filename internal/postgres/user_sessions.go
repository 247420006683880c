package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
)

const (
	maxTerminationWait = 20 * time.Second // for sessions to end after they were terminated
	terminationPause   = 50 * time.Millisecond
)

// terminateSessions ends the sessions of a user. From then on, the user cannot log in.
func terminateSessions(ctx context.Context, s *pgclient.Server, u User) error {
	if err := setLogin(ctx, s, u, false); err != nil {
		return err
	}
	s.CloseIdleAs(u.Name)
	err := endSessions(ctx, s, u.Name)
	if pgclient.Code(err) == pgclient.InsufficientPrivilege && !pgclient.IsUnreachable(err) {
		return pgclient.Advise(fmt.Errorf("end the sessions of %q: %w", u.Name, err),
			"The login of this server entry is not allowed to do that. Ask an administrator to run:\n  GRANT pg_signal_backend TO "+pgclient.Ident(s.Username())+";")
	}
	return err
}

// allowLogin lets a user log in again after terminateSessions, even when interrupted.
func allowLogin(ctx context.Context, s *pgclient.Server, u User) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), namingTimeout)
	defer cancel()
	if err := setLogin(ctx, s, u, true); err != nil {
		return fmt.Errorf("let %q log in again: %w", u.Name, err)
	}
	return nil
}

// setLogin changes nothing for a user that could not log in before, or that is gone.
func setLogin(ctx context.Context, s *pgclient.Server, u User, login bool) error {
	if !u.Login {
		return nil
	}
	u.Login = login
	return changeUser(ctx, s, func(tx pgx.Tx) error {
		have, err := user(ctx, tx, u.Name)
		if errors.Is(err, pgclient.ErrNotFound) || err == nil && have.Login == login {
			return nil
		}
		if err != nil {
			return err
		}
		sql := "ALTER ROLE " + pgclient.Ident(u.Name) + " " + u.login()
		return runUserChanges(ctx, tx, []userChange{{sql: sql, shown: sql + ";"}}, adviseUnchanged)
	})
}

// endSessionsSQL ends the sessions in its select list, which is computed only for the rows that
// it returns.
const endSessionsSQL = `
	SELECT ` + pgclient.SessionSQL + `, pg_catalog.pg_terminate_backend(a.pid)
	FROM pg_catalog.pg_stat_activity AS a
	WHERE a.usename = $1
	  AND a.pid <> pg_catalog.pg_backend_pid()
	ORDER BY a.pid`

// endSessions ends sessions until none are left. It holds no lock while it waits: membership in
// the user helps to end sessions, but takes a lock.
func endSessions(ctx context.Context, s *pgclient.Server, name string) error {
	helped := privilege.Needs{Helpful: []string{name}}
	for deadline := time.Now().Add(maxTerminationWait); ; {
		var left []string
		err := changeUser(ctx, s, func(tx pgx.Tx) error {
			return helped.While(ctx, tx, nil, func() (err error) {
				rows, _ := tx.Query(ctx, endSessionsSQL, name)
				left, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (session string, err error) {
					var asked bool
					err = row.Scan(&session, &asked)
					return session, err
				})
				return err
			})
		})
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("these sessions of %q did not end, although the server was asked to end them: %s", name, strings.Join(left, ", "))
		}
		if err := pgclient.Pause(ctx, terminationPause); err != nil {
			return err
		}
	}
}
