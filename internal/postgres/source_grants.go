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
	plan, err := planGrants(ctx, tx, g.Database, g.scope())
	if err != nil {
		return err
	}
	defaults, err := planDefaultGrants(ctx, tx, g.User, g.defaults())
	if err != nil {
		return err
	}
	plan.sql = append(plan.sql, defaults.sql...)
	plan.refused = append(plan.refused, defaults.refused...)
	return plan.run(ctx, tx)
}

// UpdateSource takes back what only the old grants covered and grants what the
// new ones lack. No right that both cover is ever missing, for anybody.
func (s *Server) UpdateSource(ctx context.Context, old, want SourceGrants) error {
	err := s.changeRights(ctx, want.Database, func(tx pgx.Tx) error {
		if err := grantSource(ctx, tx, want); err != nil {
			return err
		}
		sc, defaults := droppedSource(old, want)
		return revokeSource(ctx, tx, want.Database, sc, defaults)
	})
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

// revokeSource takes back SELECT and default privileges, and then USAGE on the
// schemas in which other grants leave the user nothing to read.
func revokeSource(ctx context.Context, tx pgx.Tx, database string, sc scope, defaults []string) error {
	plan, err := planDefaultRevokes(ctx, tx, sc.user, defaults)
	if err != nil {
		return err
	}
	if err := plan.run(ctx, tx); err != nil {
		return err
	}
	relations := sc
	relations.schemas = nil
	if err := revokeScope(ctx, tx, database, relations); err != nil {
		return err
	}
	read, err := readSchemas(ctx, tx, sc.user)
	if err != nil {
		return err
	}
	unused := slices.DeleteFunc(slices.Clone(sc.schemas), func(schema string) bool { return slices.Contains(read, schema) })
	return revokeScope(ctx, tx, database, scope{user: sc.user, schemas: unused})
}

// RevokeSource takes the grants back: CONNECT only when the user was granted
// nothing else in the database. What is gone is done.
func (s *Server) RevokeSource(ctx context.Context, g SourceGrants) error {
	err := s.changeRights(ctx, g.Database, func(tx pgx.Tx) error {
		if err := requireUser(ctx, tx, g.User); err != nil {
			return err
		}
		sc := g.scope()
		sc.database = nil
		if err := revokeSource(ctx, tx, g.Database, sc, g.defaults()); err != nil {
			return err
		}
		return revokeConnect(ctx, tx, g.Database, g.User)
	})
	if err != nil && !isGone(err) {
		return fmt.Errorf("revoke source rights on database %q from %q: %w", g.Database, g.User, err)
	}
	return nil
}

// MissingFromSource returns what the user can not do, in whatever way it might
// have been allowed to, such as "SELECT ON TABLE public.orders". It returns
// ErrNotFound when the database or the user does not exist.
func (s *Server) MissingFromSource(ctx context.Context, g SourceGrants) ([]string, error) {
	var items []string
	err := s.inTx(ctx, g.Database, func(tx pgx.Tx) (err error) {
		if items, err = missing(ctx, tx, g.scope()); err != nil {
			return err
		}
		defaults, err := defaultRights(ctx, tx, g.User, g.defaults())
		for _, d := range defaults {
			if !d.Effective && d.wanted(g.User) {
				items = append(items, d.String())
			}
		}
		return err
	})
	if err != nil {
		return nil, missingError("source", g.Database, g.User, err)
	}
	slices.Sort(items)
	return items, nil
}

const grantedSchemasSQL = `
	SELECT n.nspname
	FROM pg_catalog.pg_namespace AS n
	JOIN pg_catalog.pg_roles AS u ON u.rolname = $1
	WHERE n.nspname <> 'information_schema'
	  AND n.nspname !~ '^pg_'
	  AND n.nspowner <> u.oid
	  AND EXISTS (
		SELECT 1
		FROM pg_catalog.aclexplode(n.nspacl) AS a
		WHERE a.grantee = u.oid
		  AND a.privilege_type = 'USAGE'
	)
	ORDER BY n.nspname`

// SourceGrants returns the grants that a user has on a database, as far as they
// can be told from the catalogs: the schemas that it was granted USAGE on, and
// whether there are default privileges. It returns ErrNotFound if there are none.
func (s *Server) SourceGrants(ctx context.Context, database, user string) (SourceGrants, error) {
	g := SourceGrants{Database: database, User: user}
	err := s.inTx(ctx, database, func(tx pgx.Tx) error {
		if err := requireUser(ctx, tx, user); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, grantedSchemasSQL, user)
		schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(schemas) == 0 {
			return fmt.Errorf("USAGE granted on a schema: %w", ErrNotFound)
		}
		defaults, err := grantedDefaults(ctx, tx, user, schemas)
		g.Schemas, g.FutureTables = schemas, len(defaults) > 0
		return err
	})
	if err != nil {
		return SourceGrants{}, fmt.Errorf("read source rights on database %q of %q: %w", database, user, err)
	}
	return g, nil
}

// missing returns what a scope means and the user can not do, and what does not exist.
func missing(ctx context.Context, tx pgx.Tx, sc scope) ([]string, error) {
	if err := requireUser(ctx, tx, sc.user); err != nil {
		return nil, err
	}
	gone, err := absent(ctx, tx, sc)
	if err != nil {
		return nil, err
	}
	lacked, err := notHeld(ctx, tx, sc)
	var items []string
	for _, item := range gone {
		items = append(items, item+" does not exist")
	}
	for _, r := range lacked {
		items = append(items, r.String())
	}
	return items, err
}

func missingError(what, database, user string, err error) error {
	if isGone(err) && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return fmt.Errorf("read %s rights on database %q of %q: %w", what, database, user, err)
}
