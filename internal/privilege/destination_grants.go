package privilege

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// DestinationGrants let a user load into a database: CREATE, for the schemas that it loads into,
// CONNECT and TEMPORARY. CREATE on a schema cannot replace CREATE on the database: it does not
// allow the user to create a schema.
type DestinationGrants struct {
	Resource       string // see SourceGrants
	Database       string
	User           string
	SystemCatalogs bool // also USAGE and SELECT on the catalogs that a sync reads; granted to PUBLIC by default
}

func (g DestinationGrants) scope() scope {
	sc := scope{resource: g.Resource, user: g.User, database: []string{"CONNECT", "CREATE", "TEMPORARY"}}
	if g.SystemCatalogs {
		sc.addSystemCatalogs()
	}
	return sc
}

// addSystemCatalogs adds information_schema, and the relations of pg_catalog that a sync reads:
// a closed list, so that no relation with credentials or statistics is ever in it.
func (sc *scope) addSystemCatalogs() {
	sc.schemas = []string{"information_schema", "pg_catalog"}
	sc.whole = []string{"information_schema"}
	for _, name := range []string{
		"pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_database",
		"pg_description", "pg_index", "pg_namespace", "pg_type",
	} {
		sc.tables = append(sc.tables, relation.TableName{Schema: "pg_catalog", Name: name})
	}
}

// GrantDestination grants explicitly what the user was not granted yet, and revokes grant
// options on it.
func GrantDestination(ctx context.Context, s *pgclient.Server, g DestinationGrants) error {
	err := claiming(s, func(claim func(*access, scope)) error {
		return ChangeRights(ctx, s, g.Database, func(tx pgx.Tx) error { return grantDestination(ctx, tx, g, claim) })
	})
	if err != nil {
		return fmt.Errorf("grant destination rights on database %q to %q: %w", g.Database, g.User, err)
	}
	return nil
}

func grantDestination(ctx context.Context, tx pgx.Tx, g DestinationGrants, claim func(*access, scope)) error {
	if err := grantRights(ctx, tx, g.scope(), claim); err != nil {
		return err
	}
	return revokeOptions(ctx, tx, g.scope())
}

// UpdateDestination revokes what only the old grants covered and grant options on what the new
// ones cover, and grants what the user lacks of the new ones.
func UpdateDestination(ctx context.Context, s *pgclient.Server, old, want DestinationGrants) error {
	err := claiming(s, func(claim func(*access, scope)) error {
		return ChangeRights(ctx, s, want.Database, func(tx pgx.Tx) error {
			if err := grantDestination(ctx, tx, want, claim); err != nil {
				return err
			}
			if want.SystemCatalogs || !old.SystemCatalogs {
				return nil
			}
			sc := scope{resource: want.Resource, user: old.User}
			sc.addSystemCatalogs()
			return revokeRights(ctx, s, tx, sc)
		})
	})
	if err != nil {
		return fmt.Errorf("update destination rights of %[2]q on database %[1]q: %[3]w", want.Database, want.User, err)
	}
	return nil
}

// RevokeDestination revokes the grants: CONNECT only if the user was granted nothing else in the
// database. A database or user that does not exist is no error.
func RevokeDestination(ctx context.Context, s *pgclient.Server, g DestinationGrants) error {
	rightsMemoryOf(s).granted.release(g.Resource)
	sc := g.scope()
	sc.database = []string{"CREATE", "TEMPORARY"}
	err := ChangeRights(ctx, s, g.Database, func(tx pgx.Tx) error {
		if err := revokeRights(ctx, s, tx, sc); err != nil {
			return err
		}
		return revokeConnect(ctx, s, tx, sc)
	})
	if err == nil {
		err = revokeAgain(ctx, s, g.Database, func(tx pgx.Tx) error { return revokeConnect(ctx, s, tx, sc) })
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("revoke destination rights on database %q from %q: %w", g.Database, g.User, err)
	}
	return nil
}

// DestinationDrift returns which privileges the user lacks, in whatever way it might have had
// them, and which of them it may pass on. It returns ErrNotFound when the database or the user
// does not exist.
func DestinationDrift(ctx context.Context, s *pgclient.Server, g DestinationGrants) (Drift, error) {
	d, err := drift(ctx, s, g.Database, g.scope())
	if err != nil {
		return Drift{}, fmt.Errorf("read destination rights of %[2]q on database %[1]q: %[3]w", g.Database, g.User, err)
	}
	return d, nil
}
