package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DestinationGrants let a user load into a database: CREATE, for the schemas
// that it loads into, CONNECT and TEMPORARY. CREATE on a schema would be no
// substitute, as it does not allow creating one.
type DestinationGrants struct {
	Database       string
	User           string
	SystemCatalogs bool // also USAGE and SELECT where it looks up what exists; everybody may by default
}

func (g DestinationGrants) scope() scope {
	sc := scope{user: g.User, database: []string{"CONNECT", "CREATE", "TEMPORARY"}}
	if g.SystemCatalogs {
		sc.addSystemCatalogs()
	}
	return sc
}

// addSystemCatalogs adds information_schema, and of pg_catalog what a sync reads:
// a closed list, so that nothing with credentials or statistics is ever in it.
func (sc *scope) addSystemCatalogs() {
	sc.schemas = []string{"information_schema", "pg_catalog"}
	sc.whole = []string{"information_schema"}
	for _, name := range []string{
		"pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_database",
		"pg_description", "pg_index", "pg_namespace", "pg_type",
	} {
		sc.tables = append(sc.tables, TableName{"pg_catalog", name})
	}
}

// GrantDestination grants explicitly what the user was not granted yet.
func (s *Server) GrantDestination(ctx context.Context, g DestinationGrants) error {
	err := s.changeRights(ctx, g.Database, func(tx pgx.Tx) error { return grantDestination(ctx, tx, g) })
	if err != nil {
		return fmt.Errorf("grant destination rights on database %q to %q: %w", g.Database, g.User, err)
	}
	return nil
}

func grantDestination(ctx context.Context, tx pgx.Tx, g DestinationGrants) error {
	sc := g.scope()
	a, err := readAccess(ctx, tx, orEmpty(sc.reads()))
	if err != nil {
		return err
	}
	user, err := a.requireUser(g.User)
	if err != nil {
		return err
	}
	plan, err := a.planGrants(user, sc)
	if err != nil {
		return err
	}
	return plan.run(ctx, tx)
}

// UpdateDestination takes back what only the old grants covered, and options to
// pass on what the new ones cover, and grants what these lack.
func (s *Server) UpdateDestination(ctx context.Context, old, want DestinationGrants) error {
	err := s.changeRights(ctx, want.Database, func(tx pgx.Tx) error {
		if err := grantDestination(ctx, tx, want); err != nil {
			return err
		}
		if err := revokeRights(ctx, tx, want.scope(), true); err != nil {
			return err
		}
		if want.SystemCatalogs || !old.SystemCatalogs {
			return nil
		}
		sc := scope{user: old.User}
		sc.addSystemCatalogs()
		return revokeRights(ctx, tx, sc, false)
	})
	if err != nil {
		return fmt.Errorf("update destination rights on database %q of %q: %w", want.Database, want.User, err)
	}
	return nil
}

// RevokeDestination takes the grants back: CONNECT only when the user was
// granted nothing else in the database. What is gone is done.
func (s *Server) RevokeDestination(ctx context.Context, g DestinationGrants) error {
	err := s.changeRights(ctx, g.Database, func(tx pgx.Tx) error {
		sc := g.scope()
		sc.database = []string{"CREATE", "TEMPORARY"}
		if err := revokeRights(ctx, tx, sc, false); err != nil {
			return err
		}
		return revokeConnect(ctx, tx, g.User)
	})
	if err == nil {
		err = s.revokeAgain(ctx, g.Database, func(tx pgx.Tx) error { return revokeConnect(ctx, tx, g.User) })
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("revoke destination rights on database %q from %q: %w", g.Database, g.User, err)
	}
	return nil
}

// DestinationDrift returns what the user cannot do, in whatever way it might
// have been allowed to, and what it may pass on. It returns ErrNotFound when the
// database or the user does not exist.
func (s *Server) DestinationDrift(ctx context.Context, g DestinationGrants) (Drift, error) {
	d, err := s.drift(ctx, g.Database, g.scope(), nil)
	if err != nil {
		return Drift{}, fmt.Errorf("read destination rights on database %q of %q: %w", g.Database, g.User, err)
	}
	return d, nil
}
