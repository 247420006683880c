package tablesync

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// facts are what a plan is made from: what both sides say of a table, in one snapshot and in
// one transaction.
type facts struct {
	source   source.Facts
	identity string           // of the source database
	history  source.Judgement // of the source, since the table was loaded
	target   destination.TargetState
	money    destination.Fractions
	learned  learned
}

// learned is what earlier attempts found out about a table.
type learned struct {
	asText      bool     // rows must cross as text: a server refused them in binary form
	added       []string // columns that earlier attempts added to the target, with what old rows hold in them
	unalterable []string // columns of the target whose type cannot be changed
	chunkRows   int      // about how many rows of a backlog one transaction commits
}

// A plan says what a run does with one table. It is a value: a later finding makes another
// plan from it.
type plan struct {
	layout       destination.Layout
	rows         source.KeyRange
	keyName      string // of the replication key in the destination
	version      int64  // of the table, after the load
	reset        bool   // whether the version is a new one
	full         bool   // whether the method is FULL_TABLE
	late         time.Duration
	reloadReason string   // why all rows are read although there is a bookmark
	undone       *int64   // the source has gone back: rows with a greater _sdc_sequence that it does not have are undone
	changes      []string // of the structure since the last load, for people

	keyNotUnique bool // whether the source does not guarantee that the key identifies a row
	rewritten    bool // whether the table is stored in another file than when the bookmark was set
	back         bool // whether no row has the key of the bookmark or a later one, so that the bookmark goes back

	// Columns that were added at the source. If rows before the range hold values in them, the
	// run reads all rows.
	unverified []destination.Column

	greatest *string                 // replication key of the rows to load; nil if none has one
	newest   []catalog.RememberedRow // rows with the greatest keys
	ordered  bool                    // whether an index orders the rows by the replication key
}

// decide decides how to load a table. late is how late a row may be committed.
func decide(s definition.Selection, target relation.TableName, f facts, late time.Duration) (plan, error) {
	table := f.source.Table
	p := plan{version: f.target.Now.UnixMilli(), reset: true, full: s.Method == definition.FullTable, late: late}
	// The primary key of a table that others inherit from says nothing about the rows of those.
	p.keyNotUnique = !table.Kind.HasKeys() || table.Kind == relation.OrdinaryTable && len(f.source.Storage.Leaves) > 1
	columns := destination.ExtractedColumns(s.Selected(table), f.target.Types, f.source.Major, f.target.Major, f.money)
	var before []string
	if f.target.Loaded != nil {
		before = f.target.Loaded.Columns
	}
	var err error
	if p.layout, err = destination.MapColumns(target, columns, s.KeyColumns(table), f.target.Table, before, slices.Concat(f.target.InViews, f.learned.unalterable)); err != nil {
		return plan{}, err
	}
	p.layout.Equals, p.layout.Text, p.changes = f.target.Equals, f.learned.asText, p.layout.Changes
	p.rows = source.KeyRange{Table: table.Name}
	for _, c := range p.layout.Columns {
		if c.Source.Name == s.ReplicationKey {
			key := c.AsKey()
			p.rows.Key, p.keyName = source.Key{Column: key.Source, Value: key.Extract, SQL: key.SQL}, c.Name
		}
	}
	l := f.target.Loaded
	if l == nil {
		return p, nil
	}
	p.version = max(p.version, l.TableVersion+1)
	p.changes = slices.Concat(p.changes, sourceChanges(p.layout, *l, f.source))
	if p.reloadReason = bookmarkInvalidReason(*l, f.target.Bookmark, s, table, f.identity, p.rows.Key.SQL); p.reloadReason == "" && keyReplaced(p.layout, *l) {
		p.reloadReason = "a column of the primary key was replaced by another column of the same name"
	}
	if p.reloadReason == "" {
		p.reloadReason, p.undone = f.history.Why, f.history.UndoneSince(l.Position)
	}
	if f.target.Table == nil {
		p.reloadReason = "the table was missing in the destination"
		return p, nil
	}
	if p.layout.KeyChanged || p.reloadReason != "" {
		return p, nil
	}
	return p.fromBookmark(*l, *f.target.Bookmark, s, f), nil
}

// fromBookmark is the plan for a table whose bookmark applies. It still reads all rows if
// those before the bookmark hold what was never loaded.
func (p plan) fromBookmark(l catalog.LoadedTable, b catalog.Bookmark, s definition.Selection, f facts) plan {
	p.version, p.reset = l.TableVersion, false
	if p.reloadReason, p.unverified = neverLoaded(p.layout, l, f.learned.added); p.reloadReason == "" {
		meaning := f.source.MeaningOf(selectedNames(s, f.source.Table), s.ReplicationKey)
		p.reloadReason = cmp.Or(f.target.ChangeReason(), source.ChangedMeaning(l.Meaning, meaning), rewrittenSince(b.Horizon, f.source.Info, p.late))
	}
	if p.reloadReason == "" {
		p.rows, p.rewritten = p.rows.AfterBookmark(b.Bookmark, len(p.layout.Key) == 0).WithLateCommits(b.Horizon, f.source.Info, p.late)
	}
	return p
}

// readingAll is the plan that reads all rows, for that reason.
func (p plan) readingAll(why string) plan {
	p.rows.After, p.reloadReason = nil, why
	return p
}

// attached returns the partitions that were attached, or attached again, since the bookmark
// was set. Their rows may be older than the bookmark, and have any key.
func (p plan) attached(f facts) (leaves []uint32) {
	if p.rows.After == nil {
		return nil
	}
	for _, leaf := range f.source.Storage.Leaves {
		if before, known := f.target.Loaded.SourcePartitions[leaf]; !known || before != f.source.Storage.Attached[leaf] {
			leaves = append(leaves, leaf)
		}
	}
	return leaves
}

// readingAttached is the plan that also reads the rows of attached partitions. They meet the
// condition and are not in the range otherwise.
func (p plan) readingAttached(condition string) plan {
	if len(p.layout.Key) == 0 {
		return p.readingAll("partitions that hold rows were added, and rows without a primary key can only be compared as a whole")
	}
	p.rows = p.rows.WithAttached(condition)
	return p
}

// goingBack is the plan for a table that has no row at or after its bookmark: it was emptied
// and its keys started over, or the last rows were deleted.
func (p plan) goingBack() plan {
	p.rows, p.back = p.rows.StartingAt(""), true
	return p
}

// endingAt is the plan with the greatest key of the rows, and the rows that have it.
func (p plan) endingAt(greatest *string, newest []catalog.RememberedRow) plan {
	p.greatest, p.newest = greatest, newest
	return p
}

// inOrder is the plan with whether an index orders the rows.
func (p plan) inOrder(ordered bool) plan {
	p.ordered = ordered
	return p
}

// needsOpenTransactions reports whether the plan depends on which transactions were open
// before the snapshot was taken.
func (p plan) needsOpenTransactions(f facts) bool {
	b := f.target.Bookmark
	begins := p.rows.After == nil || b == nil || b.Horizon.Snapshot == ""
	return begins && !p.full && p.late > 0 && !source.IsTime(p.rows.Key) && f.source.Info.Snapshot != ""
}

// deletes reports whether the load deletes rows from the destination that are gone at the
// source. INCREMENTAL keeps them, even when it reads all rows again: the source may have
// purged them, or be an upgraded one. Under a new version they belong to an older one. But
// only a comparison of all rows tells changed rows without a key from new ones, and the same
// holds for rows under another key.
func (p plan) deletes() bool {
	return p.rows.After == nil && (p.full || p.layout.KeyChanged || len(p.layout.Key) == 0)
}

// comparesKeys reports whether rows may stay whose key the source takes for the same as one
// that was loaded.
func (p plan) comparesKeys() bool {
	return p.layout.Exists && !p.deletes() && slices.ContainsFunc(p.layout.KeyOf(), func(c destination.Column) bool { return source.IsCoarse(c.Source) })
}

// mergePlan says what the load does with the rows of a range once they were copied. Few of the
// rows after a bookmark already exist, but most rows of a whole table do.
func (p plan) mergePlan(rows source.KeyRange) destination.MergePlan {
	m := destination.MergePlan{
		Layout: p.layout, Version: p.version, Reset: p.reset, KeyNotUnique: p.keyNotUnique, Undone: p.undone,
		Upserts: len(p.layout.Key) > 0 && rows.After != nil, Repeated: "true",
		Deletes: rows.After == nil && p.deletes(),
	}
	if p.keyName != "" && !rows.Key.Column.NotNull {
		m.ReplicationKey = p.keyName
	}
	if rows.IsBounded() && !strings.HasPrefix(rows.Key.SQL, "text") { // servers may order text differently
		m.Repeated = fmt.Sprintf("(d.%[1]s OPERATOR(pg_catalog.>=) %[2]s OR d.%[1]s IS NULL)", pgclient.Ident(p.keyName), rows.First())
	}
	return m
}

// guarantees says what cannot be guaranteed for the table, and what is unusual about it.
func (p plan) guarantees(s definition.Selection, f facts, standby bool) (notes []string) {
	if types := p.layout.TextOnlyTypes(); len(types) > 0 {
		notes = append(notes, "rows are transferred as text, because these types have no binary form that means the same on both servers: "+strings.Join(types, ", "))
	}
	if p.reloadReason != "" && (p.reset || !p.full) {
		notes = append(notes, "replicated whole: "+p.reloadReason)
	}
	if p.rewritten {
		notes = append(notes, "the table was emptied by TRUNCATE, or rewritten: rows with any key were scanned")
	}
	if s.KeepsVersions(f.source.Table) {
		notes = append(notes, definition.KeepsVersionsWarning)
	}
	switch {
	case p.full || p.late == 0:
	case f.source.Info.Snapshot == "":
		notes = append(notes, "runs miss rows that are committed late with a key before the bookmark: "+f.source.Info.HiddenReason)
	case standby && !source.IsTime(p.rows.Key):
		notes = append(notes, "the source is a standby, which does not know the transactions of its primary: runs miss a row with a key before the bookmark "+
			"if its transaction was open while the table was read for the first time")
	}
	return notes
}
