package privilege

import (
	"errors"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// newWarehouse returns a database on which no role has been granted anything.
func newWarehouse(t *testing.T, s *sandbox.Server) shop {
	t.Helper()
	warehouse := shop{pgtest.Shop{Server: s, Admin: pgtest.Server(t, pgtest.Superuser(s)), Name: s.Database(t), User: s.Role(t)}}
	warehouse.Run(t, "REVOKE ALL ON DATABASE "+warehouse.Name+" FROM PUBLIC")
	return warehouse
}

func (s shop) missingToLoad(t *testing.T, g DestinationGrants) []string {
	t.Helper()
	drift, err := DestinationDrift(t.Context(), s.Admin, g)
	if err != nil {
		t.Fatal(err)
	}
	return drift.Missing
}

func TestDestinationGrants(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		warehouse := newWarehouse(t, s)
		g := DestinationGrants{Database: warehouse.Name, User: warehouse.User}
		before := warehouse.ACLs(t)
		on := " ON DATABASE " + warehouse.Name
		pgtest.Equal(t, "missing before", warehouse.missingToLoad(t, g), []string{"CONNECT" + on, "CREATE" + on, "TEMPORARY" + on})

		if err := GrantDestination(t.Context(), warehouse.Admin, g); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing after", warehouse.missingToLoad(t, g), nil)
		loader, err := warehouse.As(t, warehouse.User).Acquire(t.Context(), warehouse.Name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = loader.Exec(t.Context(), "CREATE SCHEMA IF NOT EXISTS shop; CREATE TABLE shop.orders (); CREATE TEMPORARY TABLE batch (); DROP SCHEMA shop CASCADE")
		if err != nil {
			t.Error(err)
		}
		loader.Discard()

		granted, versions := warehouse.ACLs(t), warehouse.Versions(t)
		if err := GrantDestination(t.Context(), warehouse.Admin, g); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "what granting again touched", warehouse.Versions(t), versions)

		for _, privilege := range []string{"CONNECT", "CREATE", "TEMPORARY"} {
			warehouse.Run(t, "REVOKE "+privilege+on+" FROM "+warehouse.User)
			pgtest.Equal(t, "missing", warehouse.missingToLoad(t, g), []string{privilege + on})
			if err := UpdateDestination(t.Context(), warehouse.Admin, g, g); err != nil {
				t.Error(err)
			}
			pgtest.Equal(t, "rights after repair", warehouse.ACLs(t), granted)
		}

		for range 2 {
			if err := RevokeDestination(t.Context(), warehouse.Admin, g); err != nil {
				t.Fatal(err)
			}
			pgtest.Equal(t, "rights after all", warehouse.ACLs(t), before)
		}
	})
}

func TestDestinationGrantsOnSystemCatalogs(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		warehouse := newWarehouse(t, s)
		without := DestinationGrants{Database: warehouse.Name, User: warehouse.User}
		with := DestinationGrants{Database: warehouse.Name, User: warehouse.User, SystemCatalogs: true}
		if err := GrantDestination(t.Context(), warehouse.Admin, without); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing where everybody may", warehouse.missingToLoad(t, with), nil)

		// Except on pg_proc, without which no function can be called.
		warehouse.Run(t, `
			REVOKE ALL ON ALL TABLES IN SCHEMA information_schema FROM PUBLIC;
			REVOKE ALL ON SCHEMA information_schema FROM PUBLIC;
			REVOKE ALL ON pg_class, pg_attribute, pg_index, pg_namespace, pg_type, pg_database, pg_constraint, pg_description, pg_attrdef, pg_stats FROM PUBLIC`)
		before := warehouse.ACLs(t)
		missing := warehouse.missingToLoad(t, with)
		if len(missing) < 60 {
			t.Errorf("%d missing: %q", len(missing), missing)
		}
		if err := UpdateDestination(t.Context(), warehouse.Admin, without, with); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing after", warehouse.missingToLoad(t, with), nil)

		// Never on relations with credentials or statistics.
		can := s.Query(t, warehouse.Name, `
			SELECT oid::regclass
			FROM pg_class
			WHERE relname IN ('pg_authid', 'pg_shadow', 'pg_user_mapping', 'pg_subscription', 'pg_statistic',
			                  'pg_stats', 'pg_statistic_ext_data', 'pg_hba_file_rules', '_pg_user_mappings', '_pg_foreign_servers')
			  AND has_table_privilege($1, oid, 'SELECT')`, warehouse.User)
		pgtest.Equal(t, "what may be read and should not", can, nil)

		if err := UpdateDestination(t.Context(), warehouse.Admin, with, without); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "rights after taking it back", warehouse.ACLs(t), before)
		if err := GrantDestination(t.Context(), warehouse.Admin, with); err != nil {
			t.Fatal(err)
		}
		if err := RevokeDestination(t.Context(), warehouse.Admin, with); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "what the user has left", s.Query(t, warehouse.Name, `
			SELECT refobjid
			FROM pg_shdepend
			WHERE refobjid = $1::regrole`, warehouse.User), nil)
	})
}

// The owner of the database has all privileges already, and keeps them.
func TestDestinationGrantsOfOwner(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		warehouse := newWarehouse(t, s)
		warehouse.Run(t, "ALTER DATABASE "+warehouse.Name+" OWNER TO "+warehouse.User)
		g := DestinationGrants{Database: warehouse.Name, User: warehouse.User}
		before := warehouse.ACLs(t)
		if err := GrantDestination(t.Context(), warehouse.Admin, g); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing", warehouse.missingToLoad(t, g), nil)
		if err := RevokeDestination(t.Context(), warehouse.Admin, g); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "rights after all", warehouse.ACLs(t), before)
	})
}

func TestDestinationGrantsOfWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	warehouse := newWarehouse(t, s)
	for name, g := range map[string]DestinationGrants{
		"no user":     {Database: warehouse.Name, User: "nobody"},
		"no database": {Database: "no database", User: warehouse.User},
	} {
		t.Run(name, func(t *testing.T) {
			if err := GrantDestination(t.Context(), warehouse.Admin, g); err == nil {
				t.Error("granted")
			}
			if _, err := DestinationDrift(t.Context(), warehouse.Admin, g); !errors.Is(err, pgclient.ErrNotFound) {
				t.Errorf("missing: %v", err)
			}
			if err := RevokeDestination(t.Context(), warehouse.Admin, g); err != nil {
				t.Errorf("revoke: %v", err)
			}
		})
	}
}

// One GRANT acts as one role: granting both what the login may grant as itself and what it may
// grant as a member of others takes several.
func TestDestinationGrantsOfSeveralGrantors(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		delegate, group := s.Role(t), s.Role(t)
		shop.Run(t, `
			GRANT `+group+` TO `+delegate+`;
			GRANT CONNECT ON DATABASE `+shop.Name+` TO `+delegate+` WITH GRANT OPTION;
			GRANT CREATE, TEMPORARY ON DATABASE `+shop.Name+` TO `+group+` WITH GRANT OPTION`)
		before := shop.ACLs(t)
		server, g := shop.As(t, delegate), DestinationGrants{Database: shop.Name, User: shop.User}
		if err := GrantDestination(t.Context(), server, g); err != nil {
			t.Fatal(err)
		}
		drift, err := DestinationDrift(t.Context(), server, g)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "missing", drift.Missing, nil)
		if err := RevokeDestination(t.Context(), server, g); err != nil {
			t.Fatal(err)
		}
		pgtest.Equal(t, "rights after all", shop.ACLs(t), before)
	})
}
