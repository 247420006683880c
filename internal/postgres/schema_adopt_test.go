package postgres

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestSchemaRefusals(t *testing.T) {
	said := Schema{Database: "d", Name: "s", Owner: "stitch", Comment: "c"}
	unsaid := Schema{Database: "d", Name: "s"}
	same := foundSchema{Schema: said, login: "admin"}
	ofLogin, commented := same, same
	ofLogin.Owner, commented.Comment = "admin", "mine"
	full := same
	full.rights, full.contents = []string{"USAGE for x was granted"}, []string{"table a"}
	for name, tt := range map[string]struct {
		want     Schema
		found    foundSchema
		refusals []string
	}{
		"the same":        {want: said, found: same},
		"another comment": {want: said, found: commented},
		"of the login":    {want: unsaid, found: ofLogin},
		"not given away":  {want: said, found: ofLogin, refusals: []string{`owner is "admin", not "stitch"`}}, // one transaction does both
		"of another":      {want: unsaid, found: same, refusals: []string{`owner is "stitch", not "admin"`}},
		"full":            {want: said, found: full, refusals: []string{"its privileges differ from those of a new schema: USAGE for x was granted", "it holds table a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.want.refusals(tt.found); !slices.Equal(got, tt.refusals) {
				t.Errorf("got %q, want %q", got, tt.refusals)
			}
		})
	}
}

// A schema is adopted in the state in which CreateSchema left it, and no longer once it has been
// used.
func TestAdoptSchema(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for as, server := range administrators(t, s) {
			t.Run(as, func(t *testing.T) {
				t.Parallel()
				testAdoptSchema(t, s, server)
			})
		}
	})
}

func testAdoptSchema(t *testing.T, s *sandbox.Server, server *pgclient.Server) {
	ctx, database, owner, other := t.Context(), s.Database(t), s.RoleName(t), s.Role(t)
	if _, err := CreateUser(ctx, server, User{Name: owner, Login: true, ConnectionLimit: -1}, scram("secret")); err != nil {
		t.Fatal(err)
	}
	s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+server.Username())
	want := Schema{Database: database, Name: `a"b`, Owner: owner, Comment: "mine"}
	if _, _, err := AdoptSchema(ctx, server, want); !errors.Is(err, pgclient.ErrNotFound) {
		t.Fatalf("before it was created: %v", err)
	}
	if _, err := CreateSchema(ctx, server, want); err != nil {
		t.Fatal(err)
	}
	adopt := func(what string, want Schema, refusal string) {
		t.Helper()
		adopted, refusals, err := AdoptSchema(ctx, server, want)
		found := slices.ContainsFunc(refusals, func(line string) bool { return strings.Contains(line, refusal) })
		switch {
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case refusal == "" && (len(refusals) > 0 || adopted != want):
			t.Errorf("%s: %+v, refused because of %q", what, adopted, refusals)
		case refusal != "" && !found:
			t.Errorf("%s: refused because of %q, want %q", what, refusals, refusal)
		}
	}
	sql := strings.NewReplacer("$schema", pgclient.Ident(want.Name), "$owner", owner, "$other", other)
	for _, tt := range []struct {
		since                 int
		change, undo, refusal string
	}{
		{0, "", "", ""},
		{0, "COMMENT ON SCHEMA $schema IS 'yours'", "", ""},
		{0, "ALTER SCHEMA $schema OWNER TO $other", "ALTER SCHEMA $schema OWNER TO $owner", `owner is "$other"`},
		{0, "GRANT USAGE ON SCHEMA $schema TO $other", "REVOKE USAGE ON SCHEMA $schema FROM $other", "USAGE for $other was granted"},
		{0, "GRANT CREATE ON SCHEMA $schema TO PUBLIC", "REVOKE CREATE ON SCHEMA $schema FROM PUBLIC", "CREATE for PUBLIC was granted"},
		{0, "REVOKE CREATE ON SCHEMA $schema FROM $owner", "GRANT CREATE ON SCHEMA $schema TO $owner", "CREATE for $owner was revoked"},
		{0, "CREATE TABLE $schema.t (id int)", "DROP TABLE $schema.t", "table"},
		{0, "CREATE FUNCTION $schema.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION $schema.f()", "function"},
		{0, "CREATE TYPE $schema.e AS ENUM ()", "DROP TYPE $schema.e", "type"},
		{0, "CREATE EXTENSION citext SCHEMA $schema", "DROP EXTENSION citext", "extension citext"},
		{0, "ALTER DEFAULT PRIVILEGES IN SCHEMA $schema GRANT SELECT ON TABLES TO $other", "ALTER DEFAULT PRIVILEGES IN SCHEMA $schema REVOKE SELECT ON TABLES FROM $other", "default privileges"},
		{15, "CREATE PUBLICATION p FOR TABLES IN SCHEMA $schema", "DROP PUBLICATION p", "publication"},
		{0, "CREATE EXTENSION citext; ALTER EXTENSION citext ADD SCHEMA $schema", "ALTER EXTENSION citext DROP SCHEMA $schema; DROP EXTENSION citext", "membership in extension citext"},
		{0, "", "", ""},
	} {
		if tt.since > s.Major {
			continue
		}
		tt.change, tt.undo, tt.refusal = sql.Replace(tt.change), sql.Replace(tt.undo), sql.Replace(tt.refusal)
		s.Exec(t, database, tt.change)
		adopt(tt.change, want, tt.refusal)
		s.Exec(t, database, tt.undo)
	}

	// Privileges that the login's default privileges grant to others are on a new schema as
	// well.
	s.Exec(t, database, sql.Replace("ALTER DEFAULT PRIVILEGES FOR ROLE "+server.Username()+" GRANT USAGE ON SCHEMAS TO $other"))
	plain := Schema{Database: database, Name: "plain", Owner: server.Username()}
	if _, err := CreateSchema(ctx, server, plain); err != nil {
		t.Fatal(err)
	}
	given := plain
	given.Name, given.Owner = "given", owner
	if _, err := CreateSchema(ctx, server, given); err != nil {
		t.Fatal(err)
	}
	adopt("with default privileges", plain, "")
	adopt("with default privileges, and given away", given, "")
	s.Exec(t, database, sql.Replace("REVOKE USAGE ON SCHEMA plain FROM $other"))
	adopt("without the default privileges", plain, "USAGE for "+other+" was revoked")
}
