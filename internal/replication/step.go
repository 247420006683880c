package replication

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A step is what a run does with one table.
type step struct {
	layout  layout
	window  window
	version int64 // of the table, after the load
	reset   bool  // whether that is a new one
	full    bool  // whether the method is FULL_TABLE
	late    time.Duration
	why     string // all rows are read although there is a bookmark
	undone  *int64 // the source has gone back: rows with a greater _sdc_sequence that it does not have are undone
	loose   bool   // whether the source does not see to it that the key identifies a row

	// Columns that were added at the source. Rows before the window may hold
	// values in them; unless they hold none, all rows are needed.
	doubtful []column
}

// deletes reports whether rows go from the destination that are gone at the
// source. INCREMENTAL keeps them, also when all rows are read again: they may
// have been purged there, or the source be an upgraded one. Under a new version
// they are those of an older one. But rows without a key that changed can only
// be told from new ones by comparing all, and so can rows under another key.
func (s step) deletes() bool {
	return s.window.since == nil && (s.full || s.layout.rekey || len(s.layout.key) == 0)
}

// nextStep decides how to go on with a table, from what the source has and the
// destination holds of it. identity tells which database the source is, and late
// is how late a row may be committed.
func nextStep(s Selection, source *extraction, identity string, target postgres.TableName, there known, late time.Duration) (step, error) {
	next := step{version: there.now.UnixMilli(), reset: true, full: s.Method == FullTable, late: late}
	// Of a table that others inherit from, the primary key says nothing of their rows.
	next.loose = !source.table.Kind.HasKeys() || source.table.Kind == postgres.OrdinaryTable && len(source.heap.leaves) > 1
	columns := s.extracted(source.table, there.types, source.version, there.version, source.money)
	var loaded []string
	if there.loaded != nil {
		loaded = there.loaded.Columns
	}
	var err error
	if next.layout, err = layOut(target, columns, s.keyColumns(source.table), there.table, loaded, there.viewed); err != nil {
		return step{}, err
	}
	next.layout.equals = there.equals
	next.window = window{table: source.table.Name, keyless: len(next.layout.key) == 0}
	for _, c := range next.layout.columns {
		if c.source.Name == s.ReplicationKey {
			next.window.key = c.asKey()
		}
	}
	l, b := there.loaded, there.bookmark
	if l == nil {
		return next, nil
	}
	next.version = max(next.version, l.TableVersion+1)
	next.layout.changes = append(next.layout.changes, sourceChanges(next.layout, *l, source)...)
	next.why = parted(*l, b, s, source.table, identity, next.window.key.sql)
	if next.why == "" && next.layout.keyReplaced(*l) {
		next.why = "the primary key is made of other columns of the same names"
	}
	if next.why == "" {
		next.why, next.undone = source.judged.why, source.judged.undoneSince(l.Position)
	}
	switch {
	case there.table == nil:
		next.why = "the table was gone from the destination"
		return next, nil
	case next.layout.rekey || next.why != "":
		return next, nil
	}
	next.version, next.reset = l.TableVersion, false
	next.why, next.doubtful = unseen(next.layout, *l, there.added)
	if next.why == "" {
		next.why = cmp.Or(there.older(), changedMeaning(l.Meaning, source.meaningOf(s)), rewrittenSince(b.Horizon, source.sight, late))
	}
	if next.why == "" {
		next.window.since = b.Bookmark
		next.window = next.window.look(b.Horizon, source.sight, late)
	}
	return next, nil
}

// extracted returns how the selected columns of a table are extracted, between
// servers of those major versions, which have those fractions of money.
func (s Selection) extracted(table postgres.Table, types postgres.TypeSet, source, destination int, money fractions) []column {
	var columns []column
	for _, selected := range s.selected(table) {
		c := columnOf(selected, types).asAmount(money)
		// PostgreSQL 17 has infinite intervals, which older ones would take for very long ones.
		c.text = c.text || source >= 17 && destination < 17 && isInterval(selected.Type)
		if destination < 15 {
			c.sql = plainNumeric(c.sql)
		}
		columns = append(columns, c)
	}
	return columns
}

// sourceChanges says what has changed at the source since the table was loaded
// that the layout does not tell: columns that are gone or have another name, and
// partitions that came or went.
func sourceChanges(l layout, b catalog.LoadedTable, source *extraction) []string {
	var changes []string
	for i, name := range b.Columns {
		if b.Attributes[i] == 0 || !slices.Contains(l.stale, name) {
			continue
		}
		now := slices.IndexFunc(l.columns, func(c column) bool { return int(c.source.Number) == b.Attributes[i] })
		switch {
		case now < 0:
			changes = append(changes, fmt.Sprintf("column %q is not replicated any more: it stays, and is null in rows that change", name))
		case l.columns[now].source.Name != name:
			changes = append(changes, fmt.Sprintf("column %q is called %q at the source now: its values are in that, and %q is null in rows that change",
				name, l.columns[now].source.Name, name))
		}
	}
	if b.SourceOID != source.table.OID {
		return changes
	}
	for i, leaf := range source.heap.leaves {
		if attached, known := b.SourceParts[leaf]; !known {
			changes = append(changes, fmt.Sprintf("partition %s was added", source.heap.names[i]))
		} else if attached != source.heap.parts[leaf] {
			changes = append(changes, fmt.Sprintf("partition %s was attached again", source.heap.names[i]))
		}
	}
	gone := 0
	for leaf := range b.SourceParts {
		if !slices.Contains(source.heap.leaves, leaf) {
			gone++
		}
	}
	if gone > 0 {
		changes = append(changes, fmt.Sprintf("partitions are gone: %d", gone))
	}
	return changes
}

// parted says why a bookmark does not apply, or not any more, or "". A table whose method
// or replication key has changed, or that was replaced by another, is replicated
// whole, under a new version.
func parted(l catalog.LoadedTable, b *catalog.Bookmark, s Selection, source postgres.Table, identity, keyType string) string {
	switch {
	case l.Source != identity && strings.HasPrefix(identity, startedPrefix):
		return "the source was started again, or is another one: the login may not call the functions that tell which cluster it is (pg_control_system, pg_control_checkpoint, pg_control_recovery)"
	case l.Source != identity:
		return "the source is another database than before"
	case l.SourceOID != source.OID:
		return "the table was replaced by another of its name"
	case b == nil:
		return "there is no bookmark any more"
	case b.Method != s.Method:
		return "the replication method was " + b.Method
	case b.ReplicationKey != s.ReplicationKey:
		return fmt.Sprintf("the replication key was %q", b.ReplicationKey)
	case !sameOrder(b.KeyType, keyType):
		return fmt.Sprintf("the replication key was of type %s, which orders rows otherwise", b.KeyType)
	}
	return ""
}

// keyReplaced reports whether a column of the key was dropped at the source and
// another one added under its name: nothing tells which rows are which.
func (l layout) keyReplaced(b catalog.LoadedTable) bool {
	return slices.ContainsFunc(l.columns, func(c column) bool {
		i := slices.Index(b.Columns, c.name)
		return i >= 0 && slices.Contains(l.key, c.name) && b.Attributes[i] != int(c.source.Number)
	})
}

// sameOrder reports whether keys of type from keep their order and their text
// as type to.
func sameOrder(from, to string) bool {
	integers := []string{"smallint", "integer", "bigint"}
	was, is := slices.Index(integers, from), slices.Index(integers, to)
	return from == to || was >= 0 && is >= was || widens(from, to)
}

// unseen says why rows that lie before the bookmark hold values that were never
// loaded, or "": of a column that was not selected then, that has another name
// now, that took the name of another, or that was dropped in the destination.
// Of columns that were added since, only the source can tell.
func unseen(l layout, b catalog.LoadedTable, added []string) (why string, doubtful []column) {
	for _, c := range l.columns {
		i := slices.Index(b.Columns, c.name)
		added := slices.Contains(added, c.name) || slices.ContainsFunc(l.add, func(a column) bool { return a.name == c.name })
		switch {
		case i >= 0 && !added && b.Attributes[i] == int(c.source.Number):
		case i >= 0:
			return fmt.Sprintf("column %q is another one than before", c.name), nil
		case c.name != c.source.Name && wasLoaded(b, c):
			// Its type changed: old values stay in the column of the old type.
			// Without a key, rows that were loaded could not be told from new ones.
			if len(l.key) == 0 {
				return fmt.Sprintf("column %q is of another type, and rows without a primary key can only be compared whole", c.source.Name), nil
			}
		case added && int(c.source.Number) > b.SourceColumns:
			doubtful = append(doubtful, c)
		default:
			return fmt.Sprintf("column %q was not loaded before", c.name), nil
		}
	}
	return "", doubtful
}

// rewrittenSince says why rows may be other ones than before where transactions are not asked
// who wrote them, or "".
func rewrittenSince(h catalog.Horizon, s sight, late time.Duration) string {
	if (late == 0 || s.snapshot == "") && movedSince(h, s) {
		return "the table was emptied by TRUNCATE, restored or rewritten at the source"
	}
	return ""
}

// wasLoaded reports whether the column that c comes from was loaded under its name.
func wasLoaded(b catalog.LoadedTable, c column) bool {
	i := slices.Index(b.Columns, c.source.Name)
	return i >= 0 && b.Attributes[i] == int(c.source.Number)
}

// attributes returns the attribute number of each column that was ever filled.
func (l layout) attributes() []int {
	numbers := make([]int, len(l.columns)+len(l.stale))
	for i, c := range l.columns {
		numbers[i] = int(c.source.Number)
	}
	return numbers
}

// lastColumn returns the greatest attribute number of a table.
func lastColumn(table postgres.Table) int {
	last := 0
	for _, c := range table.Columns {
		last = max(last, int(c.Number))
	}
	return last
}
