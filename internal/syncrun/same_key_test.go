package syncrun

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Keys that the source takes for the same are one row in the destination, written as the
// source wrote it last, whatever the destination's type is.
func TestSameKeyWrittenOtherwise(t *testing.T) {
	t.Parallel()
	type change struct {
		key, before, after string
		since              int // the source's major that has such keys
	}
	changes := map[string]change{
		"nondeterministic collation":  {"text COLLATE ci", "'anna'", "'ANNA'", 12},
		"collation of another schema": {`varchar(9) COLLATE "o'1"."c%s i"`, "'o''1\\'", "'O''1\\'", 12},
		"name":                        {"name COLLATE ci", "'anna'", "'ANNA'", 12},
		"char":                        {"char(5) COLLATE ci", "'anna'", "'ANNA'", 12},
		"array of a collation":        {"text[] COLLATE ci", "'{anna,b}'", "'{ANNA,b}'", 12},
		"domain with a collation":     {"folded", "'anna'", "'ANNA'", 12},
		"range of a collation":        {"words", "'[anna,b]'", "'[ANNA,b]'", 12},
		"citext":                      {"citext", "'anna'", "'ANNA'", 0},
		"array of citext":             {"citext[]", "'{anna,NULL}'", "'{ANNA,NULL}'", 0},
		"domain over citext":          {"login", "'anna'", "'ANNA'", 0},
		"composite":                   {"pair", "'(1.0,24:00:00)'", `'(1.00,"1 day")'`, 0},
		"array of composites":         {"pair[]", `'{"(1.0,1 day)"}'`, `'{"(1.00,1 day)"}'`, 0},
		"range of numbers":            {"numbers", "'[1.0,2)'", "'[1.00,2)'", 0},
		"extension that both have":    {"cube", "'(0)'", "'(-0)'", 0},
		"numeric":                     {"numeric", "1.0", "1.00", 0},
		"float":                       {"float8", "0", "'-0'", 0},
		"interval":                    {"interval", "'1 day'", "'24:00:00'", 0},
		"jsonb":                       {"jsonb", `'{"n": 1.0}'`, `'{"n": 1.00}'`, 0},
		"array of numbers":            {"numeric[]", "'{1.0}'", "'{1.00}'", 0},
		"range of PostgreSQL's":       {"numrange", "'[1.0,2)'", "'[1.00,2)'", 0},
		"character without a length":  {"bpchar", "'a'", "'a '", 0},
	}
	for _, source := range oldestAndNewest(t) {
		t.Run(fmt.Sprintf("postgres%d", source.Major), func(t *testing.T) {
			e := newEnv(t, source, sandbox.Shared(t, 0))
			e.atDestination(t, `CREATE EXTENSION cube`)
			e.atSource(t, `CREATE EXTENSION citext; CREATE EXTENSION cube; CREATE DOMAIN login AS citext;
				CREATE TYPE pair AS (n numeric, v interval); CREATE TYPE numbers AS RANGE (subtype = numeric)`)
			if source.Major >= 12 {
				e.atSource(t, createFolding+`; CREATE SCHEMA "o'1"; CREATE COLLATION "o'1"."c%s i" FROM ci; CREATE DOMAIN folded AS text COLLATE ci;
					CREATE TYPE words AS RANGE (subtype = text, collation = ci)`)
			}
			var tables []string
			var changed strings.Builder
			for kind, change := range changes {
				if source.Major < change.since {
					continue
				}
				name := "key: " + kind
				table, view, full := pgclient.Ident(name), pgclient.Ident("view "+name), pgclient.Ident("full "+name)
				columns := " (tenant float8, k " + change.key + ", n int NOT NULL, PRIMARY KEY (tenant, k)); "
				rows := " VALUES (0.1, " + change.before + ", 1), (2, " + change.before + ", 2); "
				update := " SET k = " + change.after + ", n = 3 WHERE tenant = 0.1; "
				e.atSource(t, "CREATE TABLE "+table+columns+"INSERT INTO "+table+rows+"CREATE VIEW "+view+" AS SELECT * FROM "+table+
					"; CREATE TABLE "+full+columns+"INSERT INTO "+full+rows)
				changed.WriteString("UPDATE " + table + update + "UPDATE " + full + update)
				e.definition.Tables["public."+name] = definition.Selection{Method: definition.Incremental, ReplicationKey: "n"}
				e.definition.Tables["public.view "+name] = definition.Selection{Method: definition.Incremental, ReplicationKey: "n", ViewKeyProperties: []string{"tenant", "k"}}
				e.definition.Tables["public.full "+name] = definition.Selection{Method: definition.FullTable}
				tables = append(tables, table, view, full)
			}
			e.create(t)
			e.run(t)
			e.atSource(t, changed.String())
			e.run(t)
			for _, table := range tables {
				e.wantSame(t, table, "k", "n")
			}
		})
	}
}

// createFolding creates a collation for which letters are the same in both cases.
const createFolding = `CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`

// A row that is deleted at the source stays, and so does a row whose key was written
// otherwise there without a run seeing it: the new row was not loaded.
func TestOtherKeysStay(t *testing.T) {
	t.Parallel()
	e := newEnv(t, sandbox.SharedFrom(t, 12), sandbox.Shared(t, 0))
	e.atSource(t, createFolding+`; CREATE TABLE t (k text COLLATE ci PRIMARY KEY, n int NOT NULL); INSERT INTO t VALUES ('anna', 1), ('bob', 2), ('cid', 3)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "n"}
	e.ignoreLateCommits()
	e.create(t)
	e.run(t)
	e.atSource(t, `UPDATE t SET k = 'ANNA' WHERE n = 1; DELETE FROM t WHERE n = 2; INSERT INTO t VALUES ('dora', 4)`)
	e.run(t)
	e.wantRows(t, `SELECT k, n FROM shop.t ORDER BY n`, "anna|1", "bob|2", "cid|3", "dora|4")
	e.atSource(t, `UPDATE t SET n = 5 WHERE n = 1; UPDATE t SET k = 'BOB' WHERE k = 'cid'`)
	e.run(t)
	e.wantRows(t, `SELECT k, n FROM shop.t ORDER BY n`, "bob|2", "cid|3", "dora|4", "ANNA|5")
	e.wantRecorded(t, "t")
}
