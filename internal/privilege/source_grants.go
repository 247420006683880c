package privilege

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// SourceGrants let a user read schemas of a database: CONNECT, USAGE on the
// schemas, and SELECT on their tables, partitions, views, materialized views and
// foreign tables.
type SourceGrants struct {
	Resource     string // distinguishes the resources that grant; see claims
	Database     string
	User         string
	Schemas      []string
	Tables       []relation.TableName // nil: all tables of the schemas
	Columns      []TableColumns       // of these tables and views, only some columns
	FutureTables bool                 // also SELECT on relations that are created in the schemas later
}

// scope returns the privileges that the grants consist of.
func (g SourceGrants) scope() scope {
	sc := scope{resource: g.Resource, user: g.User, database: []string{"CONNECT"}, schemas: g.Schemas, tables: g.Tables, columns: g.Columns}
	if g.Tables == nil {
		sc.whole = g.Schemas
	}
	if g.FutureTables {
		sc.future = g.Schemas
	}
	return sc
}

// Reads returns what the grants let the user read, quoted as in SQL: schemas, tables and
// columns.
func (g SourceGrants) Reads() []string {
	names := pgclient.QuoteAll(g.Tables, relation.TableName.SQL)
	if g.Tables == nil {
		names = pgclient.QuoteAll(g.Schemas, pgclient.Ident)
	}
	for _, c := range g.Columns {
		for _, column := range c.Columns {
			names = append(names, c.Table.SQL()+"."+pgclient.Ident(column))
		}
	}
	return names
}

// CheckSourceSchema refuses invalid names, and PostgreSQL's own schemas: they hold nothing to
// replicate, but pg_authid with its passwords.
func CheckSourceSchema(name string) error {
	if name == "information_schema" || strings.HasPrefix(name, "pg_") {
		return fmt.Errorf("the schema %q belongs to PostgreSQL itself and holds no data to replicate", name)
	}
	return pgclient.CheckName(name)
}

func (g SourceGrants) check() error {
	for _, schema := range g.Schemas {
		if err := CheckSourceSchema(schema); err != nil {
			return err
		}
	}
	for _, table := range g.Tables {
		if !slices.Contains(g.Schemas, table.Schema) {
			return fmt.Errorf("table %s is in none of the schemas to read", table)
		}
	}
	for _, c := range g.Columns {
		switch {
		case !slices.Contains(g.Schemas, c.Table.Schema):
			return fmt.Errorf("table %s is in none of the schemas to read", c.Table)
		case slices.Contains(g.Tables, c.Table):
			return fmt.Errorf("table %s is listed both as a whole and with only some of its columns", c.Table)
		case len(c.Columns) == 0:
			return fmt.Errorf("no column of table %s is listed", c.Table)
		}
	}
	return nil
}

// GrantSource grants explicitly what the user was not granted yet, and revokes grant options on
// it. An object that does not exist is an error, and so is a privilege that this login may not
// grant.
func GrantSource(ctx context.Context, s *pgclient.Server, g SourceGrants) error {
	err := claiming(s, func(claim func(*access, scope)) error {
		return ChangeRights(ctx, s, g.Database, func(tx pgx.Tx) error { return grantSource(ctx, s, tx, g, claim) })
	})
	if err != nil {
		return fmt.Errorf("grant source rights on database %q to %q: %w", g.Database, g.User, err)
	}
	return nil
}

func grantSource(ctx context.Context, s *pgclient.Server, tx pgx.Tx, g SourceGrants, claim func(*access, scope)) error {
	if err := g.check(); err != nil {
		return err
	}
	sc, err := g.scope().withColumnFacts(ctx, tx)
	if err != nil {
		return err
	}
	if err := grantRights(ctx, tx, sc, claim); err != nil {
		return err
	}
	if err := revokeOptions(ctx, tx, sc); err != nil {
		return err
	}
	if len(sc.hidden) == 0 {
		return nil
	}
	return revokeRights(ctx, s, tx, scope{resource: g.Resource, user: g.User, tables: sc.hidden})
}

// UpdateSource revokes what only the old grants covered and grant options on what the new ones
// cover, and grants what the user lacks of the new ones. A privilege that both cover is never
// missing, in any session.
func UpdateSource(ctx context.Context, s *pgclient.Server, old, want SourceGrants) error {
	dropped := droppedSource(old, want)
	err := claiming(s, func(claim func(*access, scope)) error {
		return ChangeRights(ctx, s, want.Database, func(tx pgx.Tx) error {
			if err := grantSource(ctx, s, tx, want, claim); err != nil {
				return err
			}
			return revokeSource(ctx, s, tx, dropped)
		})
	})
	if err == nil && len(dropped.schemas) > 0 {
		err = revokeAgain(ctx, s, want.Database, func(tx pgx.Tx) error { return revokeUsage(ctx, s, tx, dropped) })
	}
	if err != nil {
		return fmt.Errorf("update source rights of %[2]q on database %[1]q: %[3]w", want.Database, want.User, err)
	}
	return nil
}

// droppedSource returns what old covers and want does not. Both cover CONNECT.
func droppedSource(old, want SourceGrants) scope {
	sc := scope{resource: want.Resource, user: old.User, schemas: without(old.Schemas, want.Schemas), except: want.Tables}
	for _, schema := range old.scope().whole {
		if want.Tables != nil || !slices.Contains(want.Schemas, schema) {
			sc.whole = append(sc.whole, schema)
		}
	}
	for _, table := range old.Tables {
		if want.Tables != nil || !slices.Contains(want.Schemas, table.Schema) {
			sc.tables = append(sc.tables, table)
		}
	}
	for _, c := range old.Columns {
		if gone := without(c.Columns, columnsOf(want.Columns, c.Table)); len(gone) > 0 {
			sc.columns = append(sc.columns, TableColumns{c.Table, gone})
		}
	}
	sc.future = without(old.scope().future, want.scope().future)
	return sc
}

// revokeSource revokes SELECT and default privileges, and then USAGE where it is of no further
// use.
func revokeSource(ctx context.Context, s *pgclient.Server, tx pgx.Tx, sc scope) error {
	relations := sc
	relations.schemas = nil
	if err := revokeRights(ctx, s, tx, relations); err != nil {
		return err
	}
	return revokeUsage(ctx, s, tx, sc)
}

// RevokeSource revokes the grants: CONNECT only if the user was granted nothing else in the
// database. A database or user that does not exist is no error.
func RevokeSource(ctx context.Context, s *pgclient.Server, g SourceGrants) error {
	rightsMemoryOf(s).granted.release(g.Resource)
	sc := g.scope()
	sc.database = nil
	err := ChangeRights(ctx, s, g.Database, func(tx pgx.Tx) error {
		if err := revokeSource(ctx, s, tx, sc); err != nil {
			return err
		}
		return revokeConnect(ctx, s, tx, sc)
	})
	if err == nil {
		err = revokeAgain(ctx, s, g.Database, func(tx pgx.Tx) error {
			if err := revokeUsage(ctx, s, tx, sc); err != nil {
				return err
			}
			return revokeConnect(ctx, s, tx, sc)
		})
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("revoke source rights on database %q from %q: %w", g.Database, g.User, err)
	}
	return nil
}

// A Drift is how privileges on the server differ from what was granted. Both lists are sorted.
type Drift struct {
	Missing []string // privileges that the user lacks, such as "SELECT ON TABLE public.orders"
	Excess  []string // what it may pass on to others, such as "SELECT ON TABLE public.orders WITH GRANT OPTION"
}

// SourceDrift returns which privileges the user lacks, in whatever way it might have had them,
// and which of them it may pass on. It returns ErrNotFound when the database or the user does
// not exist.
func SourceDrift(ctx context.Context, s *pgclient.Server, g SourceGrants) (Drift, error) {
	d, err := drift(ctx, s, g.Database, g.scope())
	if err != nil {
		return Drift{}, fmt.Errorf("read source rights of %[2]q on database %[1]q: %[3]w", g.Database, g.User, err)
	}
	return d, nil
}

// drift claims the privileges of a scope for its resource.
func drift(ctx context.Context, s *pgclient.Server, database string, sc scope) (Drift, error) {
	a, err := sharedAccess(ctx, s, database)
	var user effectiveRole
	if err == nil {
		user, err = a.requireUser(sc.user)
	}
	if err == nil && len(sc.columns) > 0 {
		err = s.InTx(ctx, database, func(tx pgx.Tx) (err error) {
			sc, err = sc.withColumnFacts(ctx, tx)
			return err
		})
	}
	if err != nil {
		return Drift{}, orNotFound(err)
	}
	rightsMemoryOf(s).granted.record(claim{place: a.place, scope: sc})
	d := Drift{Missing: a.missing(user, sc), Excess: a.excess(user, sc)}
	slices.Sort(d.Missing)
	slices.Sort(d.Excess)
	return d, nil
}

// ReadSourceGrants returns the grants that a user has on a database, as far as the catalogs show
// them: the schemas that it was granted USAGE on, columns of tables that it was not granted
// SELECT on, and whether there are default privileges. It returns ErrNotFound if there are none.
func ReadSourceGrants(ctx context.Context, s *pgclient.Server, database, name string) (SourceGrants, error) {
	g := SourceGrants{Database: database, User: name}
	a, err := sharedAccess(ctx, s, database)
	var user effectiveRole
	if err == nil {
		user, err = a.requireUser(name)
	}
	if err == nil {
		if g.Schemas = a.usedSchemas(user); len(g.Schemas) == 0 {
			err = fmt.Errorf("schemas on which USAGE was granted: %w", pgclient.ErrNotFound)
		}
	}
	if err != nil {
		return SourceGrants{}, fmt.Errorf("read source rights of %[2]q on database %[1]q: %[3]w", database, name, err)
	}
	plan := a.planDefaultRevokes(user, g.Schemas, false)
	g.FutureTables = len(plan.sql)+len(plan.refused) > 0
	for _, c := range a.columnGrants(user) {
		relation, _ := a.relation(c.table)
		if !slices.Contains(g.Schemas, c.table.Schema) || relation.grantedTo(user.oid, "SELECT") {
			continue
		}
		if last := len(g.Columns) - 1; last < 0 || g.Columns[last].Table != c.table {
			g.Columns = append(g.Columns, TableColumns{Table: c.table})
		}
		of := &g.Columns[len(g.Columns)-1]
		of.Columns = slices.Compact(append(of.Columns, c.column))
	}
	return g, nil
}

// isGone reports whether err says that the database or the user that privileges belong to does
// not exist.
func isGone(err error) bool {
	return errors.Is(err, pgclient.ErrNotFound) || pgclient.IsUnreachable(err) && pgclient.Code(err) == pgclient.InvalidCatalogName
}

// orNotFound turns the error that a database does not exist into ErrNotFound.
func orNotFound(err error) error {
	if isGone(err) && !errors.Is(err, pgclient.ErrNotFound) {
		err = fmt.Errorf("%w: %w", pgclient.ErrNotFound, err)
	}
	return err
}
