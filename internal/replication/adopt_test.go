package replication

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
)

func TestDefinitionRefusals(t *testing.T) {
	want := definition.Definition{
		Name: "Shop", SchemaName: "shop", Source: definition.Endpoint{Server: "app", Database: "shop"}, Destination: definition.Endpoint{Server: "warehouse", Database: "analytics"},
		Tables:           map[string]definition.Selection{"public.t": {Method: definition.Incremental, ReplicationKey: "id", Columns: []string{"id", "n"}}},
		LateCommitWindow: new(time.Duration),
	}
	stored := func(change func(*definition.Definition)) catalog.Replication {
		d := want
		d.Tables = map[string]definition.Selection{"public.t": want.Tables["public.t"]}
		change(&d)
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return catalog.Replication{ID: 1, SchemaName: "shop", Definition: text}
	}
	same := stored(func(*definition.Definition) {})
	spaced, newer, created, read := same, same, same, same
	spaced.Definition = json.RawMessage(strings.Replace(string(same.Definition), `{"name":"Shop",`, "{ \"schema_name\" : \"shop\",\n\"name\": \"Shop\", ", 1))
	newer.Definition = json.RawMessage(strings.Replace(string(same.Definition), `{`, `{"paused":true,`, 1))
	created.SchemaCreated, read.SourceSystem = true, "123"

	for name, tt := range map[string]struct {
		stored   catalog.Replication
		history  catalog.History
		refusals []string
	}{
		"the same":          {stored: same},
		"written otherwise": {stored: spaced},
		"another name":      {stored: stored(func(d *definition.Definition) { d.Name = "Other" }), refusals: []string{`name is "Other", not "Shop"`}},
		"another source":    {stored: stored(func(d *definition.Definition) { d.Source.Database = "x" }), refusals: []string{`source.database is "x", not "shop"`}},
		"another table": {stored: stored(func(d *definition.Definition) {
			d.Tables = map[string]definition.Selection{"public.u": want.Tables["public.t"]}
		}), refusals: []string{`tables["public.t"] is not set, but should be {"columns":["id","n"],"exclude_columns":null,"replication_key":"id","replication_method":"INCREMENTAL","view_key_properties":null}`, `tables["public.u"] is {"columns":["id","n"],"exclude_columns":null,"replication_key":"id","replication_method":"INCREMENTAL","view_key_properties":null}, but is not configured`}},
		"other columns": {stored: stored(func(d *definition.Definition) {
			d.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		}), refusals: []string{`tables["public.t"].columns is null, not ["id","n"]`}},
		"another window":        {stored: stored(func(d *definition.Definition) { d.LateCommitWindow = nil }), refusals: []string{`late_commit_window is not set, but should be 0`}},
		"of a newer provider":   {stored: newer, refusals: []string{"paused is true, but is not configured"}},
		"with runs":             {stored: same, history: catalog.History{Runs: 2, Tables: 1}, refusals: []string{"recorded runs: 2", "loaded tables: 1"}},
		"whose schema was made": {stored: created, refusals: []string{"one of its runs created the schema"}},
		"that was read":         {stored: read, refusals: []string{"its runs have read from the cluster 123"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := refusalsOf(want, tt.stored, tt.history)
			if err != nil || !slices.Equal(got, tt.refusals) {
				t.Errorf("got %q, %v, want %q", got, err, tt.refusals)
			}
		})
	}
}
