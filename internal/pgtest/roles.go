package pgtest

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// AdministratorOf creates a login like those of managed servers: it may create roles and
// databases, and is no superuser. Only the roles that it created itself are returned.
func AdministratorOf(t *testing.T, s *sandbox.Server, roles int) (login string, created []string) {
	t.Helper()
	login = s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+login+" CREATEROLE CREATEDB")
	for range roles {
		name := s.RoleName(t)
		s.Exec(t, "postgres", "SET ROLE "+login+"; CREATE ROLE "+name)
		created = append(created, name)
	}
	return login, created
}

// Memberships returns those of a role in other roles, with all their options.
func Memberships(t *testing.T, s *sandbox.Server, role string) []string {
	t.Helper()
	return s.Query(t, "postgres", `SELECT m::text FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.member WHERE r.rolname = $1 ORDER BY 1`, role)
}

// Administrator creates a login like those of managed services: it creates roles and databases,
// and is no superuser.
func Administrator(t *testing.T, s *sandbox.Server) pgclient.Config {
	t.Helper()
	admin := s.Role(t)
	s.Exec(t, "postgres", "ALTER ROLE "+admin+" CREATEROLE CREATEDB")
	return pgclient.Config{Host: s.Host, Port: s.Port, Username: admin, Password: s.Password}
}
