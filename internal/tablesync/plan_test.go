package tablesync

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// somePlanFacts returns the facts of a table with a bookmark, in which nothing has changed.
func somePlanFacts() facts {
	int4 := relation.Type{Schema: "pg_catalog", Name: "int4", SQL: "integer", Kind: "b", Output: "pg_catalog.int4out", Sendable: true}
	bookmark := "10"
	columns := []relation.Column{{Name: "id", Number: 1, Type: int4, SQL: "integer", NotNull: true}, {Name: "n", Number: 2, Type: int4, SQL: "integer"}}
	existing := relation.Table{Kind: relation.OrdinaryTable, Key: []string{"id"}, OID: 7}
	for _, c := range []string{"id integer", "n integer", "_sdc_received_at x", "_sdc_batched_at x", "_sdc_sequence x", "_sdc_table_version x"} {
		name, sql, _ := strings.Cut(c, " ")
		existing.Columns = append(existing.Columns, relation.Column{Name: name, SQL: sql})
	}
	return facts{
		identity: "cluster/1",
		source: source.Facts{
			Table:   relation.Table{Name: relation.TableName{Schema: "public", Name: "t"}, Kind: relation.OrdinaryTable, OID: 5, Columns: columns, Key: []string{"id"}},
			Storage: source.Storage{IsHeap: true, Readable: true, Leaves: []uint32{5}, Attached: map[uint32]string{5: ""}, Files: map[uint32]uint32{5: 50}},
			Info:    source.SnapshotInfo{Snapshot: "200:200:", Files: map[uint32]uint32{5: 50}},
			Major:   18,
		},
		target: destination.TargetState{
			Table: &existing, Place: destination.Placement{OID: 7, File: 70}, Major: 18, Now: time.UnixMilli(5000),
			Types: relation.TypeSet{":int4": {SQL: "integer", Plain: "integer", Receivable: true}},
			Loaded: &catalog.LoadedTable{
				Source: "cluster/1", SourceOID: 5, SourceColumns: 2, SourcePartitions: map[uint32]string{5: ""}, OID: 7, File: 70, TableVersion: 3,
				Columns: []string{"id", "n"}, Attributes: []int{1, 2},
			},
			Bookmark: &catalog.Bookmark{
				Method: definition.Incremental, ReplicationKey: "n", KeyType: "integer", Bookmark: &bookmark,
				Horizon: catalog.Horizon{Snapshot: "100:100:", Files: map[uint32]uint32{5: 50}},
			},
		},
	}
}

// One decision follows from the facts, and does not change them.
func TestDecide(t *testing.T) {
	t.Parallel()
	byKey := definition.Selection{Method: definition.Incremental, ReplicationKey: "n"}
	for name, tt := range map[string]struct {
		change    func(*facts)
		selection definition.Selection
		late      time.Duration
		why       string // all rows are read
		version   int64
		where     string // what the condition for rows contains
		deletes   bool
		rewritten bool
	}{
		"goes on":           {version: 3, where: `"n" OPERATOR(pg_catalog.>=) '10'::integer`},
		"late commits":      {version: 3, late: time.Hour, where: "age('100'::"},
		"never loaded":      {change: func(f *facts) { f.target = destination.TargetState{Types: f.target.Types, Now: f.target.Now} }, version: 5000, where: "true"},
		"dropped there":     {change: func(f *facts) { f.target.Table = nil }, version: 5000, why: "missing in the destination", where: "true"},
		"another database":  {change: func(f *facts) { f.identity = "cluster/2" }, version: 5000, why: "not the same database", where: "true"},
		"another table":     {change: func(f *facts) { f.source.Table.OID = 6 }, version: 5000, why: "replaced by another", where: "true"},
		"another method":    {selection: definition.Selection{Method: definition.FullTable}, version: 5000, why: "the replication method has changed: it was INCREMENTAL", where: "true", deletes: true},
		"no bookmark":       {change: func(f *facts) { f.target.Bookmark = nil }, version: 5000, why: "the bookmark was deleted", where: "true"},
		"history went back": {change: func(f *facts) { f.history = source.Judgement{Why: "gone back", Back: 9} }, version: 5000, why: "gone back", where: "true"},
		"emptied there": {change: func(f *facts) {
			f.target.Loaded.Rows = new(int64)
			*f.target.Loaded.Rows = 4
			f.target.Place.Empty = true
		}, version: 3, why: "was emptied after the last run", where: "true"},
		"truncated": {
			change: func(f *facts) { f.source.Info.Files = map[uint32]uint32{5: 51} }, late: time.Hour, version: 3, where: "age('100'::", rewritten: true,
		},
		"truncated, by key alone": {
			change: func(f *facts) { f.source.Info.Files = map[uint32]uint32{5: 51} }, version: 3, why: "emptied by TRUNCATE", where: "true",
		},
		"a column that was not selected": {
			change:  func(f *facts) { f.target.Loaded.Columns, f.target.Loaded.Attributes = []string{"id"}, []int{1} },
			version: 3, why: `column "n" was not loaded before`, where: "true",
		},
		"another key": {change: func(f *facts) { f.source.Table.Key = []string{"n"} }, version: 5000, where: "true", deletes: true},
	} {
		t.Run(name, func(t *testing.T) {
			f, before := somePlanFacts(), somePlanFacts()
			if tt.change != nil {
				tt.change(&f)
				tt.change(&before)
			}
			if tt.selection.Method == "" {
				tt.selection = byKey
			}
			p, err := decide(tt.selection, relation.TableName{Schema: "shop", Name: "t"}, f, tt.late)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(p.reloadReason, tt.why) || (p.reloadReason == "") != (tt.why == "") || p.version != tt.version || !strings.Contains(p.rows.CopySQL("*", "binary"), tt.where) ||
				p.deletes() != tt.deletes || p.rewritten != tt.rewritten || p.reset != (tt.version != 3) {
				t.Errorf("why %q, version %d, where %s, deletes %t, rewritten %t, reset %t", p.reloadReason, p.version, p.rows.CopySQL("*", "binary"), p.deletes(), p.rewritten, p.reset)
			}
			if !reflect.DeepEqual(f, before) {
				t.Errorf("the facts were changed:\n%+v\n%+v", f, before)
			}
		})
	}
}

// A later finding makes another plan, and leaves the one before unchanged.
func TestPlanIsAValue(t *testing.T) {
	t.Parallel()
	f := somePlanFacts()
	f.source.Storage.Leaves, f.source.Storage.Names = []uint32{5, 6}, []string{"t", "t_2"}
	p, err := decide(definition.Selection{Method: definition.Incremental, ReplicationKey: "n"}, relation.TableName{Schema: "shop", Name: "t"}, f, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	before, after := p.rows, *p.rows.After
	before.After = &after
	where := p.rows.CopySQL("*", "binary")
	if attached := p.attached(f); !slices.Equal(attached, []uint32{6}) {
		t.Errorf("attached: %d", attached)
	}
	key := "20"
	for name, later := range map[string]plan{
		"attached": p.readingAttached("tableoid = 6"), "all": p.readingAll("why"), "back": p.goingBack(), "end": p.endingAt(&key, nil), "order": p.inOrder(true),
	} {
		if reflect.DeepEqual(later, p) {
			t.Errorf("%s: the plan is the same", name)
		}
	}
	if p.rows.CopySQL("*", "binary") != where || !reflect.DeepEqual(p.rows, before) || p.back || p.ordered || p.greatest != nil || p.reloadReason != "" {
		t.Errorf("the plan was changed: %+v", p)
	}
}
