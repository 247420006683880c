package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// tidying is how long to put something back takes at most, also after a cancellation.
const tidying = 30 * time.Second

// DefaultTemplate is what databases are copied from if nothing else is said.
const DefaultTemplate = "template1"

// CreateDatabase creates a database as a copy of template ("" for the default
// one) and returns it as the server has it. As CREATE DATABASE is no part of a
// transaction, one that cannot be made as it is wanted is dropped again. If not
// even that succeeds, the error comes with the Database that is left.
func (s *Server) CreateDatabase(ctx context.Context, d Database, template string) (Database, error) {
	defer s.Changed()
	err := s.startDatabase(ctx, d, template)
	if err != nil {
		return Database{}, fmt.Errorf("create database %q: %w", d.Name, err)
	}
	created, err := s.finishDatabase(ctx, d)
	if err == nil {
		return created, nil
	}
	err = fmt.Errorf("create database %q: %w", d.Name, err)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	if failed := s.DropDatabase(ctx, d.Name, DatabaseDrop{Tables: true}); failed != nil {
		return Database{Name: d.Name}, fmt.Errorf("%w\nIt was created before this failed, and could not be dropped again: %w", err, failed)
	}
	return Database{}, err
}

// startDatabase creates a database that is right but for what CREATE DATABASE
// cannot do, having seen whether the rest can be done.
func (s *Server) startDatabase(ctx context.Context, d Database, template string) error {
	err := s.tryStartDatabase(ctx, d, template)
	var busy *SessionsError
	// A session that outlives its client may have been creating the same database.
	if Code(err) == UniqueViolation || errors.As(err, &busy) && busy.mayPass() {
		err = s.tryStartDatabase(ctx, d, template)
	}
	return err
}

func (s *Server) tryStartDatabase(ctx context.Context, d Database, template string) error {
	source := template
	if source == "" {
		source = DefaultTemplate
	}
	s.LeaveDatabase(source)
	return s.onSession(ctx, s.besides(d.Name), func(conn *pgx.Conn) error {
		sql, err := d.createStatement(Version(conn), template)
		if err != nil {
			return err
		}
		err = boundedTx(ctx, conn, func(tx pgx.Tx) error {
			_, err := needs{newOwner: d.Owner, createDB: true}.joinings(ctx, tx, sql, "ALTER DATABASE "+Ident(d.Name)+" OWNER TO "+Ident(d.Owner))
			return err
		})
		if err != nil {
			return err
		}
		err = execToTheEnd(ctx, conn, sql, tidying)
		switch Code(err) {
		case ObjectInUse:
			sessions, failed := sessionsOf(ctx, conn, source)
			if failed == nil {
				return &SessionsError{Sessions: sessions, Err: err,
					advice: "Nobody may be connected to a template while it is copied. End these sessions and apply again, or set template = \"template0\", which nobody connects to."}
			}
		case InvalidParameterValue:
			if source != "template0" {
				return Advise(err, fmt.Sprintf("A copy of the template %s has its encoding and locale. Set template = \"template0\" to choose others.", source))
			}
		}
		return err
	})
}

// createStatement leaves the owner for later: a login may only be able to give
// the database away within a transaction.
func (d Database) createStatement(major int, template string) (string, error) {
	sql := "CREATE DATABASE " + Ident(d.Name)
	for _, option := range []struct {
		attribute, name, value string
		since                  int
	}{
		{"template", "TEMPLATE", template, 0},
		{"encoding", "ENCODING", d.Encoding, 0},
		{"lc_collate", "LC_COLLATE", d.LCCollate, 0},
		{"lc_ctype", "LC_CTYPE", d.LCCtype, 0},
		{"locale_provider", "LOCALE_PROVIDER", d.LocaleProvider, 15},
		{"icu_locale", "ICU_LOCALE", d.ICULocale, 15},
		{"builtin_locale", "BUILTIN_LOCALE", d.BuiltinLocale, 17},
	} {
		since := option.since
		if option.value == "builtin" && option.attribute == "locale_provider" {
			since = 17
		}
		switch {
		case option.value == "":
		case major >= since:
			sql += " " + option.name + " " + strings.TrimSpace(Literal(option.value))
		case option.value != "libc": // which is all that there was
			return "", fmt.Errorf("%s = %q needs PostgreSQL %d or newer, the server is %d", option.attribute, option.value, since, major)
		}
	}
	if d.ConnectionLimit != -1 {
		sql += fmt.Sprintf(" CONNECTION LIMIT %d", d.ConnectionLimit)
	}
	return sql, nil
}

// finishDatabase gives a new database what it lacks.
func (s *Server) finishDatabase(ctx context.Context, d Database) (created Database, err error) {
	err = s.changeRights(ctx, s.besides(d.Name), func(tx pgx.Tx) error {
		created, err = alterDatabase(ctx, tx, d)
		return err
	})
	return created, err
}

// execToTheEnd runs a statement whose outcome must be known: when ctx is done,
// the server is asked to cancel it, and its answer is waited for, as long as grace
// at most.
func execToTheEnd(ctx context.Context, conn *pgx.Conn, sql string, grace time.Duration) error {
	uncancelled := context.WithoutCancel(ctx)
	asked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(asked)
		_ = conn.PgConn().Conn().SetDeadline(time.Now().Add(grace)) // nor may the answer never come
		ctx, cancel := context.WithTimeout(uncancelled, grace)
		defer cancel()
		_ = conn.PgConn().CancelRequest(ctx) // if it is not heard, the statement ends by itself
	})
	_, err := conn.Exec(uncancelled, sql)
	if stop() {
		return err
	}
	<-asked // or it would be the next statement that is cancelled
	if conn.IsClosed() && !isServers(err) {
		return Advise(fmt.Errorf("the server was asked to cancel this, and did not answer within %v: %w", grace, errors.Join(ctx.Err(), err)),
			"It is not known whether the server did it. Apply again, which finds out.")
	}
	_ = conn.PgConn().Conn().SetDeadline(time.Time{})
	return err
}
