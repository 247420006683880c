package destination

import (
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

func TestMapColumns(t *testing.T) {
	target := relation.TableName{Schema: "shop", Name: "t"}
	text := Column{Source: relation.Column{Name: "v"}, Name: "v", SQL: "text", Extract: `"v"`}
	number := Column{Source: relation.Column{Name: "id"}, Name: "id", SQL: "integer", Extract: `"id"`}
	table := func(key []string, columns ...string) *relation.Table {
		t := &relation.Table{Name: target, Kind: relation.OrdinaryTable, Key: key}
		for _, c := range append(columns, "_sdc_received_at x", "_sdc_batched_at x", "_sdc_sequence x", "_sdc_table_version x") {
			name, sql, _ := strings.Cut(c, " ")
			t.Columns = append(t.Columns, relation.Column{Name: name, SQL: sql})
		}
		return t
	}
	for name, tt := range map[string]struct {
		existing   *relation.Table
		loaded     []string
		inViews    []string
		names      []string // of the columns that are loaded
		alter      string
		retired    []string
		keyChanged bool
		err        string
	}{
		"a new table":  {names: []string{"id", "v"}},
		"all is there": {existing: table([]string{"id"}, "id integer", "v text"), loaded: []string{"id", "v"}, names: []string{"id", "v"}},
		"a new column": {
			existing: table([]string{"id"}, "id integer"), loaded: []string{"id"}, names: []string{"id", "v"},
			alter: `ALTER TABLE "shop"."t" ADD COLUMN "v" text`,
		},
		"a column that was dropped at the source": {
			existing: table([]string{"id"}, "id integer", "v text", "old integer"), loaded: []string{"id", "v", "old"},
			names: []string{"id", "v"}, retired: []string{"old"},
		},
		"a column of the user's own": {
			existing: table([]string{"id"}, "id integer", "v text", "mine integer"), loaded: []string{"id", "v"}, names: []string{"id", "v"},
		},
		"another type": {
			existing: table([]string{"id"}, "id integer", "v integer"), loaded: []string{"id", "v"}, names: []string{"id", "v__text"},
			alter: `ALTER TABLE "shop"."t" ADD COLUMN "v__text" text`, retired: []string{"v"},
		},
		"another type, again": {
			existing: table([]string{"id"}, "id integer", "v integer", "v__text text"), loaded: []string{"id", "v", "v__text"},
			names: []string{"id", "v__text"}, retired: []string{"v"},
		},
		"more room": {
			existing: table([]string{"id"}, "id integer", "v character varying(9)"), loaded: []string{"id", "v"}, names: []string{"id", "v"},
			alter: `ALTER TABLE "shop"."t" ALTER COLUMN "v" TYPE text`,
		},
		"more room, but a view upon it": {
			existing: table([]string{"id"}, "id integer", "v character varying(9)"), loaded: []string{"id", "v"}, inViews: []string{"v"},
			names: []string{"id", "v__text"}, alter: `ALTER TABLE "shop"."t" ADD COLUMN "v__text" text`, retired: []string{"v"},
		},
		"another type of the key": {existing: table([]string{"id"}, "id bigint", "v text"), keyChanged: true, names: []string{"id__integer", "v"},
			alter: `ALTER TABLE "shop"."t" ADD COLUMN "id__integer" integer`},
		"another key":     {existing: table([]string{"v"}, "id integer", "v text"), keyChanged: true, names: []string{"id", "v"}},
		"no key any more": {existing: table(nil, "id integer", "v text"), keyChanged: true, names: []string{"id", "v"}},
		"a view":          {existing: &relation.Table{Kind: relation.View}, err: "is not a table"},
		"a system column is lost": {
			existing: &relation.Table{Name: target, Kind: relation.OrdinaryTable, Key: []string{"id"}, Columns: []relation.Column{
				{Name: "id", SQL: "integer"}, {Name: "v", SQL: "text"}, {Name: "_sdc_received_at"}, {Name: "_sdc_batched_at"}, {Name: "_sdc_table_version"},
			}}, names: []string{"id", "v"}, alter: `ALTER TABLE "shop"."t" ADD COLUMN _sdc_sequence bigint`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := MapColumns(target, []Column{number, text}, []string{"id"}, tt.existing, tt.loaded, tt.inViews)
			if tt.err != "" || err != nil {
				if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want an error that says %q", err, tt.err)
				}
				return
			}
			if got.KeyChanged != tt.keyChanged || !slices.Equal(got.Names(), tt.names) || got.AlterSQL() != tt.alter || !slices.Equal(got.Retired, tt.retired) {
				t.Errorf("names %q, alter %q, stale %q\nwant  %q, %q, %q", got.Names(), got.AlterSQL(), got.Retired, tt.names, tt.alter, tt.retired)
			}
		})
	}
}

func TestMapType(t *testing.T) {
	form := func(sql string) relation.TypeForm { return relation.TypeForm{SQL: sql, Plain: sql, Receivable: true} }
	here := relation.TypeSet{":int4": form("integer"), ":_int4": form("integer[]"), ":numeric": form("numeric"), ":regclass": form("regclass"),
		":_regclass": form("regclass[]"), "hstore:hstore": form("other.hstore"), ":aclitem": {SQL: "aclitem", Plain: "aclitem"}, "cube:cube": form("cube")}
	builtIn := func(name, kind string) relation.Type {
		return relation.Type{Schema: "pg_catalog", Name: name, SQL: name, Kind: kind, Output: "pg_catalog." + name + "out", Sendable: true}
	}
	int4, regclass := builtIn("int4", "b"), builtIn("regclass", "b")
	int4.SQL = "integer"
	mood := relation.Type{Schema: "public", Name: "mood", SQL: "public.mood", Kind: "e", Output: "pg_catalog.enum_out", Sendable: true}
	hstore := relation.Type{Schema: "public", Name: "hstore", SQL: "public.hstore", Kind: "b", Extension: "hstore", Sendable: true}
	array := func(element relation.Type, name, schema string) relation.Type {
		return relation.Type{Schema: schema, Name: name, Kind: "b", Output: "pg_catalog.array_out", Sendable: true, Element: &element}
	}
	positive := relation.Type{Schema: "public", Kind: "d", Base: &int4, BaseSQL: "integer"}
	feeling := relation.Type{Schema: "public", SQL: "public.feeling", Kind: "d", Base: &mood, BaseSQL: "public.mood"}
	deeper := relation.Type{Schema: "public", SQL: "public.deeper", Kind: "d", Base: &feeling, BaseSQL: "public.feeling"}
	pair := relation.Type{Schema: "public", Kind: "c", Output: "pg_catalog.record_out", Sendable: true}
	written := func(function string) typeMapping {
		return typeMapping{sql: "text", value: "pg_catalog.textin(pg_catalog." + function + "(v))"}
	}
	tags := relation.Type{Schema: "public", Kind: "d", Base: &hstore, BaseSQL: "public.hstore"}
	for name, tt := range map[string]struct {
		sql  string
		t    relation.Type
		want typeMapping
	}{
		"built in":                  {"integer", int4, typeMapping{sql: "integer", value: "v"}},
		"with a modifier":           {"numeric(10,2)", builtIn("numeric", "b"), typeMapping{sql: "numeric(10,2)", value: "v"}},
		"a type that lies":          {"integer); DROP TABLE t; --", int4, written("int4out")},
		"a modifier that lies":      {"integer DEFAULT 7", int4, written("int4out")},
		"an extension's that lies":  {"public.hstore); --", hstore, typeMapping{sql: "text", value: "pg_catalog.textin((v))"}},
		"an extension's modifier":   {"public.hstore(Point,4326)", hstore, typeMapping{sql: "other.hstore(Point,4326)", value: "v"}},
		"a domain that lies":        {"public.positive", relation.Type{Schema: "public", Kind: "d", Base: &int4, BaseSQL: "int) --"}, typeMapping{sql: "text", value: "pg_catalog.textin(pg_catalog.int4out((v)::int) --))"}},
		"an array":                  {"integer[]", array(int4, "_int4", "pg_catalog"), typeMapping{sql: "integer[]", value: "v"}},
		"not in the destination":    {"int4multirange", builtIn("int4multirange", "m"), written("int4multirangeout")},
		"an enum":                   {"public.mood", mood, written("enum_out")},
		"an array of enums":         {"public.mood[]", array(mood, "_mood", "public"), typeMapping{sql: "text[]", value: "(pg_catalog.textin(pg_catalog.array_out(v)))::text[]"}},
		"a domain":                  {"public.positive", positive, typeMapping{sql: "integer", value: "v"}},
		"a domain over an enum":     {"public.feeling", feeling, typeMapping{sql: "text", value: "pg_catalog.textin(pg_catalog.enum_out((v)::public.mood))"}},
		"a domain over that":        {"public.deeper", deeper, typeMapping{sql: "text", value: "pg_catalog.textin(pg_catalog.enum_out((v)::public.mood))"}},
		"an array of domains":       {"public.positive[]", array(positive, "_positive", "public"), typeMapping{sql: "integer[]", value: "(pg_catalog.textin(pg_catalog.array_out(v)))::integer[]"}},
		"a composite":               {"public.pair", pair, written("record_out")},
		"an oid alias":              {"regclass", regclass, written("regclassout")},
		"an array of them":          {"regclass[]", array(regclass, "_regclass", "pg_catalog"), typeMapping{sql: "text[]", value: "(v)::text[]"}},
		"an extension's":            {"public.hstore", hstore, typeMapping{sql: "other.hstore", value: "v"}},
		"an array of those":         {"public.hstore[]", array(hstore, "_hstore", "public"), typeMapping{sql: "other.hstore[]", value: "v", text: true}},
		"a domain over those":       {"public.tags", tags, typeMapping{sql: "other.hstore", value: "v"}},
		"an array of those domains": {"public.tags[]", array(tags, "_tags", "public"), typeMapping{sql: "other.hstore[]", value: "v", text: true}},
		"no binary form":            {"aclitem", relation.Type{Schema: "pg_catalog", Name: "aclitem", Kind: "b", Output: "pg_catalog.aclitemout"}, written("aclitemout")},
		"an extension's without":    {"public.cube", relation.Type{Schema: "public", Name: "cube", SQL: "public.cube", Extension: "cube", Kind: "b"}, typeMapping{sql: "cube", value: "v", text: true}},
	} {
		if got := mapType("v", tt.sql, tt.t, here); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestWidens(t *testing.T) {
	for types, want := range map[[2]string]bool{
		{"character varying(9)", "character varying(10)"}:                    true,
		{"character varying(10)", "character varying(9)"}:                    false,
		{"character varying(9)", "character varying"}:                        true,
		{"character varying", "character varying(9)"}:                        false,
		{"character varying(9)", "text"}:                                     true,
		{"character varying", "text"}:                                        true,
		{"text", "character varying"}:                                        false,
		{"character(9)", "character(10)"}:                                    false, // padded
		{"numeric(5,2)", "numeric(7,2)"}:                                     true,
		{"numeric(5,2)", "numeric(7,3)"}:                                     false,
		{"numeric(5,2)", "numeric"}:                                          true,
		{"timestamp(3) without time zone", "timestamp without time zone"}:    true,
		{"timestamp(3) without time zone", "timestamp(6) without time zone"}: true,
		{"timestamp without time zone", "timestamp with time zone"}:          false,
		{"timestamp(3) without time zone", "timestamp(3) with time zone"}:    false,
		{"integer", "bigint"}:                                                false, // rewrites
		{"bit varying(3)", "bit varying(4)"}:                                 true,
		{"character varying(9)[]", "character varying(10)[]"}:                false,
	} {
		if got := Widens(types[0], types[1]); got != want {
			t.Errorf("%s to %s: %t, want %t", types[0], types[1], got, want)
		}
	}
}
