package privilege_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sqltext"
)

// provisions are the directories of the packages that talk to a server, except for the engine.
var provisions = []string{".", "../pgclient", "../postgres", "../preflight", "../relation"}

// A names is what the SQL of these packages uses: by kind, sorted.
type names map[sqltext.Kind][]string

func usedNames(t *testing.T) names {
	t.Helper()
	used := names{}
	for _, directory := range provisions {
		literals, err := sqltext.Literals(directory)
		if err != nil {
			t.Fatal(err)
		}
		for _, literal := range literals {
			for _, use := range sqltext.Uses(literal.Text) {
				used[use.Kind] = append(used[use.Kind], use.Name)
			}
		}
	}
	for kind := range used {
		slices.Sort(used[kind])
		used[kind] = slices.Compact(used[kind])
	}
	for kind, least := range map[sqltext.Kind]int{sqltext.Function: 30, sqltext.Operator: 8, sqltext.Type: 4, sqltext.Relation: 20} {
		if len(used[kind]) < least {
			t.Fatalf("only %d kinds of %s: %v", len(used[kind]), kind, used[kind])
		}
	}
	return used
}

// operands are types of the catalogs' columns and of our parameters.
var operands = []string{"name", "oid", "text", "int2", "int4", "int8", "bool", `"char"`, "jsonb", "timestamptz", "interval", "_text", "_name"}

// instead are types that PostgreSQL accepts for arguments of other types: it prefers a function
// with them to its own.
func instead(argument string) []string {
	switch argument {
	case "text":
		return []string{"text", "name", `"char"`}
	case "oid":
		return []string{"oid", "regclass", "int4"}
	case "any", "anyelement", "anynonarray":
		return operands
	case "anyarray", "anycompatiblearray":
		return []string{"_text", "_name", "_oid", "_bool", "_int2", "int2vector", "_aclitem"}
	case "char":
		return []string{`"char"`}
	}
	return []string{argument}
}

// signatures returns the argument types of the planted functions, by name.
func signatures(t *testing.T, s *sandbox.Server, functions []string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, row := range s.Query(t, "postgres", `
		SELECT p.proname, coalesce((
			SELECT string_agg(t.typname, ',' ORDER BY a.n)
			FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, n)
			JOIN pg_type AS t ON t.oid = a.type), '')
		FROM pg_proc AS p
		WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY ($1)
			AND NOT 'internal'::regtype = ANY (p.proargtypes) AND NOT 'cstring'::regtype = ANY (p.proargtypes)
		ORDER BY 1, 2`, functions) {
		name, arguments, _ := strings.Cut(row, "|")
		lists := []string{""}
		for _, argument := range strings.Split(arguments, ",") {
			var longer []string
			for _, list := range lists {
				for _, other := range instead(argument) {
					if longer = append(longer, strings.TrimPrefix(list+", "+other, ", ")); argument == "" {
						longer[len(longer)-1] = ""
					}
				}
			}
			lists = longer[:min(len(longer), 50)]
		}
		all[name] = append(all[name], lists...)
	}
	for name := range all {
		slices.Sort(all[name])
		all[name] = slices.Compact(all[name])
	}
	return all
}

// plantSQL creates objects of all names in a schema. PostgreSQL prefers them to its own, and
// they count their calls and fail.
func plantSQL(schema string, used names, signatures map[string][]string) string {
	var b strings.Builder
	trap := func(name, arguments, result string) {
		fmt.Fprintf(&b, `CREATE FUNCTION %s.%s(%s) RETURNS %s LANGUAGE plpgsql AS $trap$
			BEGIN PERFORM pg_catalog.nextval('planted.calls'); RAISE EXCEPTION 'caught %s.%s(%s)'; END $trap$;`+"\n",
			schema, name, arguments, result, schema, strings.ReplaceAll(name, "%", "%%"), arguments)
	}
	for name, lists := range signatures {
		for _, arguments := range lists {
			trap(pgclient.Ident(name), arguments, "text")
		}
	}
	for _, left := range operands {
		for _, right := range operands {
			trap("operator", left+", "+right, "boolean")
			for _, operator := range used[sqltext.Operator] {
				fmt.Fprintf(&b, "CREATE OPERATOR %s.%s (LEFTARG = %s, RIGHTARG = %s, PROCEDURE = %s.operator);\n", schema, operator, left, right, schema)
			}
		}
	}
	trap("trap", "", "boolean")
	for _, relation := range used[sqltext.Relation] {
		if strings.HasPrefix(relation, "pg_") {
			fmt.Fprintf(&b, "CREATE VIEW %s.%s AS SELECT %s.trap();\n", schema, relation, schema)
		}
	}
	types := append([]string{"int2", "int4", "int8", "bool", "timestamptz", "jsonb"}, used[sqltext.Type]...)
	slices.Sort(types)
	for _, name := range slices.Compact(types) {
		if name != "regclass" && name != "regnamespace" || schema == "front" { // planting itself needs those two
			fmt.Fprintf(&b, "CREATE DOMAIN %s.%s AS pg_catalog.%s CHECK (%s.trap());\n", schema, pgclient.Ident(name), pgclient.Ident(name), schema)
		}
	}
	fmt.Fprintf(&b, "GRANT USAGE ON SCHEMA %s TO PUBLIC;\n", schema)
	return b.String()
}
