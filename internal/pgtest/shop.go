package pgtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A Shop is a database with two schemas, on which no role has been granted anything. A role
// called application owns billing and what is in it; the superuser owns the rest.
type Shop struct {
	*sandbox.Server
	Admin       *pgclient.Server
	Name        string
	Application string
	User        string
}

// NewShop makes a shop on a server of the sandbox.
func NewShop(t *testing.T, s *sandbox.Server) Shop {
	t.Helper()
	shop := Shop{Server: s, Admin: Server(t, Superuser(s)), Name: s.Database(t), Application: s.Role(t), User: s.Role(t)}
	shop.Run(t, `
		REVOKE ALL ON DATABASE `+shop.Name+` FROM PUBLIC;
		REVOKE ALL ON SCHEMA public FROM PUBLIC;
		CREATE TABLE public.orders (id int);
		CREATE VIEW public.open_orders AS SELECT * FROM public.orders;
		CREATE MATERIALIZED VIEW public.totals AS SELECT count(*) FROM public.orders;
		CREATE FOREIGN DATA WRAPPER nowhere;
		CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
		CREATE FOREIGN TABLE public.remote (id int) SERVER nowhere;
		CREATE SCHEMA billing AUTHORIZATION `+shop.Application+`;
		CREATE TABLE billing.payments (id int) PARTITION BY LIST (id);
		CREATE TABLE billing.payments_1 PARTITION OF billing.payments FOR VALUES IN (1);
		ALTER TABLE billing.payments OWNER TO `+shop.Application+`;
		ALTER TABLE billing.payments_1 OWNER TO `+shop.Application+`;
		CREATE SCHEMA secret;
		CREATE TABLE secret.keys (id int)`)
	return shop
}

// Run runs SQL in the shop as the superuser.
func (s Shop) Run(t *testing.T, sql string) {
	t.Helper()
	s.Exec(t, s.Name, sql)
}

// ACLs returns every privilege on anything in the database, with its grantor.
func (s Shop) ACLs(t *testing.T) []string {
	t.Helper()
	return s.Query(t, s.Name, `
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

// Versions shows whether a privilege was written, even by a statement that changed nothing.
func (s Shop) Versions(t *testing.T) []string {
	t.Helper()
	return s.Query(t, s.Name, `
		SELECT oid, xmin FROM pg_database WHERE datname = current_database()
		UNION ALL SELECT oid, xmin FROM pg_namespace
		UNION ALL SELECT oid, xmin FROM pg_class WHERE relkind <> 'i'
		UNION ALL SELECT oid, xmin FROM pg_default_acl
		ORDER BY 1`)
}

// As returns the server as a login sees it.
func (s Shop) As(t *testing.T, login string) *pgclient.Server {
	t.Helper()
	return Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: login, Password: s.Password, MaxConnections: 1})
}

// AssertReads reads relations as the user.
func (s Shop) AssertReads(t *testing.T, relations ...string) {
	t.Helper()
	reader := Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: s.User, Password: s.Password})
	conn, err := reader.Acquire(t.Context(), s.Name)
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

// Equal compares two lists, and reports what differs.
func Equal(t *testing.T, what string, got, want []string) {
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
