package replication

import (
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// loadedTableAfter returns what the catalog keeps of the table once a chunk has been loaded,
// in a transaction that began then.
func (s *tableSync) loadedTableAfter(f facts, p plan, c chunk, began time.Time) catalog.LoadedTable {
	table, before := f.source.table, f.target.loaded
	status := catalog.Ready
	if !c.last && (p.rows.after == nil || before != nil && before.Status == catalog.Copying) {
		status = catalog.Copying
	}
	parts := f.source.storage.attached
	if parts == nil {
		parts = map[uint32]string{} // of a view
	}
	return catalog.LoadedTable{
		Replication: s.target.replication, TableName: s.target.name.Name, SourceTable: s.table, Status: status, TableVersion: p.version,
		Columns: p.layout.filled(), Attributes: p.layout.attributes(),
		Source: f.identity, SourceOID: table.OID, SourceColumns: lastColumn(table), SourceParts: parts,
		Position: positionAfter(f, p, began), Meaning: f.source.meaningOf(selectedNames(s.selection, table), s.selection.ReplicationKey),
	}
}

// selectedNames returns the names of the columns that are replicated.
func selectedNames(s Selection, table relation.Table) (names []string) {
	for _, c := range s.selected(table) {
		names = append(names, c.Name)
	}
	return names
}

// positionAfter returns the position in the source's history, and the rows that identify it,
// for a transaction that began then.
func positionAfter(f facts, p plan, began time.Time) catalog.Position {
	next := f.source.position
	var before catalog.Position
	if f.target.loaded != nil {
		before = f.target.loaded.Position
	}
	if f.history.why != "" {
		before = catalog.Position{Commits: commitsUntil(before.Commits, f.history.back)}
	}
	next.Rows = remember(p.newest, before.Rows)
	next.Commits = remembersCommit(before.Commits, catalog.Commit{LSN: next.LSN, Sequence: began.UnixMicro() * 1000})
	return next
}

// bookmarkAfter returns the bookmark once a chunk has been loaded.
func (s *tableSync) bookmarkAfter(f facts, p plan, c chunk) catalog.Bookmark {
	b := catalog.Bookmark{
		Replication: s.target.replication, TableName: s.target.name.Name, Method: s.selection.Method,
		ReplicationKey: s.selection.ReplicationKey, KeyType: p.rows.key.sql, Run: s.job.run.ID,
	}
	if p.full {
		return b
	}
	// The last chunk ends with the greatest key; without any, the bookmark stays.
	b.Bookmark = c.rows.upTo
	if b.Bookmark == nil {
		b.Bookmark = p.greatest
	}
	if b.Bookmark == nil && c.rows.after != nil {
		bookmark := c.rows.after.bookmark
		b.Bookmark = &bookmark
	}
	var before catalog.Horizon
	if f.target.bookmark != nil {
		before = f.target.bookmark.Horizon
	}
	b.Horizon = horizonAfter(before, horizonChange{p.rows, p.rewritten, p.back}, f.source.info, b.Bookmark, p.late, f.target.now)
	return b
}
