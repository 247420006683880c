package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A managed administrator creates databases and roles, and is no superuser. It can update and
// drop what it has given to a role, and is a member of that role within single transactions
// only.
func TestManagedAdministrator(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		ctx, admin, name := t.Context(), s.Role(t), s.DatabaseName(t)
		one, two, foreign := s.RoleName(t), s.RoleName(t), s.Role(t)
		s.Exec(t, "postgres", "ALTER ROLE "+admin+" CREATEDB CREATEROLE")
		if s.Major >= 16 { // so that a membership is changed instead of added
			s.Exec(t, "postgres", "ALTER ROLE "+admin+" SET createrole_self_grant = 'inherit'")
		}
		server := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: admin, Password: s.Password, MaxConnections: 1})
		for _, role := range []string{one, two} {
			if _, err := CreateUser(ctx, server, User{Name: role, Login: true, ConnectionLimit: -1}, nil); err != nil {
				t.Fatal(err)
			}
		}
		s.Exec(t, "postgres", "ALTER ROLE "+admin+" RESET ALL")
		members := func() string {
			return strings.Join(s.Query(t, "postgres", `
				SELECT to_jsonb(m) - 'oid' FROM pg_auth_members AS m WHERE member = $1::regrole ORDER BY roleid, grantor`, admin), "\n")
		}
		before := members()

		want := plainDatabase(name, one)
		want.Comment, want.ConnectionLimit = "by nobody's member", 7
		created, err := CreateDatabase(ctx, server, want, "template0")
		if err != nil {
			t.Fatal(err)
		}
		if created != want {
			t.Errorf("created %+v, want %+v", created, want)
		}
		want.Owner, want.Comment, want.ConnectionLimit = two, "", 8
		if err := UpdateDatabase(ctx, server, want); err != nil {
			t.Fatal(err)
		}
		wantDatabase(t, server, want)

		s.Exec(t, "postgres", "GRANT CREATE ON DATABASE "+name+" TO "+admin)
		schema := Schema{Database: name, Name: "shop", Owner: one, Comment: "c"}
		if _, err := CreateSchema(ctx, server, schema); err != nil {
			t.Fatal(err)
		}
		schema.Owner, schema.Comment = two, "d"
		if err := UpdateSchema(ctx, server, schema); err != nil {
			t.Fatal(err)
		}
		wantSchema(t, server, schema)
		if err := DropSchema(ctx, server, name, "shop", false); err != nil {
			t.Fatal(err)
		}

		// A drop that fails gives the database back, and restores the login's own privileges on
		// it.
		s.Exec(t, "postgres", "GRANT TEMPORARY ON DATABASE "+name+" TO "+admin+" WITH GRANT OPTION")
		rights := func() string {
			return strings.Join(s.Query(t, "postgres", `
				SELECT privilege_type || ' ' || grantee || (is_grantable AND grantee <> datdba) -- an owner may pass on what it likes
				FROM pg_database, aclexplode(datacl)
				WHERE datname = $1 ORDER BY 1`, name), "\n")
		}
		rightsBefore := rights()
		other, err := pgtest.Server(t, pgtest.Superuser(s)).Acquire(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		var busy *SessionsError
		if err := DropDatabase(ctx, server, name, DatabaseDrop{}); !errors.As(err, &busy) {
			t.Errorf("dropped under a session: %v", err)
		}
		wantDatabase(t, server, want)
		if after := rights(); after != rightsBefore {
			t.Errorf("rights were\n%s\nand are\n%s", rightsBefore, after)
		}
		other.Discard()
		if err := DropDatabase(ctx, server, name, DatabaseDrop{}); err != nil {
			t.Fatal(err)
		}
		if after := members(); after != before {
			t.Errorf("memberships were\n%s\nand are\n%s", before, after)
		}

		// Since PostgreSQL 16, the administrator cannot use roles of others: nothing is created
		// then.
		_, err = CreateDatabase(ctx, server, Database{Name: name, Owner: foreign, ConnectionLimit: -1}, "template0")
		if s.Major < 16 {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), `GRANT "`+foreign+`" TO "`+admin+`" WITH INHERIT TRUE, SET TRUE;`) {
			t.Errorf("for a role of others: %v", err)
		}
		if s.Query(t, "postgres", "SELECT FROM pg_database WHERE datname = $1", name) != nil {
			t.Error("it was created nevertheless")
		}
	})
}

// A login that may not even create databases is shown all the SQL that is needed.
func TestNoAdministrator(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		nobody, owner, name := s.Role(t), s.Role(t), s.DatabaseName(t)
		server := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: nobody, Password: s.Password})
		_, err := CreateDatabase(t.Context(), server, Database{Name: name, Owner: owner, ConnectionLimit: -1}, "")
		for _, want := range []string{`ALTER ROLE "` + nobody + `" CREATEDB;`, `GRANT "` + owner + `" TO "` + nobody + `"`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error lacks %q: %v", want, err)
			}
		}
		_, err = CreateDatabase(t.Context(), server, Database{Name: name, Owner: "no such role", ConnectionLimit: -1}, "")
		if err == nil || !strings.Contains(err.Error(), `role "no such role" does not exist`) {
			t.Errorf("for a role that is not: %v", err)
		}
	})
}

// A membership that a login granted to itself is the same afterwards, whatever memberships it
// got in between.
func TestJoinedByItself(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		options := []string{""}
		if s.Major >= 16 {
			options = []string{" WITH INHERIT FALSE, SET FALSE", " WITH INHERIT TRUE, SET FALSE", " WITH INHERIT FALSE, SET TRUE", " WITH INHERIT TRUE, SET TRUE"}
		}
		for _, option := range options {
			t.Run(option, func(t *testing.T) {
				ctx := t.Context()
				login, created := pgtest.AdministratorOf(t, s, 2)
				owner, heir := created[0], created[1]
				for _, role := range created {
					s.Exec(t, "postgres", "SET ROLE "+login+"; GRANT "+role+" TO "+login+option)
				}
				shop := pgtest.NewShop(t, s)
				shop.Run(t, `
					ALTER DATABASE `+shop.Name+` OWNER TO `+owner+`;
					GRANT CONNECT, CREATE ON DATABASE `+shop.Name+` TO `+login+`;
					ALTER SCHEMA billing OWNER TO `+owner+`;
					ALTER TABLE billing.payments OWNER TO `+owner+`;
					ALTER TABLE billing.payments_1 OWNER TO `+owner)
				before := pgtest.Memberships(t, s, login)
				server := shop.As(t, login)
				g := privilege.SourceGrants{Database: shop.Name, User: shop.User, Schemas: []string{"billing"}, FutureTables: true}
				for _, step := range []struct {
					what string
					run  func() error
				}{
					{"rights", func() error {
						return errors.Join(privilege.GrantSource(ctx, server, g), privilege.RevokeSource(ctx, server, g))
					}},
					{"a schema", func() error {
						return UpdateSchema(ctx, server, Schema{Database: shop.Name, Name: "billing", Owner: heir})
					}},
					{"sessions", func() error { return endSessions(ctx, server, owner) }},
					{"reassigning", func() error { return reassign(ctx, server, shop.Name, heir, owner) }},
					{"a database", func() error { return UpdateDatabase(ctx, server, plainDatabase(shop.Name, heir)) }},
				} {
					if err := step.run(); err != nil {
						t.Errorf("%s: %s", step.what, pgclient.Explain(err))
					}
					pgtest.Equal(t, "memberships after "+step.what, pgtest.Memberships(t, s, login), before)
				}
			})
		}
	})
}
