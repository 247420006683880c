package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A User is a role that Stitch logs in as.
type User struct {
	Name            string
	Login           bool
	ConnectionLimit int               // -1: no limit
	ValidUntil      string            // RFC 3339; "" or "infinity": the password never expires
	Replication     bool              // see user_powers.go
	BypassRLS       bool              // row-level security hides nothing from it
	Roles           []string          // roles that it is a member of, except those of Replication
	Parameters      map[string]string // what its sessions begin with, in all databases; nil: left unchanged

	replicating replicating // how it gets Replication; unused in a wanted user
	attributes  []string    // attributes that CreateUser never sets, such as SUPERUSER; unused in a wanted user
	memberships []roleGrant // except those of Replication; unused in a wanted user
	verifier    *string     // what the server stores for its password; nil if this login may not see it
}

// CreateUser creates a user. Without a password (nil) the user can log in only where the server
// asks for none. The seal recognises the password later.
func CreateUser(ctx context.Context, s *pgclient.Server, u User, password *Password) (*PasswordSeal, error) {
	var seal *PasswordSeal
	err := changeUser(ctx, s, func(tx pgx.Tx) error {
		verifier, err := password.verifier(u.Name, pgclient.Version(tx.Conn()))
		if err != nil {
			return err
		}
		seal = sealPassword(verifier)
		options := append([]string{u.login(), u.connectionLimit(), u.validUntil()}, passwordOption(verifier)...)
		if _, err = tx.Exec(ctx, "CREATE ROLE "+pgclient.Ident(u.Name)+" "+strings.Join(options, " ")); err != nil {
			return adviseCreate(s, err)
		}
		have, err := user(ctx, tx, u.Name)
		if err != nil {
			return err
		}
		major := pgclient.Version(tx.Conn())
		return runUserChanges(ctx, tx, u.changes(have, ""), func(refused []userChange) string { return adviseUncreated(s, refused, major) })
	})
	if err != nil {
		return nil, fmt.Errorf("create database user %q: %w", u.Name, err)
	}
	return seal, nil
}

// adviseCreate adds what a login needs to create users.
func adviseCreate(s *pgclient.Server, err error) error {
	if pgclient.Code(err) != pgclient.InsufficientPrivilege {
		return err
	}
	return pgclient.Advise(err, fmt.Sprintf("The login of this server entry is not allowed to create users. Ask an administrator to run:\n  ALTER ROLE %s CREATEROLE;",
		pgclient.Ident(s.Username())))
}

// UpdateUser changes what differs, and the password if one is given. The seal recognises the
// password later; it is nil if no password was given.
func UpdateUser(ctx context.Context, s *pgclient.Server, u User, password *Password) (*PasswordSeal, error) {
	var seal *PasswordSeal
	err := changeUser(ctx, s, func(tx pgx.Tx) error {
		have, err := user(ctx, tx, u.Name)
		if err != nil {
			return err
		}
		verifier, err := password.verifier(u.Name, pgclient.Version(tx.Conn()))
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

// A userChange is one statement, and its alternatives.
type userChange struct {
	sql     string
	shown   string   // for people: without a verifier
	asked   string   // the attribute of the configuration that asks for it; "" for those that CREATE ROLE sets
	instead []string // what is tried if the login may not run the statement
}

// changes returns the statements that turn have into u. A verifier of "" leaves the password
// unchanged.
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
	alter := "ALTER ROLE " + pgclient.Ident(u.Name) + " "
	if all := append(options, passwordOption(verifier)...); len(all) > 0 {
		var shown []string
		if len(options) > 0 {
			shown = append(shown, alter+strings.Join(options, " ")+";")
		}
		if verifier != "" {
			shown = append(shown, `\password `+pgclient.Ident(u.Name))
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

// runUserChanges runs all changes or, if the login may not run some, none: advise then says what
// to do about those.
func runUserChanges(ctx context.Context, tx pgx.Tx, changes []userChange, advise func(refused []userChange) string) error {
	var refusal error // the first refusal
	var refused []userChange
	for _, change := range changes {
		err := attempt(ctx, tx, change.sql)
		for _, sql := range change.instead {
			if pgclient.Code(err) == pgclient.InsufficientPrivilege && attempt(ctx, tx, sql) == nil {
				err = nil
			}
		}
		switch {
		case pgclient.Code(err) == pgclient.InsufficientPrivilege:
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
	return pgclient.Advise(refusal, advise(refused))
}

func adviseUnchanged(refused []userChange) string {
	return "The login of this server entry is not allowed to do all of this. Nothing was changed. Ask an administrator to run:\n  " + shown(refused)
}

// shown lists changes for people.
func shown(changes []userChange) string {
	return strings.Join(pgclient.QuoteAll(changes, func(c userChange) string { return c.shown }), "\n  ")
}

// adviseUncreated says how to get a user that the login may create, but to which it may not give
// all that is asked for: SQL that names the user can only be run once it exists.
func adviseUncreated(s *pgclient.Server, refused []userChange, major int) string {
	asked := pgclient.QuoteAll(refused, func(c userChange) string { return c.asked })
	slices.Sort(asked)
	attributes := strings.Join(slices.Compact(asked), ", ")
	advice := fmt.Sprintf("The login of this server entry is not allowed to do all of this. Nothing was changed, and the user was not created. "+
		"Remove %[1]s from the configuration and apply, which creates the user. Then ask an administrator to run:\n  %[2]s\nand add %[1]s to the configuration again.", attributes, shown(refused))
	if option := map[string]string{"replication": "REPLICATION", "bypass_rls": "BYPASSRLS"}[attributes]; option != "" && major >= 16 {
		advice += fmt.Sprintf("\nOr enable the login to do it itself: ask a superuser to run\n  ALTER ROLE %s %s;\nand apply again.", pgclient.Ident(s.Username()), option)
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

func (u User) validUntil() string {
	return "VALID UNTIL " + pgclient.Literal(canonicalInstant(u.ValidUntil))
}

func passwordOption(verifier string) []string {
	if verifier == "" {
		return nil
	}
	return []string{"PASSWORD " + pgclient.Literal(verifier)}
}

// changeUser runs f in a transaction, and again if other sessions interfered.
func changeUser(ctx context.Context, s *pgclient.Server, f func(pgx.Tx) error) error {
	return s.Change(ctx, "", pgclient.Contention{}, f)
}
