package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Whoever owns a database can have its sessions find operators and functions of
// his own before PostgreSQL's. An administrator does not run them.
func TestForeignSearchPath(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		shop := newShop(t, s)
		trap := `CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;`
		for _, typ := range []string{"name", "oid", "text", "int4", "int8", "bool", `"char"`} {
			trap += `CREATE FUNCTION evil.trap(` + typ + `, ` + typ + `) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''caught''; END';`
			for _, operator := range []string{"=", "<>", "<", ">"} {
				trap += `CREATE OPERATOR evil.` + operator + ` (LEFTARG = ` + typ + `, RIGHTARG = ` + typ + `, PROCEDURE = evil.trap);`
			}
		}
		for _, f := range []string{"left(text, int)", "quote_ident(text)", "now()", "starts_with(text, text)"} {
			trap += `CREATE FUNCTION evil.` + f + ` RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''caught''; END';`
		}
		s.Exec(t, shop.name, trap)
		s.Exec(t, "postgres", `ALTER DATABASE `+shop.name+` SET search_path = evil, public, pg_catalog`)
		name, owner := shop.name, shop.application
		for what, act := range map[string]func(*Server) error{
			"source grants": func(server *Server) error {
				g := shop.grants("public", "billing")
				err := server.GrantSource(t.Context(), g)
				_, drift := server.SourceDrift(t.Context(), g)
				_, read := server.SourceGrants(t.Context(), name, shop.user)
				return errors.Join(err, drift, read, server.RevokeSource(t.Context(), g))
			},
			"destination grants": func(server *Server) error {
				g := DestinationGrants{Database: name, User: shop.user, SystemCatalogs: true}
				err := server.GrantDestination(t.Context(), g)
				_, drift := server.DestinationDrift(t.Context(), g)
				return errors.Join(err, drift, server.RevokeDestination(t.Context(), g))
			},
			"a schema": func(server *Server) error {
				_, err := server.CreateSchema(t.Context(), Schema{Database: name, Name: "mine", Owner: owner})
				_, read := server.Schema(t.Context(), name, "mine")
				return errors.Join(err, read, server.DropSchema(t.Context(), name, "mine", false))
			},
			"structure": func(server *Server) error {
				_, err := server.Tables(t.Context(), name, []TableName{{"public", "orders"}})
				_, list := server.Relations(t.Context(), name, []string{"public"})
				return errors.Join(err, list)
			},
			"a check": func(server *Server) error {
				_, err := server.CheckConnection(t.Context(), ConnectionCheck{Database: name, Use: UseAsSource, Schemas: []string{"public"}})
				return err
			},
			"dropping the owner": func(server *Server) error {
				err := server.DropUser(t.Context(), owner, DropOptions{})
				if err == nil || strings.Contains(err.Error(), "caught") || !strings.Contains(err.Error(), "billing.payments") {
					return errors.Join(errors.New("want a refusal that lists what it owns"), err)
				}
				return nil
			},
			"dropping it": func(server *Server) error {
				err := server.DropDatabase(t.Context(), name, DatabaseDrop{})
				var contents *ContentsError
				if !errors.As(err, &contents) {
					return errors.Join(errors.New("want a refusal that lists its tables"), err)
				}
				return nil
			},
		} {
			t.Run(what, func(t *testing.T) {
				if err := act(serverOf(t, superuserOf(s))); err != nil {
					t.Error(Explain(err))
				}
			})
		}
	})
}
