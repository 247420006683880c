package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A User is a role that Stitch logs in as.
type User struct {
	Name            string
	Login           bool
	ConnectionLimit int // -1: no limit
}

// CreateUser creates a user. Without a password ("") it can log in only where
// the server asks for none.
func (s *Server) CreateUser(ctx context.Context, u User, password string) error {
	err := s.inTx(ctx, "", func(tx pgx.Tx) error {
		if err := requireSCRAM(Version(tx.Conn())); err != nil {
			return err
		}
		verifier, err := optionalVerifier(&password)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "CREATE ROLE "+Ident(u.Name)+" "+u.options()+" "+verifier)
		return err
	})
	if err != nil {
		return fmt.Errorf("create database user %q: %w", u.Name, err)
	}
	s.siblings.changed() // it may be the login of another entry
	return nil
}

// User returns the user called name, or ErrNotFound.
func (s *Server) User(ctx context.Context, name string) (User, error) {
	var u User
	err := s.inTx(ctx, "", func(tx pgx.Tx) (err error) {
		u, err = user(ctx, tx, name)
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("read database user %q: %w", name, err)
	}
	return u, nil
}

const userSQL = `
	SELECT rolname, rolcanlogin, rolconnlimit
	FROM pg_catalog.pg_roles
	WHERE rolname = $1`

func user(ctx context.Context, tx pgx.Tx, name string) (User, error) {
	rows, _ := tx.Query(ctx, userSQL, name)
	u, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[User])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return u, err
}

// UpdateUser changes what differs. A password is set if it is given: nil leaves
// the one that is, "" takes it away.
func (s *Server) UpdateUser(ctx context.Context, u User, password *string) error {
	err := s.inTx(ctx, "", func(tx pgx.Tx) error {
		have, err := user(ctx, tx, u.Name)
		if err != nil {
			return err
		}
		if password != nil {
			if err := requireSCRAM(Version(tx.Conn())); err != nil {
				return err
			}
		}
		verifier, err := optionalVerifier(password)
		if err != nil {
			return err
		}
		sql := u.changes(have, verifier)
		if sql == "" {
			return nil
		}
		_, err = tx.Exec(ctx, sql)
		return err
	})
	if err != nil {
		return fmt.Errorf("update database user %q: %w", u.Name, err)
	}
	s.siblings.changed()
	return nil
}

// changes returns the SQL that turns have into u, or "".
func (u User) changes(have User, password string) string {
	var options []string
	if u.Login != have.Login {
		options = append(options, u.login())
	}
	if u.ConnectionLimit != have.ConnectionLimit {
		options = append(options, u.connectionLimit())
	}
	if password != "" {
		options = append(options, password)
	}
	if len(options) == 0 {
		return ""
	}
	return "ALTER ROLE " + Ident(u.Name) + " " + strings.Join(options, " ")
}

func (u User) options() string { return u.login() + " " + u.connectionLimit() }

func (u User) login() string {
	if u.Login {
		return "LOGIN"
	}
	return "NOLOGIN"
}

func (u User) connectionLimit() string { return fmt.Sprintf("CONNECTION LIMIT %d", u.ConnectionLimit) }

// optionalVerifier returns the option of CREATE and ALTER ROLE that sets a
// password by its verifier.
func optionalVerifier(password *string) (string, error) {
	switch {
	case password == nil:
		return "", nil
	case *password == "":
		return "PASSWORD NULL", nil
	}
	verifier, err := scramVerifier(*password)
	if err != nil {
		return "", err
	}
	return "PASSWORD " + Literal(verifier), nil
}

// requireSCRAM refuses servers that would take a verifier for a password.
func requireSCRAM(major int) error {
	if major >= 10 {
		return nil
	}
	return fmt.Errorf("the server is PostgreSQL %d, which knows no SCRAM-SHA-256 passwords: 10 or newer is needed", major)
}
