package relation

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Types that consist of themselves, which no server has, are refused: following them would never
// end.
func TestLinkTypes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		rows []typeRow
		ok   bool
	}{
		"nothing":                               {nil, true},
		"a domain over an array":                {[]typeRow{{oid: 1, base: 2}, {oid: 2, element: 3}, {oid: 3}}, true},
		"a base that is not there":              {[]typeRow{{oid: 1, base: 2}}, true},
		"a domain over itself":                  {[]typeRow{{oid: 1, base: 1}}, false},
		"an array of itself":                    {[]typeRow{{oid: 1, element: 1}}, false},
		"two domains over the other":            {[]typeRow{{oid: 1, base: 2}, {oid: 2, base: 1}}, false},
		"a domain over an array of that domain": {[]typeRow{{oid: 1, base: 2}, {oid: 2, element: 1}}, false},
		"a way into a circle":                   {[]typeRow{{oid: 1, base: 2}, {oid: 2, base: 3}, {oid: 3, element: 2}}, false},
		"a domain and an array at once":         {[]typeRow{{oid: 1, base: 2, element: 3}, {oid: 2}, {oid: 3, base: 1}}, false},
		"the oid that stands for none":          {[]typeRow{{oid: 0}}, false},
		"one oid twice":                         {[]typeRow{{oid: 1}, {oid: 1, base: 2}, {oid: 2, base: 1}}, false},
	} {
		types, err := linkTypes(tt.rows)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		for _, linked := range types { // otherwise the test would hang here
			for part := &linked; part != nil; {
				if part.Base != nil {
					part = part.Base
				} else {
					part = part.Element
				}
			}
		}
	}
}

// The owner of an extension can add types to it, with functions of the owner's, also under the
// name of a type that it has already. Such types are not used.
func TestReadTypeSet(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, login := s.Database(t), s.Role(t), s.Role(t)
		create := "SET ROLE " + owner
		if s.Major < 13 {
			create = "UPDATE pg_catalog.pg_extension SET extowner = '" + owner + "'::pg_catalog.regrole WHERE extname = 'hstore'; SET ROLE " + owner
			s.Exec(t, database, "CREATE EXTENSION hstore")
		} else {
			create += "; CREATE EXTENSION hstore"
		}
		s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+owner+"; GRANT CREATE ON SCHEMA public TO "+owner)
		s.Exec(t, database, create+`;
			CREATE SCHEMA evil;
			CREATE FUNCTION evil.f(text, text) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT 1.0::float8';
			CREATE TYPE evil.hstore AS RANGE (subtype = text, subtype_diff = evil.f);
			CREATE TYPE evil.period AS RANGE (subtype = text, subtype_diff = evil.f);
			ALTER EXTENSION hstore ADD TYPE evil.hstore;
			ALTER EXTENSION hstore ADD TYPE evil.period;
			RESET ROLE;
			CREATE TYPE public.span AS RANGE (subtype = text);
			ALTER EXTENSION hstore ADD TYPE public.span;
			CREATE TYPE public.own AS RANGE (subtype = text);
			ALTER EXTENSION hstore ADD TYPE public.own;
			ALTER TYPE public.own OWNER TO `+login)
		defer s.Exec(t, database, "DROP EXTENSION hstore CASCADE; DROP SCHEMA evil CASCADE")
		for _, as := range []string{s.Username, login} {
			server := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: as, Password: s.Password})
			var types TypeSet
			err := server.OnConn(t.Context(), database, func(conn *pgx.Conn) (err error) {
				types, err = ReadTypeSet(t.Context(), conn)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"hstore": "public.hstore", "span": "public.span", "period": "", "_period": "", "own": ""} {
				if name == "own" && as == login {
					want = "public.own"
				}
				if got, _, _ := types.Find(Type{Extension: "hstore", Name: name}, ""); got != want {
					t.Errorf("for %s, %s is %q, want %q", as, name, got, want)
				}
			}
		}
	})
}
