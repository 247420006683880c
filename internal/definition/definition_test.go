package definition

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

func TestSchemaNameOf(t *testing.T) {
	for name, want := range map[string]string{
		"Stitch PostgreSQL":     "stitch_postgresql",
		"Recurly Stitch":        "recurly_stitch",
		"<DISPLAY_NAME!!!>":     "display_name",
		"shop-eu-1":             "shop_eu_1",
		"2nd shop":              "_2nd_shop",
		"cost$":                 "cost$",
		"Größe":                 "gre",
		"!!!":                   "",
		"public":                "",
		"PG catalog":            "",
		"_stitch":               "",
		"Information Schema":    "",
		strings.Repeat("a", 49): strings.Repeat("a", 49),
		strings.Repeat("a", 50): "",
	} {
		got, err := SchemaNameOf(name)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("SchemaNameOf(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestRevision(t *testing.T) {
	base := func() Definition {
		return Definition{
			Name: "Shop", SchemaName: "shop", Source: Endpoint{"a", "b"}, Destination: Endpoint{"c", "d"},
			Tables: map[string]Selection{"public.t": {Method: FullTable}},
		}
	}
	for name, tt := range map[string]struct {
		change func(*Definition)
		same   bool
	}{
		"the name":                {func(d *Definition) { d.Name = "Other" }, true},
		"another way to quote it": {func(d *Definition) { d.Tables = map[string]Selection{`"public"."t"`: {Method: FullTable}} }, true},
		"the readers":             {func(d *Definition) { d.Readers = []string{"analysts"} }, true},
		"the destination's login": {func(d *Definition) { d.Destination.Server = "x" }, true},
		"the destination":         {func(d *Definition) { d.Destination.Database = "x" }, false},
		"the source's login":      {func(d *Definition) { d.Source.Server = "x" }, true},
		"another source":          {func(d *Definition) { d.SourceChanges++ }, false},
		"the source":              {func(d *Definition) { d.Source.Database = "x" }, false},
		"a method":                {func(d *Definition) { d.Tables["public.t"] = Selection{Method: Incremental, ReplicationKey: "id"} }, false},
		"a table":                 {func(d *Definition) { d.Tables["public.u"] = Selection{Method: FullTable} }, false},
		"names with schemas":      {func(d *Definition) { d.IncludeSchemaInTableNames = true }, false},
	} {
		changed := base()
		tt.change(&changed)
		if got := changed.Revision() == base().Revision(); got != tt.same {
			t.Errorf("%s: same revision %t, want %t", name, got, tt.same)
		}
	}
}

func TestCheck(t *testing.T) {
	orders := relation.Table{
		Name: relation.TableName{Schema: "public", Name: "orders"}, Kind: relation.OrdinaryTable, Key: []string{"id"},
		Columns: []relation.Column{
			{Name: "id", SQL: "bigint", Type: relation.Type{Schema: "pg_catalog", Name: "int8"}},
			{Name: "total", SQL: "double precision", Type: relation.Type{Schema: "pg_catalog", Name: "float8"}},
			{Name: "day", SQL: "public.day", Type: relation.Type{Schema: "public", Name: "day", Base: &relation.Type{Schema: "pg_catalog", Name: "date"}}},
		},
	}
	view := orders
	view.Name.Name, view.Kind, view.Key = "v", relation.View, nil
	tables := map[relation.TableName]relation.Table{orders.Name: orders, view.Name: view}

	for name, tt := range map[string]struct {
		key       string
		selection Selection
		attribute string
		message   string // "" if there is no problem
	}{
		"all is well":             {"public.orders", Selection{Method: Incremental, ReplicationKey: "id"}, "", ""},
		"a domain over a date":    {"public.orders", Selection{Method: Incremental, ReplicationKey: "day"}, "", ""},
		"no such table":           {"public.ordres", Selection{Method: FullTable}, "", "has no table or view public.ordres"},
		"no schema":               {"orders", Selection{Method: FullTable}, "", "write it as schema.table"},
		"no such column":          {"public.orders", Selection{Method: FullTable, Columns: []string{"totl"}}, "columns", `has no column "totl". Its columns are id, total, day`},
		"no such excluded one":    {"public.orders", Selection{Method: FullTable, ExcludeColumns: []string{"x"}}, "exclude_columns", `has no column "x"`},
		"the key is excluded":     {"public.orders", Selection{Method: FullTable, ExcludeColumns: []string{"id"}}, "exclude_columns", "part of the key"},
		"no such key":             {"public.orders", Selection{Method: Incremental, ReplicationKey: "updated"}, "replication_key", `has no column "updated"`},
		"a key of floats":         {"public.orders", Selection{Method: Incremental, ReplicationKey: "total"}, "replication_key", "double precision, which cannot order rows"},
		"no key":                  {"public.orders", Selection{Method: Incremental}, "replication_key", "needs a replication_key"},
		"a key too many":          {"public.orders", Selection{Method: FullTable, ReplicationKey: "id"}, "replication_key", "uses no replication_key"},
		"log based":               {"public.orders", Selection{Method: LogBased}, "replication_method", "LOG_BASED is not supported yet"},
		"an unknown method":       {"public.orders", Selection{Method: "full_table"}, "replication_method", "is not a replication method"},
		"both lists":              {"public.orders", Selection{Method: FullTable, Columns: []string{"id"}, ExcludeColumns: []string{"day"}}, "exclude_columns", "not both"},
		"a table's view key":      {"public.orders", Selection{Method: FullTable, ViewKeyProperties: []string{"id"}}, "view_key_properties", "is a table"},
		"a view's key":            {"public.v", Selection{Method: FullTable, ViewKeyProperties: []string{"id"}}, "", ""},
		"a reserved table name":   {"public.orders", Selection{Method: FullTable, TableName: "_SDC_x"}, "table_name", "reserved"},
		"a table name too long":   {"public.orders", Selection{Method: FullTable, TableName: strings.Repeat("x", 64)}, "table_name", "64 bytes"},
		"nothing of a keyless":    {"public.v", Selection{Method: FullTable, Columns: []string{}}, "columns", "no column of public.v is selected"},
		"only the key of a table": {"public.orders", Selection{Method: FullTable, Columns: []string{}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := Definition{SchemaName: "shop", Tables: map[string]Selection{tt.key: tt.selection}}
			problems := append(d.Check(), d.CheckSource(tables)...)
			if tt.message == "" {
				if len(problems) > 0 {
					t.Errorf("got %v, want no problem", problems)
				}
				return
			}
			if len(problems) != 1 || problems[0].Attribute != tt.attribute || !strings.Contains(problems[0].Message, tt.message) {
				t.Errorf("got %+v, want one on %q that says %q", problems, tt.attribute, tt.message)
			}
		})
	}
}

// Two ways to write the name of one table are one table, and the result does not depend on
// chance.
func TestDuplicates(t *testing.T) {
	d := Definition{Tables: map[string]Selection{
		"public.t": {Method: FullTable}, `"public"."t"`: {Method: FullTable, TableName: "u"}, `public."t"`: {Method: FullTable, TableName: "v"},
	}}
	problems := d.Check()
	if len(problems) != 2 || problems[0].Table != `public."t"` || problems[1].Table != "public.t" ||
		!strings.Contains(problems[0].Message, `the same table as "public"."t": list it once`) {
		t.Errorf("got %+v", problems)
	}
	want := d.Revision()
	for range 50 {
		if got := d.Revision(); got != want {
			t.Fatal("the revision changes from call to call")
		}
	}
}

func TestCollisions(t *testing.T) {
	d := Definition{Tables: map[string]Selection{"a.t": {Method: FullTable}, "b.t": {Method: FullTable}}}
	problems := d.Check()
	if len(problems) != 1 || problems[0].Table != "b.t" || !strings.Contains(problems[0].Message, "include_schema_in_table_names") {
		t.Errorf("got %+v", problems)
	}
	d.IncludeSchemaInTableNames = true
	if problems := d.Check(); len(problems) != 0 {
		t.Errorf("with schemas in the names: %+v", problems)
	}
}

// A problem of a table that is selected as before, from the same source, is the source's.
func TestRegressions(t *testing.T) {
	before := Definition{Source: Endpoint{Server: "app", Database: "shop"}, Tables: map[string]Selection{
		"public.orders": {Method: FullTable}, `public."items"`: {Method: FullTable, Columns: []string{"id"}}, "public.changed": {Method: FullTable},
	}}
	after := Definition{Source: before.Source, Tables: map[string]Selection{
		"public.orders": {Method: FullTable}, "public.items": {Method: FullTable, Columns: []string{"id"}},
		"public.changed": {Method: FullTable, Columns: []string{}}, "public.new": {Method: FullTable},
	}}
	var problems []Problem
	for _, key := range after.Keys() {
		problems = append(problems, Problem{Table: key})
	}
	elsewhere := after
	elsewhere.Source.Database = "other"
	for _, test := range []struct {
		after, before Definition
		want          string
	}{
		{after, before, "public.items public.orders"},
		{elsewhere, before, ""},
		{after, Definition{}, ""},
	} {
		regressions, mistakes := test.after.Regressions(problems, test.before)
		var names []string
		for _, p := range regressions {
			names = append(names, p.Table)
		}
		if got := strings.Join(names, " "); got != test.want || len(regressions)+len(mistakes) != len(problems) {
			t.Errorf("regressions %q, want %q, beside %d mistakes", got, test.want, len(mistakes))
		}
	}
}
