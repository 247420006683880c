package privilege

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// If a login is renamed while a transaction reads the roles, the transaction sees no role of its
// name. That is an error, instead of a login without a role.
func TestRenamedLogin(t *testing.T) {
	t.Parallel()
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		role := s.Role(t)
		s.Exec(t, "postgres", "ALTER ROLE "+role+" CREATEDB")
		ctx := t.Context()
		conn, err := pgx.Connect(ctx, s.URLAs(role, "postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readRoles(ctx, tx); err != nil { // this transaction sees the present state
			t.Fatal(err)
		}
		s.Exec(t, "postgres", "ALTER ROLE "+role+" RENAME TO "+role+"_renamed")
		defer s.Exec(t, "postgres", "ALTER ROLE "+role+"_renamed RENAME TO "+role)
		if _, err := tx.Exec(ctx, "SELECT FROM pg_catalog.pg_cast"); err != nil { // a session learns of changes when it locks another object
			t.Fatal(err)
		}
		if _, err := (Needs{CreateDB: true}).Memberships(ctx, tx, "CREATE DATABASE d"); err == nil || !strings.Contains(err.Error(), "renamed") {
			t.Errorf("the error is %v", err)
		}
	})
}
