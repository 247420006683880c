package pgclient_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What is read from catalogs is written in one form, whatever settings the login and the
// database have.
func TestSettingsOfTheLogin(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, role := s.Database(t), s.Role(t)
		s.Exec(t, database, `CREATE TABLE "größe" ("maß" int); CREATE DOMAIN "Ü" AS int; ALTER TABLE "größe" ADD d "Ü", ADD a int DEFAULT 7`)
		s.Exec(t, "postgres", `ALTER ROLE `+role+` SET client_encoding = LATIN1; ALTER ROLE `+role+` SET standard_conforming_strings = off; ALTER ROLE `+role+` SET quote_all_identifiers = on;
			ALTER ROLE `+role+` SET datestyle = 'German'; ALTER ROLE `+role+` SET timezone = 'Asia/Tokyo'`)
		servers := pgclient.NewServers(map[string]pgclient.Config{"app": {Host: s.Host, Port: s.Port, Username: role, Password: s.Password, MaxConnections: 1}})
		t.Cleanup(servers.Close)
		server, _ := servers.Server("app")
		name := relation.TableName{Schema: "public", Name: "größe"}
		tables, err := relation.Read(t.Context(), server, database, []relation.TableName{name})
		if err != nil {
			t.Fatal(err)
		}
		var columns []string
		for _, c := range tables[name].Columns {
			columns = append(columns, c.Name+" "+c.SQL)
		}
		if want := []string{"maß integer", `d public."Ü"`, "a integer"}; !slices.Equal(columns, want) {
			t.Errorf("got %q, want %q", columns, want)
		}
		err = server.OnConn(t.Context(), database, func(conn *pgx.Conn) error {
			for _, within := range []func(f func(pgx.Tx) error) error{
				func(f func(pgx.Tx) error) error { return pgclient.InTx(t.Context(), conn, f) },
				func(f func(pgx.Tx) error) error { return pgx.BeginFunc(t.Context(), conn, f) },
			} {
				err := within(func(tx pgx.Tx) error {
					for _, want := range pgclient.In(s.Major, pgclient.ValueSettings) {
						var got string
						if err := tx.QueryRow(t.Context(), "SELECT current_setting($1)", want.Name).Scan(&got); err != nil {
							return err
						}
						if got != want.Value {
							t.Errorf("%s is %q, want %q", want.Name, got, want.Value)
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
