package tablesync

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// sourceChanges says what has changed at the source since the table was loaded that the
// layout does not show: columns that are gone or have another name, and partitions that were
// attached or detached.
func sourceChanges(l destination.Layout, b catalog.LoadedTable, s source.Facts) []string {
	var changes []string
	for i, name := range b.Columns {
		if b.Attributes[i] == 0 || !slices.Contains(l.Retired, name) {
			continue
		}
		now := slices.IndexFunc(l.Columns, func(c destination.Column) bool { return int(c.Source.Number) == b.Attributes[i] })
		switch {
		case now < 0:
			changes = append(changes, fmt.Sprintf("column %q is no longer replicated: it stays in the destination, and is null in rows that change", name))
		case l.Columns[now].Source.Name != name:
			changes = append(changes, fmt.Sprintf("column %q was renamed to %q at the source: its values are now loaded into that column, and %q is null in rows that change",
				name, l.Columns[now].Source.Name, name))
		}
	}
	if b.SourceOID != s.Table.OID {
		return changes
	}
	for i, leaf := range s.Storage.Leaves {
		if attached, known := b.SourcePartitions[leaf]; !known {
			changes = append(changes, fmt.Sprintf("partition %s was added", s.Storage.Names[i]))
		} else if attached != s.Storage.Attached[leaf] {
			changes = append(changes, fmt.Sprintf("partition %s was attached again", s.Storage.Names[i]))
		}
	}
	gone := 0
	for leaf := range b.SourcePartitions {
		if !slices.Contains(s.Storage.Leaves, leaf) {
			gone++
		}
	}
	if gone > 0 {
		changes = append(changes, fmt.Sprintf("partitions are gone: %d", gone))
	}
	return changes
}

// bookmarkInvalidReason says why a bookmark does not apply, or no longer applies, or "". A
// table whose method or replication key has changed, or that another table has replaced, is
// replicated whole, under a new version.
func bookmarkInvalidReason(l catalog.LoadedTable, b *catalog.Bookmark, s definition.Selection, from relation.Table, identity, keyType string) string {
	switch {
	case l.Source != identity && strings.HasPrefix(identity, source.StartedPrefix):
		return "the source was restarted or replaced: the login is not allowed to call the functions that identify the cluster (pg_control_system, pg_control_checkpoint, pg_control_recovery)"
	case l.Source != identity:
		return "the source is not the same database as before"
	case l.SourceOID != from.OID:
		return "the table was replaced by another table of the same name"
	case b == nil:
		return "the bookmark was deleted"
	case b.Method != s.Method:
		return "the replication method has changed: it was " + b.Method
	case b.ReplicationKey != s.ReplicationKey:
		return fmt.Sprintf("the replication key has changed: it was %q", b.ReplicationKey)
	case !sameOrder(b.KeyType, keyType):
		return fmt.Sprintf("the type of the replication key has changed: it was %s, which orders rows differently", b.KeyType)
	}
	return ""
}

// keyReplaced reports whether a column of the key was dropped at the source and another one
// added under its name: nothing tells which rows correspond.
func keyReplaced(l destination.Layout, b catalog.LoadedTable) bool {
	return slices.ContainsFunc(l.Columns, func(c destination.Column) bool {
		i := slices.Index(b.Columns, c.Name)
		return i >= 0 && slices.Contains(l.Key, c.Name) && b.Attributes[i] != int(c.Source.Number)
	})
}

// sameOrder reports whether keys keep their order and their text when their type changes from
// from to to.
func sameOrder(from, to string) bool {
	integers := []string{"smallint", "integer", "bigint"}
	was, is := slices.Index(integers, from), slices.Index(integers, to)
	return from == to || was >= 0 && is >= was || destination.Widens(from, to)
}

// neverLoaded says why rows before the bookmark hold values that were never loaded, or "".
// They are values of a column that was not selected then, that has another name now, that
// took the name of another, or that was dropped in the destination. For columns that were
// added since then, only the source can say.
func neverLoaded(l destination.Layout, b catalog.LoadedTable, added []string) (why string, unverified []destination.Column) {
	for _, c := range l.Columns {
		i := slices.Index(b.Columns, c.Name)
		added := slices.Contains(added, c.Name) || slices.ContainsFunc(l.Add, func(a destination.Column) bool { return a.Name == c.Name })
		switch {
		case i >= 0 && !added && b.Attributes[i] == int(c.Source.Number):
		case i >= 0 && b.Attributes[i] == int(c.Source.Number):
			return fmt.Sprintf("column %q was missing in the destination", c.Name), nil
		case i >= 0:
			return fmt.Sprintf("column %q was replaced by another column of the same name", c.Name), nil
		case c.Name != c.Source.Name && wasLoaded(b, c):
			// Its type changed: old values stay in the column of the old type. Without a key,
			// nothing would tell loaded rows from new ones.
			if len(l.Key) == 0 {
				return fmt.Sprintf("the type of column %q has changed, and rows without a primary key can only be compared as a whole", c.Source.Name), nil
			}
		case added && int(c.Source.Number) > b.SourceColumns:
			unverified = append(unverified, c)
		default:
			return fmt.Sprintf("column %q was not loaded before", c.Name), nil
		}
	}
	return "", unverified
}

// rewrittenSince says why rows may have changed, where the run does not ask which
// transactions wrote them, or "".
func rewrittenSince(h catalog.Horizon, s source.SnapshotInfo, late time.Duration) string {
	if (late == 0 || s.Snapshot == "") && source.MovedSince(h, s) {
		return "the table was emptied by TRUNCATE, restored or rewritten at the source"
	}
	return ""
}

// wasLoaded reports whether the source column of c was loaded under its name.
func wasLoaded(b catalog.LoadedTable, c destination.Column) bool {
	i := slices.Index(b.Columns, c.Source.Name)
	return i >= 0 && b.Attributes[i] == int(c.Source.Number)
}

// lastColumn returns the greatest attribute number of a table.
func lastColumn(table relation.Table) int {
	last := 0
	for _, c := range table.Columns {
		last = max(last, int(c.Number))
	}
	return last
}
