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

// cleanupTimeout is the timeout for undoing a change, even after a cancellation.
const cleanupTimeout = 30 * time.Second

// DefaultTemplate is the database that is copied if no template is named.
const DefaultTemplate = "template1"

// CreateDatabase creates a database as a copy of template ("" for the default one) and returns
// it as the server has it. CREATE DATABASE runs in no transaction, so a database that cannot be
// completed as wanted is dropped again. If that fails too, CreateDatabase returns the database
// that is left along with the error.
func CreateDatabase(ctx context.Context, s *pgclient.Server, d Database, template string) (Database, error) {
	defer s.Changed()
	err := startDatabase(ctx, s, d, template)
	if err != nil {
		return Database{}, fmt.Errorf("create database %q: %w", d.Name, err)
	}
	created, err := finishDatabase(ctx, s, d)
	if err == nil {
		return created, nil
	}
	err = fmt.Errorf("create database %q: %w", d.Name, err)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if failed := DropDatabase(ctx, s, d.Name, DatabaseDrop{Tables: true}); failed != nil {
		return Database{Name: d.Name}, fmt.Errorf("%w\nThe database was created before this error, and could not be dropped again: %w", err, failed)
	}
	return Database{}, err
}

// startDatabase first checks whether the later steps can be done. It then creates a database
// that is complete except for what CREATE DATABASE cannot do.
func startDatabase(ctx context.Context, s *pgclient.Server, d Database, template string) error {
	err := tryStartDatabase(ctx, s, d, template)
	var busy *SessionsError
	// A session that outlives its client may be creating the same database.
	if pgclient.Code(err) == pgclient.UniqueViolation || errors.As(err, &busy) && busy.mayPass() {
		err = tryStartDatabase(ctx, s, d, template)
	}
	return err
}

func tryStartDatabase(ctx context.Context, s *pgclient.Server, d Database, template string) error {
	source := template
	if source == "" {
		source = DefaultTemplate
	}
	s.CloseIdleIn(source)
	return s.OnSession(ctx, maintenanceDatabase(s, d.Name), func(conn *pgx.Conn) error {
		sql, err := d.createStatement(pgclient.Version(conn), template)
		if err != nil {
			return err
		}
		err = pgclient.BoundedTx(ctx, conn, func(tx pgx.Tx) error {
			_, err := privilege.Needs{NewOwner: d.Owner, CreateDB: true}.Memberships(ctx, tx, sql, "ALTER DATABASE "+pgclient.Ident(d.Name)+" OWNER TO "+pgclient.Ident(d.Owner))
			return err
		})
		if err != nil {
			return err
		}
		err = pgclient.ExecToTheEnd(ctx, conn, sql, cleanupTimeout)
		switch pgclient.Code(err) {
		case pgclient.ObjectInUse:
			sessions, failed := sessionsOf(ctx, conn, source)
			if failed == nil {
				return &SessionsError{Sessions: sessions, Err: err,
					advice: "PostgreSQL copies a template only while no session is connected to it. End these sessions and apply again, or set template = \"template0\", which accepts no connections."}
			}
		case pgclient.InvalidParameterValue:
			if source != "template0" {
				return pgclient.Advise(err, fmt.Sprintf("A copy of the template %s must have the template's encoding and locale. Set template = \"template0\" to choose others.", source))
			}
		}
		return err
	})
}

// createStatement leaves the owner for a later step: some logins can give the database away only
// within a transaction.
func (d Database) createStatement(major int, template string) (string, error) {
	sql := "CREATE DATABASE " + pgclient.Ident(d.Name)
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
			sql += " " + option.name + " " + strings.TrimSpace(pgclient.Literal(option.value))
		case option.value != "libc": // before, libc was the only provider
			return "", fmt.Errorf("%s = %q needs PostgreSQL %d or newer, but the server is PostgreSQL %d", option.attribute, option.value, since, major)
		}
	}
	if d.ConnectionLimit != -1 {
		sql += fmt.Sprintf(" CONNECTION LIMIT %d", d.ConnectionLimit)
	}
	return sql, nil
}

// finishDatabase sets what a new database lacks.
func finishDatabase(ctx context.Context, s *pgclient.Server, d Database) (created Database, err error) {
	err = privilege.ChangeRights(ctx, s, maintenanceDatabase(s, d.Name), func(tx pgx.Tx) error {
		created, err = alterDatabase(ctx, tx, d)
		return err
	})
	return created, err
}
