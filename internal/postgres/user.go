package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A User is a role that Stitch logs in as.
type User struct {
	Name            string
	Login           bool
	ConnectionLimit int               // -1: no limit
	ValidUntil      string            // RFC 3339; "" or "infinity": the password never expires
	Replication     bool              // see user_replication.go
	BypassRLS       bool              // row-level security hides nothing from it
	Roles           []string          // that it is a member of, besides those of Replication
	Parameters      map[string]string // what its sessions begin with, in all databases; nil: not to be changed

	replicating replicating // how it comes to Replication; unused in what is wished for
	attributes  []string    // that CreateUser gives to no user, such as SUPERUSER; likewise
	memberships []roleGrant // but for those of Replication; likewise
	verifier    *string     // what the server keeps of its password; nil if this login may not see that
}

// CreateUser creates a user. Without a password (nil) it can log in only where
// the server asks for none. The seal recognises the password later.
func (s *Server) CreateUser(ctx context.Context, u User, password *Password) (*PasswordSeal, error) {
	var seal *PasswordSeal
	err := s.changeUser(ctx, func(tx pgx.Tx) error {
		verifier, err := password.verifier(u.Name, Version(tx.Conn()))
		if err != nil {
			return err
		}
		seal = sealPassword(verifier)
		options := append([]string{u.login(), u.connectionLimit(), u.validUntil()}, passwordOption(verifier)...)
		if _, err = tx.Exec(ctx, "CREATE ROLE "+Ident(u.Name)+" "+strings.Join(options, " ")); err != nil {
			return s.adviseCreate(err)
		}
		have, err := user(ctx, tx, u.Name)
		if err != nil {
			return err
		}
		major := Version(tx.Conn())
		return runUserChanges(ctx, tx, u.changes(have, ""), func(refused []userChange) string { return s.adviseUncreated(refused, major) })
	})
	if err != nil {
		return nil, fmt.Errorf("create database user %q: %w", u.Name, err)
	}
	return seal, nil
}

// adviseCreate adds what a login needs to create users.
func (s *Server) adviseCreate(err error) error {
	if Code(err) != InsufficientPrivilege {
		return err
	}
	return Advise(err, fmt.Sprintf("The login of this server entry may not create users. Have somebody who may allow it run:\n  ALTER ROLE %s CREATEROLE;",
		Ident(s.Username())))
}

// UpdateUser changes what differs, and the password if one is given. The seal
// recognises the password later; it is nil if none was given.
func (s *Server) UpdateUser(ctx context.Context, u User, password *Password) (*PasswordSeal, error) {
	var seal *PasswordSeal
	err := s.changeUser(ctx, func(tx pgx.Tx) error {
		have, err := user(ctx, tx, u.Name)
		if err != nil {
			return err
		}
		verifier, err := password.verifier(u.Name, Version(tx.Conn()))
		if err != nil {
			return err
		}
		seal = sealPassword(verifier)
		return runUserChanges(ctx, tx, u.changes(have, verifier), adviseUnchanged)
	})
	if err != nil {
		return nil, fmt.Errorf("update database user %q: %w", u.Name, err)
	}
	return seal, nil
}

// A userChange is one statement, and what would do as well.
type userChange struct {
	sql     string
	shown   string   // for people: without a verifier
	asked   string   // the attribute of the configuration that asks for it; "" for those that CREATE ROLE sets
	instead []string // what is tried if the login may not do that
}

// changes returns what turns have into u. A verifier of "" leaves the password.
func (u User) changes(have User, verifier string) []userChange {
	var options []string
	if u.Login != have.Login {
		options = append(options, u.login())
	}
	if u.ConnectionLimit != have.ConnectionLimit {
		options = append(options, u.connectionLimit())
	}
	if !SameValidUntil(u.ValidUntil, have.ValidUntil) {
		options = append(options, u.validUntil())
	}
	var changes []userChange
	alter := "ALTER ROLE " + Ident(u.Name) + " "
	if all := append(options, passwordOption(verifier)...); len(all) > 0 {
		var shown []string
		if len(options) > 0 {
			shown = append(shown, alter+strings.Join(options, " ")+";")
		}
		if verifier != "" {
			shown = append(shown, `\password `+Ident(u.Name))
		}
		changes = append(changes, userChange{sql: alter + strings.Join(all, " "), shown: strings.Join(shown, "\n  ")})
	}
	changes = append(changes, u.replicationChanges(have)...)
	changes = append(changes, u.powerChanges(have)...)
	for _, clause := range parameterChanges(u.Parameters, have.Parameters) {
		changes = append(changes, userChange{sql: alter + clause, shown: alter + clause + ";", asked: "parameters"})
	}
	return changes
}

// runUserChanges runs all of them or, if the login may not run some, none: advise says
// what to do about these.
func runUserChanges(ctx context.Context, tx pgx.Tx, changes []userChange, advise func(refused []userChange) string) error {
	var refusal error // the first
	var refused []userChange
	for _, change := range changes {
		err := attempt(ctx, tx, change.sql)
		for _, sql := range change.instead {
			if Code(err) == InsufficientPrivilege && attempt(ctx, tx, sql) == nil {
				err = nil
			}
		}
		switch {
		case Code(err) == InsufficientPrivilege:
			refused = append(refused, change)
			if refusal == nil {
				refusal = err
			}
		case err != nil:
			return err
		}
	}
	if refusal == nil {
		return nil
	}
	return Advise(refusal, advise(refused))
}

func adviseUnchanged(refused []userChange) string {
	return "The login of this server entry may not do all of this, so nothing was changed. Have somebody who may run:\n  " + shown(refused)
}

// shown lists changes for people.
func shown(changes []userChange) string {
	return strings.Join(quoted(changes, func(c userChange) string { return c.shown }), "\n  ")
}

// adviseUncreated says how to come to a user that the login may create, but may not give
// all that is asked for: SQL that names it can only be run once it exists.
func (s *Server) adviseUncreated(refused []userChange, major int) string {
	asked := quoted(refused, func(c userChange) string { return c.asked })
	slices.Sort(asked)
	attributes := strings.Join(slices.Compact(asked), ", ")
	advice := fmt.Sprintf("The login of this server entry may not do all of this, so nothing was changed, and the user was not created. "+
		"Leave what it asks for out of the configuration (%[1]s) and apply, which creates the user. Then have somebody who may run:\n  %[2]s\nand put it (%[1]s) back.", attributes, shown(refused))
	if option := map[string]string{"replication": "REPLICATION", "bypass_rls": "BYPASSRLS"}[attributes]; option != "" && major >= 16 {
		advice += fmt.Sprintf("\nOr let the login itself do it: have a superuser run\n  ALTER ROLE %s %s;\nand apply again.", Ident(s.Username()), option)
	}
	return advice
}

// attempt runs a statement that may fail without ending the transaction.
func attempt(ctx context.Context, tx pgx.Tx, sql string) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	})
}

func (u User) login() string {
	if u.Login {
		return "LOGIN"
	}
	return "NOLOGIN"
}

func (u User) connectionLimit() string { return fmt.Sprintf("CONNECTION LIMIT %d", u.ConnectionLimit) }

func (u User) validUntil() string { return "VALID UNTIL " + Literal(canonicalInstant(u.ValidUntil)) }

func passwordOption(verifier string) []string {
	if verifier == "" {
		return nil
	}
	return []string{"PASSWORD " + Literal(verifier)}
}
