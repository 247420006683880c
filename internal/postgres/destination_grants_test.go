package postgres

import (
	"errors"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// newWarehouse is a database in which nobody may do anything.
func newWarehouse(t *testing.T, s *sandbox.Server) shop {
	t.Helper()
	warehouse := shop{Shop{Server: s, server: serverOf(t, superuserOf(s)), name: s.Database(t), user: s.Role(t)}}
	warehouse.exec(t, "REVOKE ALL ON DATABASE "+warehouse.name+" FROM PUBLIC")
	return warehouse
}

func (s shop) missingToLoad(t *testing.T, g DestinationGrants) []string {
	t.Helper()
	drift, err := s.server.DestinationDrift(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return drift.Missing
}

func TestDestinationGrants(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		warehouse := newWarehouse(t, s)
		g := DestinationGrants{Database: warehouse.name, User: warehouse.user}
		before := warehouse.acls(t)
		on := " ON DATABASE " + warehouse.name
		assertEqual(t, "missing before", warehouse.missingToLoad(t, g), []string{"CONNECT" + on, "CREATE" + on, "TEMPORARY" + on})

		if err := warehouse.server.GrantDestination(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing after", warehouse.missingToLoad(t, g), nil)
		loader, err := warehouse.as(t, warehouse.user).Acquire(t.Context(), warehouse.name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = loader.Exec(t.Context(), "CREATE SCHEMA IF NOT EXISTS shop; CREATE TABLE shop.orders (); CREATE TEMPORARY TABLE batch (); DROP SCHEMA shop CASCADE")
		if err != nil {
			t.Error(err)
		}
		loader.Discard()

		granted, versions := warehouse.acls(t), warehouse.versions(t)
		if err := warehouse.server.GrantDestination(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "what granting again touched", warehouse.versions(t), versions)

		for _, privilege := range []string{"CONNECT", "CREATE", "TEMPORARY"} {
			warehouse.exec(t, "REVOKE "+privilege+on+" FROM "+warehouse.user)
			assertEqual(t, "missing", warehouse.missingToLoad(t, g), []string{privilege + on})
			if err := warehouse.server.UpdateDestination(t.Context(), g, g); err != nil {
				t.Error(err)
			}
			assertEqual(t, "rights after repair", warehouse.acls(t), granted)
		}

		for range 2 {
			if err := warehouse.server.RevokeDestination(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			assertEqual(t, "rights after all", warehouse.acls(t), before)
		}
	})
}

func TestDestinationGrantsOnSystemCatalogs(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		warehouse := newWarehouse(t, s)
		without := DestinationGrants{Database: warehouse.name, User: warehouse.user}
		with := DestinationGrants{Database: warehouse.name, User: warehouse.user, SystemCatalogs: true}
		if err := warehouse.server.GrantDestination(t.Context(), without); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing where everybody may", warehouse.missingToLoad(t, with), nil)

		// Not on pg_proc, without which no function can be called.
		warehouse.exec(t, `
			REVOKE ALL ON ALL TABLES IN SCHEMA information_schema FROM PUBLIC;
			REVOKE ALL ON SCHEMA information_schema FROM PUBLIC;
			REVOKE ALL ON pg_class, pg_attribute, pg_index, pg_namespace, pg_type, pg_database, pg_constraint, pg_description, pg_attrdef, pg_stats FROM PUBLIC`)
		before := warehouse.acls(t)
		missing := warehouse.missingToLoad(t, with)
		if len(missing) < 60 {
			t.Errorf("%d missing: %q", len(missing), missing)
		}
		if err := warehouse.server.UpdateDestination(t.Context(), without, with); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing after", warehouse.missingToLoad(t, with), nil)

		// Never what holds credentials or statistics.
		can := s.Query(t, warehouse.name, `
			SELECT oid::regclass
			FROM pg_class
			WHERE relname IN ('pg_authid', 'pg_shadow', 'pg_user_mapping', 'pg_subscription', 'pg_statistic',
			                  'pg_stats', 'pg_statistic_ext_data', 'pg_hba_file_rules', '_pg_user_mappings', '_pg_foreign_servers')
			  AND has_table_privilege($1, oid, 'SELECT')`, warehouse.user)
		assertEqual(t, "what may be read and should not", can, nil)

		if err := warehouse.server.UpdateDestination(t.Context(), with, without); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "rights after taking it back", warehouse.acls(t), before)
		if err := warehouse.server.GrantDestination(t.Context(), with); err != nil {
			t.Fatal(err)
		}
		if err := warehouse.server.RevokeDestination(t.Context(), with); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "what the user has left", s.Query(t, warehouse.name, `
			SELECT refobjid
			FROM pg_shdepend
			WHERE refobjid = $1::regrole`, warehouse.user), nil)
	})
}

// The owner of the database has all rights already, and keeps them.
func TestDestinationGrantsOfOwner(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		warehouse := newWarehouse(t, s)
		warehouse.exec(t, "ALTER DATABASE "+warehouse.name+" OWNER TO "+warehouse.user)
		g := DestinationGrants{Database: warehouse.name, User: warehouse.user}
		before := warehouse.acls(t)
		if err := warehouse.server.GrantDestination(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing", warehouse.missingToLoad(t, g), nil)
		if err := warehouse.server.RevokeDestination(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "rights after all", warehouse.acls(t), before)
	})
}

func TestDestinationGrantsOfWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	warehouse := newWarehouse(t, s)
	for name, g := range map[string]DestinationGrants{
		"no user":     {Database: warehouse.name, User: "nobody"},
		"no database": {Database: "no database", User: warehouse.user},
	} {
		t.Run(name, func(t *testing.T) {
			if err := warehouse.server.GrantDestination(t.Context(), g); err == nil {
				t.Error("granted")
			}
			if _, err := warehouse.server.DestinationDrift(t.Context(), g); !errors.Is(err, ErrNotFound) {
				t.Errorf("missing: %v", err)
			}
			if err := warehouse.server.RevokeDestination(t.Context(), g); err != nil {
				t.Errorf("revoke: %v", err)
			}
		})
	}
}

// One GRANT acts as one role: what the login may pass on as itself and as a
// member of others takes several.
func TestDestinationGrantsOfSeveralGrantors(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		delegate, group := s.Role(t), s.Role(t)
		shop.exec(t, `
			GRANT `+group+` TO `+delegate+`;
			GRANT CONNECT ON DATABASE `+shop.name+` TO `+delegate+` WITH GRANT OPTION;
			GRANT CREATE, TEMPORARY ON DATABASE `+shop.name+` TO `+group+` WITH GRANT OPTION`)
		before := shop.acls(t)
		server, g := shop.as(t, delegate), DestinationGrants{Database: shop.name, User: shop.user}
		if err := server.GrantDestination(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		drift, err := server.DestinationDrift(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "missing", drift.Missing, nil)
		if err := server.RevokeDestination(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		assertEqual(t, "rights after all", shop.acls(t), before)
	})
}
