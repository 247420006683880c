package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestDecideGrants(t *testing.T) {
	on := func(name string) right { return right{"SELECT", "TABLE", "public", name} }
	lacked := []lackedRight{
		{right: on("ours"), Grantable: true},
		{right: on("ours and everybody's"), Grantable: true, Effective: true},
		{right: on("everybody's"), Effective: true},
		{right: on("nobody's")},
	}
	grant, refused := decideGrants(lacked)
	if want := []right{on("ours"), on("ours and everybody's")}; !slices.Equal(grant, want) {
		t.Errorf("grant %v, want %v", grant, want)
	}
	if want := []right{on("nobody's")}; !slices.Equal(refused, want) {
		t.Errorf("refused %v, want %v", refused, want)
	}
}

func TestGrantStatements(t *testing.T) {
	rights := []right{
		{"CONNECT", "DATABASE", "", "shop"},
		{"CREATE", "DATABASE", "", "shop"},
		{"USAGE", "SCHEMA", "", "public"},
		{"USAGE", "SCHEMA", "", `a"b`},
		{"SELECT", "VIEW", "public", "open.orders"},
		{"SELECT", "TABLE", "public", "Orders"},
	}
	want := []string{
		`GRANT CONNECT, CREATE ON DATABASE "shop" TO "stitch"`,
		`GRANT USAGE ON SCHEMA "public", "a""b" TO "stitch"`,
		`GRANT SELECT ON TABLE "public"."open.orders", "public"."Orders" TO "stitch"`,
	}
	if got := grantStatements("shop", "stitch", rights); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestGrantStatementsOfManyTables(t *testing.T) {
	var rights []right
	for i := range 2*relationsPerGrant + 1 {
		rights = append(rights, right{"SELECT", "TABLE", "public", fmt.Sprint("t", i)})
	}
	statements := grantStatements("shop", "stitch", rights)
	if len(statements) != 3 {
		t.Fatalf("%d statements, want 3", len(statements))
	}
	if names := strings.Count(strings.Join(statements, ""), `"public"."t`); names != len(rights) {
		t.Errorf("they name %d tables, want %d", names, len(rights))
	}
}

func TestPlanRevokes(t *testing.T) {
	on := func(name string) right { return right{"SELECT", "TABLE", "public", name} }
	plan := planRevokes("shop", "stitch", []grantedRight{
		{right: on("a"), Grantor: "owner", Plain: true, AsOther: true},
		{right: on("b"), Grantor: "delegate", AsOther: true},
		{right: on("c"), Grantor: "owner", Plain: true},
		{right: on("d"), Grantor: "stranger"},
	})
	sql := []string{
		`REVOKE SELECT ON TABLE "public"."a", "public"."c" FROM "stitch"`,
		`SET LOCAL ROLE "delegate"`,
		`REVOKE SELECT ON TABLE "public"."b" FROM "stitch"`,
		`RESET ROLE`,
	}
	if !slices.Equal(plan.sql, sql) {
		t.Errorf("sql %q\nwant %q", plan.sql, sql)
	}
	refused := []string{
		`SET ROLE "stranger"`,
		`REVOKE SELECT ON TABLE "public"."d" FROM "stitch"`,
		`RESET ROLE`,
	}
	if !slices.Equal(plan.refused, refused) {
		t.Errorf("refused %q\nwant %q", plan.refused, refused)
	}
}

func TestDecideDefaults(t *testing.T) {
	tests := map[string]struct {
		have defaultRight
		want string
	}{
		"of an owner of tables":                   {defaultRight{Owns: true, Alterable: true}, "grant"},
		"granted before":                          {defaultRight{Owns: true, Alterable: true, Explicit: true, Effective: true}, ""},
		"had in another way":                      {defaultRight{Owns: true, Alterable: true, Effective: true}, "grant"},
		"of an owner of tables whom we may not":   {defaultRight{Owns: true}, "refuse"},
		"had in another way, and we may not":      {defaultRight{Owns: true, Effective: true}, ""},
		"of the schema's owner or this login":     {defaultRight{Alterable: true}, "grant"},
		"of the schema's owner, whom we may not":  {defaultRight{}, ""},
		"of the user's own tables, which it owns": {defaultRight{Creator: "stitch", Owns: true, Alterable: true}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			grant, refused := decideDefaults("stitch", []defaultRight{test.have})
			got := ""
			switch {
			case len(grant) > 0:
				got = "grant"
			case len(refused) > 0:
				got = "refuse"
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestDefaultStatements(t *testing.T) {
	got := defaultStatements([]defaultRight{
		{Schema: "billing", Creator: "app"}, {Schema: "public", Creator: "admin"}, {Schema: "public", Creator: "app"},
	}, `GRANT SELECT ON TABLES TO "stitch"`)
	want := []string{
		`ALTER DEFAULT PRIVILEGES FOR ROLE "admin" IN SCHEMA "public" GRANT SELECT ON TABLES TO "stitch"`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE "app" IN SCHEMA "billing", "public" GRANT SELECT ON TABLES TO "stitch"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestDroppedSource(t *testing.T) {
	orders, invoices := TableName{"public", "orders"}, TableName{"billing", "invoices"}
	both := []string{"public", "billing"}
	tests := map[string]struct {
		old, new SourceGrants
		want     scope
		defaults []string
	}{
		"nothing changed": {
			old: SourceGrants{Schemas: both, FutureTables: true},
			new: SourceGrants{Schemas: both, FutureTables: true},
		},
		"a schema": {
			old:      SourceGrants{Schemas: both, FutureTables: true},
			new:      SourceGrants{Schemas: both[:1], FutureTables: true},
			want:     scope{schemas: both[1:], whole: both[1:]},
			defaults: both[1:],
		},
		"the tables to come": {
			old:      SourceGrants{Schemas: both, FutureTables: true},
			new:      SourceGrants{Schemas: both},
			defaults: both,
		},
		"all tables but the listed": {
			old:  SourceGrants{Schemas: both},
			new:  SourceGrants{Schemas: both, Tables: []TableName{orders}},
			want: scope{whole: both, except: []TableName{orders}},
		},
		"the list of tables": {
			old: SourceGrants{Schemas: both, Tables: []TableName{orders, invoices}},
			new: SourceGrants{Schemas: both},
		},
		"a listed table": {
			old:  SourceGrants{Schemas: both, Tables: []TableName{orders, invoices}},
			new:  SourceGrants{Schemas: both, Tables: []TableName{invoices}},
			want: scope{tables: []TableName{orders, invoices}, except: []TableName{invoices}},
		},
		"a schema of a listed table": {
			old:  SourceGrants{Schemas: both, Tables: []TableName{orders, invoices}},
			new:  SourceGrants{Schemas: both[:1]},
			want: scope{schemas: both[1:], tables: []TableName{invoices}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, defaults := droppedSource(test.old, test.new)
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
			if !slices.Equal(defaults, test.defaults) {
				t.Errorf("default privileges: got %q, want %q", defaults, test.defaults)
			}
		})
	}
}

func TestIsInterference(t *testing.T) {
	tests := map[string]struct {
		err  error
		want bool
	}{
		"none":                 {nil, false},
		"no answer":            {errors.New("broken pipe"), false},
		"two changed a row":    {&pgconn.PgError{Code: "XX000", Message: "tuple concurrently updated"}, true},
		"one dropped it":       {&pgconn.PgError{Code: "XX000", Message: "tuple concurrently deleted"}, true},
		"default privileges":   {&pgconn.PgError{Code: "XX000", Message: "could not find tuple for default ACL 16424"}, true},
		"another internal one": {&pgconn.PgError{Code: "XX000", Message: "cache lookup failed"}, false},
		"deadlock":             {fmt.Errorf("grant: %w", &pgconn.PgError{Code: "40P01"}), true},
		"a table vanished":     {&pgconn.PgError{Code: "42P01"}, true},
		"not allowed":          {&pgconn.PgError{Code: "42501"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := isInterference(test.err); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
