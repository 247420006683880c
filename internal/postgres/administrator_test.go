package postgres

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A managed administrator creates databases and roles, and is no superuser. What
// it makes belong to a role it can update and drop, and is a member of that role
// no longer than each transaction.
func TestManagedAdministrator(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		ctx, admin, name := t.Context(), s.Role(t), s.DatabaseName(t)
		one, two, foreign := s.RoleName(t), s.RoleName(t), s.Role(t)
		s.Exec(t, "postgres", "ALTER ROLE "+admin+" CREATEDB CREATEROLE")
		if s.Major >= 16 { // so that a membership is changed instead of added
			s.Exec(t, "postgres", "ALTER ROLE "+admin+" SET createrole_self_grant = 'inherit'")
		}
		server := serverOf(t, Config{Host: s.Host, Port: s.Port, Username: admin, Password: s.Password, MaxConnections: 1})
		for _, role := range []string{one, two} {
			if _, err := server.CreateUser(ctx, User{Name: role, Login: true, ConnectionLimit: -1}, nil); err != nil {
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
		created, err := server.CreateDatabase(ctx, want, "template0")
		if err != nil {
			t.Fatal(err)
		}
		if created != want {
			t.Errorf("created %+v, want %+v", created, want)
		}
		want.Owner, want.Comment, want.ConnectionLimit = two, "", 8
		if err := server.UpdateDatabase(ctx, want); err != nil {
			t.Fatal(err)
		}
		wantDatabase(t, server, want)

		s.Exec(t, "postgres", "GRANT CREATE ON DATABASE "+name+" TO "+admin)
		schema := Schema{Database: name, Name: "shop", Owner: one, Comment: "c"}
		if _, err := server.CreateSchema(ctx, schema); err != nil {
			t.Fatal(err)
		}
		schema.Owner, schema.Comment = two, "d"
		if err := server.UpdateSchema(ctx, schema); err != nil {
			t.Fatal(err)
		}
		wantSchema(t, server, schema)
		if err := server.DropSchema(ctx, name, "shop", false); err != nil {
			t.Fatal(err)
		}

		// A drop that fails gives the database back, and the login its own rights on it.
		s.Exec(t, "postgres", "GRANT TEMPORARY ON DATABASE "+name+" TO "+admin+" WITH GRANT OPTION")
		rights := func() string {
			return strings.Join(s.Query(t, "postgres", `
				SELECT privilege_type || ' ' || grantee || (is_grantable AND grantee <> datdba) -- an owner may pass on what it likes
				FROM pg_database, aclexplode(datacl)
				WHERE datname = $1 ORDER BY 1`, name), "\n")
		}
		rightsBefore := rights()
		other, err := serverOf(t, superuserOf(s)).Acquire(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		var busy *SessionsError
		if err := server.DropDatabase(ctx, name, DatabaseDrop{}); !errors.As(err, &busy) {
			t.Errorf("dropped under a session: %v", err)
		}
		wantDatabase(t, server, want)
		if after := rights(); after != rightsBefore {
			t.Errorf("rights were\n%s\nand are\n%s", rightsBefore, after)
		}
		other.Discard()
		if err := server.DropDatabase(ctx, name, DatabaseDrop{}); err != nil {
			t.Fatal(err)
		}
		if after := members(); after != before {
			t.Errorf("memberships were\n%s\nand are\n%s", before, after)
		}

		// The roles of others are out of reach since 16: nothing is created then.
		_, err = server.CreateDatabase(ctx, Database{Name: name, Owner: foreign, ConnectionLimit: -1}, "template0")
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

// Who may not even create databases is told all that it takes.
func TestNoAdministrator(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		nobody, owner, name := s.Role(t), s.Role(t), s.DatabaseName(t)
		server := serverOf(t, Config{Host: s.Host, Port: s.Port, Username: nobody, Password: s.Password})
		_, err := server.CreateDatabase(t.Context(), Database{Name: name, Owner: owner, ConnectionLimit: -1}, "")
		for _, want := range []string{`ALTER ROLE "` + nobody + `" CREATEDB;`, `GRANT "` + owner + `" TO "` + nobody + `"`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error lacks %q: %v", want, err)
			}
		}
		_, err = server.CreateDatabase(t.Context(), Database{Name: name, Owner: "no such role", ConnectionLimit: -1}, "")
		if err == nil || !strings.Contains(err.Error(), `role "no such role" does not exist`) {
			t.Errorf("for a role that is not: %v", err)
		}
	})
}

// What a login had made itself a member of, it is a member of afterwards in the
// very same way, whatever it was made a member of meanwhile.
func TestJoinedByItself(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		options := []string{""}
		if s.Major >= 16 {
			options = []string{" WITH INHERIT FALSE, SET FALSE", " WITH INHERIT TRUE, SET FALSE", " WITH INHERIT FALSE, SET TRUE", " WITH INHERIT TRUE, SET TRUE"}
		}
		for _, option := range options {
			t.Run(option, func(t *testing.T) {
				ctx := t.Context()
				login, created := administrator(t, s, 2)
				owner, heir := created[0], created[1]
				for _, role := range created {
					s.Exec(t, "postgres", "SET ROLE "+login+"; GRANT "+role+" TO "+login+option)
				}
				shop := NewShop(t, s)
				shop.exec(t, `
					ALTER DATABASE `+shop.name+` OWNER TO `+owner+`;
					GRANT CONNECT, CREATE ON DATABASE `+shop.name+` TO `+login+`;
					ALTER SCHEMA billing OWNER TO `+owner+`;
					ALTER TABLE billing.payments OWNER TO `+owner+`;
					ALTER TABLE billing.payments_1 OWNER TO `+owner)
				before := memberships(t, s, login)
				server := shop.as(t, login)
				g := SourceGrants{Database: shop.name, User: shop.user, Schemas: []string{"billing"}, FutureTables: true}
				for _, step := range []struct {
					what string
					run  func() error
				}{
					{"rights", func() error { return errors.Join(server.GrantSource(ctx, g), server.RevokeSource(ctx, g)) }},
					{"a schema", func() error {
						return server.UpdateSchema(ctx, Schema{Database: shop.name, Name: "billing", Owner: heir})
					}},
					{"sessions", func() error { return server.endSessions(ctx, owner) }},
					{"reassigning", func() error { return server.reassign(ctx, shop.name, heir, owner) }},
					{"a database", func() error { return server.UpdateDatabase(ctx, plainDatabase(shop.name, heir)) }},
				} {
					if err := step.run(); err != nil {
						t.Errorf("%s: %s", step.what, Explain(err))
					}
					assertEqual(t, "memberships after "+step.what, memberships(t, s, login), before)
				}
			})
		}
	})
}

// An owner who may not use the schema can grant nothing on what it owns in there:
// that is said beforehand, or done as somebody who can.
func TestOwnerWithoutUsage(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		login, created := administrator(t, s, 1)
		shop, owner := newShop(t, s), created[0]
		shop.exec(t, `
			GRANT CONNECT ON DATABASE `+shop.name+` TO `+login+` WITH GRANT OPTION;
			GRANT USAGE ON SCHEMA billing TO `+login+` WITH GRANT OPTION;
			ALTER TABLE billing.payments OWNER TO `+owner+`;
			ALTER TABLE billing.payments_1 OWNER TO `+owner)
		server, g := shop.as(t, login), shop.grants("billing")
		g.FutureTables = false
		var forbidden *forbiddenError
		err := server.GrantSource(t.Context(), g)
		if want := []string{`GRANT SELECT ON TABLE "billing"."payments", "billing"."payments_1" TO "` + shop.user + `"`}; !errors.As(err, &forbidden) || !slices.Equal(forbidden.statements, want) {
			t.Fatalf("got %v\nwant %q", err, want)
		}
		// A member of the owner may use the schema itself.
		s.Exec(t, "postgres", "GRANT "+owner+" TO "+login+map[bool]string{true: withAll}[s.Major >= 16])
		if err := errors.Join(server.GrantSource(t.Context(), g), server.RevokeSource(t.Context(), g)); err != nil {
			t.Error(Explain(err))
		}
		shop.exec(t, "REVOKE USAGE ON SCHEMA billing FROM "+login+"; GRANT SELECT ON billing.payments TO "+shop.user)
		g.Tables = []TableName{{"billing", "payments"}}
		if err := server.RevokeSource(t.Context(), g); !errors.As(err, &forbidden) {
			t.Errorf("nobody may use the schema: %v", err)
		}
	})
}
