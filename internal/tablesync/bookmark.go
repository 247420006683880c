package tablesync

import (
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// loadedTableAfter returns what the catalog keeps of the table once a chunk has been loaded,
// in a transaction that began then.
func (s *tableSync) loadedTableAfter(f facts, p plan, c chunk, began time.Time) catalog.LoadedTable {
	table, before := f.source.Table, f.target.Loaded
	status := catalog.Ready
	if !c.last && (p.rows.After == nil || before != nil && before.Status == catalog.Copying) {
		status = catalog.Copying
	}
	partitions := f.source.Storage.Attached
	if partitions == nil {
		partitions = map[uint32]string{} // of a view
	}
	return catalog.LoadedTable{
		Replication: s.target.Replication, TableName: s.target.Name.Name, SourceTable: s.table, Status: status, TableVersion: p.version,
		Columns: p.layout.Filled(), Attributes: p.layout.Attributes(),
		Source: f.identity, SourceOID: table.OID, SourceColumns: lastColumn(table), SourcePartitions: partitions,
		Position: positionAfter(f, p, began), Meaning: f.source.MeaningOf(selectedNames(s.selection, table), s.selection.ReplicationKey),
	}
}

// selectedNames returns the names of the columns that are replicated.
func selectedNames(s definition.Selection, table relation.Table) (names []string) {
	for _, c := range s.Selected(table) {
		names = append(names, c.Name)
	}
	return names
}

// positionAfter returns the position in the source's history, and the rows that identify it,
// for a transaction that began then.
func positionAfter(f facts, p plan, began time.Time) catalog.Position {
	next := f.source.Position
	var before catalog.Position
	if f.target.Loaded != nil {
		before = f.target.Loaded.Position
	}
	if f.history.Why != "" {
		before = catalog.Position{Commits: source.CommitsUntil(before.Commits, f.history.Back)}
	}
	next.Rows = source.RowsToRemember(p.newest, before.Rows)
	next.Commits = source.AppendCommit(before.Commits, catalog.Commit{LSN: next.LSN, Sequence: began.UnixMicro() * 1000})
	return next
}

// bookmarkAfter returns the bookmark once a chunk has been loaded.
func (s *tableSync) bookmarkAfter(f facts, p plan, c chunk) catalog.Bookmark {
	b := catalog.Bookmark{
		Replication: s.target.Replication, TableName: s.target.Name.Name, Method: s.selection.Method,
		ReplicationKey: s.selection.ReplicationKey, KeyType: p.rows.Key.SQL, Run: s.job.Run.ID,
	}
	if p.full {
		return b
	}
	// The last chunk ends with the greatest key; without any, the bookmark stays.
	b.Bookmark = c.rows.UpTo
	if b.Bookmark == nil {
		b.Bookmark = p.greatest
	}
	if b.Bookmark == nil && c.rows.After != nil {
		bookmark := c.rows.After.Bookmark
		b.Bookmark = &bookmark
	}
	var before catalog.Horizon
	if f.target.Bookmark != nil {
		before = f.target.Bookmark.Horizon
	}
	b.Horizon = source.HorizonAfter(before, source.HorizonChange{Rows: p.rows, Rewritten: p.rewritten, Back: p.back}, f.source.Info, b.Bookmark, p.late, f.target.Now)
	return b
}
