package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// SourceGrants let a user read schemas of a database: CONNECT, USAGE on the
// schemas, and SELECT on their tables, partitions, views, materialized views and
// foreign tables.
type SourceGrants struct {
	Database     string
	User         string
	Schemas      []string
	Tables       []TableName // nil: all of the schemas
	FutureTables bool        // also SELECT on what is created in the schemas later
}

// scope is what the grants are made of, but for default privileges.
func (g SourceGrants) scope() scope {
	sc := scope{user: g.User, database: []string{"CONNECT"}, schemas: g.Schemas, tables: g.Tables}
	if g.Tables == nil {
		sc.whole = g.Schemas
	}
	return sc
}

// defaults returns the schemas in which default privileges are granted.
func (g SourceGrants) defaults() []string {
	if g.FutureTables {
		return g.Schemas
	}
	return nil
}

// CheckSourceSchema refuses what is no name, and PostgreSQL's own schemas: there
// is nothing to replicate in them, but pg_authid with its passwords.
func CheckSourceSchema(name string) error {
	if name == "information_schema" || strings.HasPrefix(name, "pg_") {
		return fmt.Errorf("the schema %q belongs to PostgreSQL itself and holds no data to replicate", name)
	}
	return CheckName(name)
}

func (g SourceGrants) check() error {
	for _, schema := range g.Schemas {
		if err := CheckSourceSchema(schema); err != nil {
			return err
		}
	}
	for _, table := range g.Tables {
		if !slices.Contains(g.Schemas, table.Schema) {
			return fmt.Errorf("table %s lies in none of the schemas to read", table)
		}
	}
	return nil
}

// GrantSource grants explicitly what the user was not granted yet. What does
// not exist is an error, and so is what this login may not grant.
func (s *Server) GrantSource(ctx context.Context, g SourceGrants) error {
	err := s.changeRights(ctx, g.Database, func(tx pgx.Tx) error { return grantSource(ctx, tx, g) })
	if err != nil {
		return fmt.Errorf("grant source rights on database %q to %q: %w", g.Database, g.User, err)
	}
	return nil
}

func grantSource(ctx context.Context, tx pgx.Tx, g SourceGrants) error {
	if err := g.check(); err != nil {
		return err
	}
	a, err := readAccess(ctx, tx, g.Schemas)
	if err != nil {
		return err
	}
	user, err := a.requireUser(g.User)
	if err != nil {
		return err
	}
	plan, err := a.planGrants(user, g.scope())
	if err != nil {
		return err
	}
	return plan.and(a.planDefaultGrants(user, g.defaults())).run(ctx, tx)
}

// UpdateSource takes back what only the old grants covered, and options to pass
// on what the new ones cover, and grants what these lack. No right that both
// cover is ever missing, for anybody.
func (s *Server) UpdateSource(ctx context.Context, old, want SourceGrants) error {
	err := s.changeRights(ctx, want.Database, func(tx pgx.Tx) error {
		if err := grantSource(ctx, tx, want); err != nil {
			return err
		}
		if err := revokeRights(ctx, tx, want.scope(), true); err != nil {
			return err
		}
		sc, defaults := droppedSource(old, want)
		return revokeSource(ctx, tx, sc, defaults)
	})
	if dropped, _ := droppedSource(old, want); err == nil && len(dropped.schemas) > 0 {
		err = s.revokeAgain(ctx, want.Database, func(tx pgx.Tx) error { return revokeUsage(ctx, tx, want.User, dropped.schemas) })
	}
	if err != nil {
		return fmt.Errorf("update source rights on database %q of %q: %w", want.Database, want.User, err)
	}
	return nil
}

// droppedSource returns what old covers and want does not: the rights within
// schemas, and the schemas of default privileges. CONNECT is covered by both.
func droppedSource(old, want SourceGrants) (scope, []string) {
	sc := scope{user: old.User}
	for _, schema := range old.Schemas {
		kept := slices.Contains(want.Schemas, schema)
		if !kept {
			sc.schemas = append(sc.schemas, schema)
		}
		if old.Tables == nil && (!kept || want.Tables != nil) {
			sc.whole = append(sc.whole, schema)
		}
	}
	for _, table := range old.Tables {
		if want.Tables != nil || !slices.Contains(want.Schemas, table.Schema) {
			sc.tables = append(sc.tables, table)
		}
	}
	sc.except = want.Tables
	var defaults []string
	for _, schema := range old.defaults() {
		if !slices.Contains(want.defaults(), schema) {
			defaults = append(defaults, schema)
		}
	}
	return sc, defaults
}

// revokeSource takes back SELECT and default privileges, and then USAGE where it is
// of no more use.
func revokeSource(ctx context.Context, tx pgx.Tx, sc scope, defaults []string) error {
	a, err := readAccess(ctx, tx, []string{})
	if err != nil {
		return err
	}
	user, err := a.requireUser(sc.user)
	if err != nil {
		return err
	}
	if err := a.planDefaultRevokes(user, defaults).run(ctx, tx); err != nil {
		return err
	}
	relations := sc
	relations.schemas = nil
	if err := revokeRights(ctx, tx, relations, false); err != nil {
		return err
	}
	return revokeUsage(ctx, tx, sc.user, sc.schemas)
}

// revokeUsage takes back USAGE on those of some schemas in which other grants leave
// the user nothing to read.
func revokeUsage(ctx context.Context, tx pgx.Tx, name string, schemas []string) error {
	a, err := readAccess(ctx, tx, orEmpty(schemas))
	if err != nil {
		return err
	}
	user, err := a.requireUser(name)
	if err != nil {
		return err
	}
	read := a.readSchemas(user)
	unused := slices.DeleteFunc(slices.Clone(schemas), func(schema string) bool { return slices.Contains(read, schema) })
	return revokeRights(ctx, tx, scope{user: name, schemas: unused}, false)
}

// RevokeSource takes the grants back: CONNECT only when the user was granted
// nothing else in the database. What is gone is done.
func (s *Server) RevokeSource(ctx context.Context, g SourceGrants) error {
	err := s.changeRights(ctx, g.Database, func(tx pgx.Tx) error {
		sc := g.scope()
		sc.database = nil
		if err := revokeSource(ctx, tx, sc, g.defaults()); err != nil {
			return err
		}
		return revokeConnect(ctx, tx, g.User)
	})
	if err == nil {
		err = s.revokeAgain(ctx, g.Database, func(tx pgx.Tx) error {
			if err := revokeUsage(ctx, tx, g.User, g.Schemas); err != nil {
				return err
			}
			return revokeConnect(ctx, tx, g.User)
		})
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("revoke source rights on database %q from %q: %w", g.Database, g.User, err)
	}
	return nil
}

// A Drift is how rights on the server differ from what was granted. Both lists
// are sorted.
type Drift struct {
	Missing []string // what the user cannot do, such as "SELECT ON TABLE public.orders"
	Excess  []string // what it may pass on to others, such as "SELECT ON TABLE public.orders WITH GRANT OPTION"
}

// SourceDrift returns what the user cannot do, in whatever way it might have
// been allowed to, and what it may pass on. It returns ErrNotFound when the
// database or the user does not exist.
func (s *Server) SourceDrift(ctx context.Context, g SourceGrants) (Drift, error) {
	d, err := s.drift(ctx, g.Database, g.scope(), g.defaults())
	if err != nil {
		return Drift{}, fmt.Errorf("read source rights on database %q of %q: %w", g.Database, g.User, err)
	}
	return d, nil
}

func (s *Server) drift(ctx context.Context, database string, sc scope, defaults []string) (Drift, error) {
	a, err := s.access(ctx, database)
	var user person
	if err == nil {
		user, err = a.requireUser(sc.user)
	}
	if err != nil {
		return Drift{}, orNotFound(err)
	}
	d := Drift{Missing: append(a.missing(user, sc), a.missingDefaults(user, defaults)...), Excess: a.excess(user, sc)}
	slices.Sort(d.Missing)
	slices.Sort(d.Excess)
	return d, nil
}

// SourceGrants returns the grants that a user has on a database, as far as they
// can be told from the catalogs: the schemas that it was granted USAGE on, and
// whether there are default privileges. It returns ErrNotFound if there are none.
func (s *Server) SourceGrants(ctx context.Context, database, name string) (SourceGrants, error) {
	g := SourceGrants{Database: database, User: name}
	a, err := s.access(ctx, database)
	var user person
	if err == nil {
		user, err = a.requireUser(name)
	}
	if err == nil {
		if g.Schemas = a.usedSchemas(user); len(g.Schemas) == 0 {
			err = fmt.Errorf("USAGE granted on a schema: %w", ErrNotFound)
		}
	}
	if err != nil {
		return SourceGrants{}, fmt.Errorf("read source rights on database %q of %q: %w", database, name, err)
	}
	plan := a.planDefaultRevokes(user, g.Schemas)
	g.FutureTables = len(plan.sql)+len(plan.refused) > 0
	return g, nil
}

// isGone reports whether err says that the database or the user that rights
// belong to does not exist.
func isGone(err error) bool {
	return errors.Is(err, ErrNotFound) || IsUnreachable(err) && Code(err) == "3D000"
}

// orNotFound makes ErrNotFound of a database that does not exist.
func orNotFound(err error) error {
	if isGone(err) && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
