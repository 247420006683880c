package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A Shop is a database with two schemas, in which nobody may do anything. An
// application owns billing and what is in it, the superuser the rest.
type Shop struct {
	*sandbox.Server
	server      *Server
	name        string
	application string
	user        string
}

// NewShop makes a shop on a server of the sandbox.
func NewShop(t *testing.T, s *sandbox.Server) Shop {
	t.Helper()
	shop := Shop{Server: s, server: serverOf(t, superuserOf(s)), name: s.Database(t), application: s.Role(t), user: s.Role(t)}
	shop.exec(t, `
		REVOKE ALL ON DATABASE `+shop.name+` FROM PUBLIC;
		REVOKE ALL ON SCHEMA public FROM PUBLIC;
		CREATE TABLE public.orders (id int);
		CREATE VIEW public.open_orders AS SELECT * FROM public.orders;
		CREATE MATERIALIZED VIEW public.totals AS SELECT count(*) FROM public.orders;
		CREATE FOREIGN DATA WRAPPER nowhere;
		CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
		CREATE FOREIGN TABLE public.remote (id int) SERVER nowhere;
		CREATE SCHEMA billing AUTHORIZATION `+shop.application+`;
		CREATE TABLE billing.payments (id int) PARTITION BY LIST (id);
		CREATE TABLE billing.payments_1 PARTITION OF billing.payments FOR VALUES IN (1);
		ALTER TABLE billing.payments OWNER TO `+shop.application+`;
		ALTER TABLE billing.payments_1 OWNER TO `+shop.application+`;
		CREATE SCHEMA secret;
		CREATE TABLE secret.keys (id int)`)
	return shop
}

// exec runs SQL in the shop as the superuser.
func (s Shop) exec(t *testing.T, sql string) {
	t.Helper()
	s.Exec(t, s.name, sql)
}

// A shop is one in which sources are granted.
type shop struct{ Shop }

func newShop(t *testing.T, s *sandbox.Server) shop {
	t.Helper()
	return shop{NewShop(t, s)}
}

func (s shop) grants(schemas ...string) SourceGrants {
	return SourceGrants{Database: s.name, User: s.user, Schemas: schemas, FutureTables: true}
}

// acls returns every right on anything in the database, with who granted it.
func (s Shop) acls(t *testing.T) []string {
	t.Helper()
	return s.Query(t, s.name, `
		SELECT o.name, a.grantee::regrole, a.grantor::regrole, a.privilege_type, a.is_grantable
		FROM (
			SELECT 'database' AS name, coalesce(datacl, acldefault('d', datdba)) AS acl
			FROM pg_database WHERE datname = current_database()
			UNION ALL
			SELECT nspname, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
			WHERE nspname !~ '_temp_'
			UNION ALL
			SELECT oid::regclass::text, coalesce(relacl, acldefault('r', relowner)) FROM pg_class WHERE relkind <> 'S'
			UNION ALL
			SELECT 'default ' || defaclrole || defaclnamespace, defaclacl FROM pg_default_acl
		) AS o
		CROSS JOIN LATERAL aclexplode(o.acl) AS a
		ORDER BY 1, 2, 3, 4`)
}

// versions tells whether a right was touched, even by a statement that changed nothing.
func (s Shop) versions(t *testing.T) []string {
	t.Helper()
	return s.Query(t, s.name, `
		SELECT oid, xmin FROM pg_database WHERE datname = current_database()
		UNION ALL SELECT oid, xmin FROM pg_namespace
		UNION ALL SELECT oid, xmin FROM pg_class WHERE relkind <> 'i'
		UNION ALL SELECT oid, xmin FROM pg_default_acl
		ORDER BY 1`)
}

func (s shop) missing(t *testing.T, g SourceGrants) []string {
	t.Helper()
	drift, err := s.server.SourceDrift(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return drift.Missing
}

func (s shop) grant(t *testing.T, g SourceGrants) {
	t.Helper()
	if err := s.server.GrantSource(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

func (s shop) revoke(t *testing.T, g SourceGrants) {
	t.Helper()
	if err := s.server.RevokeSource(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

func (s shop) update(t *testing.T, old, want SourceGrants) {
	t.Helper()
	if err := s.server.UpdateSource(t.Context(), old, want); err != nil {
		t.Fatal(err)
	}
}

// as returns the server as a login sees it.
func (s Shop) as(t *testing.T, login string) *Server {
	t.Helper()
	return serverOf(t, Config{Host: s.Host, Port: s.Port, Username: login, Password: s.Password, MaxConnections: 1})
}

// assertReads reads relations as the user.
func (s Shop) assertReads(t *testing.T, relations ...string) {
	t.Helper()
	reader := serverOf(t, Config{Host: s.Host, Port: s.Port, Username: s.user, Password: s.Password})
	conn, err := reader.Acquire(t.Context(), s.name)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Release()
	for _, relation := range relations {
		if _, err := conn.Exec(t.Context(), "SELECT * FROM "+relation); err != nil {
			t.Error(err)
		}
	}
}

// assertEqual compares two lists, and says what differs.
func assertEqual(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	var extra, gone []string
	for _, item := range got {
		if !slices.Contains(want, item) {
			extra = append(extra, item)
		}
	}
	for _, item := range want {
		if !slices.Contains(got, item) {
			gone = append(gone, item)
		}
	}
	t.Errorf("%s: got also\n  %s\nand not\n  %s", what, strings.Join(extra, "\n  "), strings.Join(gone, "\n  "))
}
