package replication

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// sourceChanges says what has changed at the source since the table was loaded that the
// layout does not show: columns that are gone or have another name, and partitions that were
// attached or detached.
func sourceChanges(l layout, b catalog.LoadedTable, source sourceFacts) []string {
	var changes []string
	for i, name := range b.Columns {
		if b.Attributes[i] == 0 || !slices.Contains(l.retired, name) {
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
	for i, leaf := range source.storage.leaves {
		if attached, known := b.SourceParts[leaf]; !known {
			changes = append(changes, fmt.Sprintf("partition %s was added", source.storage.names[i]))
		} else if attached != source.storage.attached[leaf] {
			changes = append(changes, fmt.Sprintf("partition %s was attached again", source.storage.names[i]))
		}
	}
	gone := 0
	for leaf := range b.SourceParts {
		if !slices.Contains(source.storage.leaves, leaf) {
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
func bookmarkInvalidReason(l catalog.LoadedTable, b *catalog.Bookmark, s Selection, source relation.Table, identity, keyType string) string {
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

// keyReplaced reports whether a column of the key was dropped at the source and another one
// added under its name: nothing tells which rows correspond.
func keyReplaced(l layout, b catalog.LoadedTable) bool {
	return slices.ContainsFunc(l.columns, func(c column) bool {
		i := slices.Index(b.Columns, c.name)
		return i >= 0 && slices.Contains(l.key, c.name) && b.Attributes[i] != int(c.source.Number)
	})
}

// sameOrder reports whether keys keep their order and their text when their type changes from
// from to to.
func sameOrder(from, to string) bool {
	integers := []string{"smallint", "integer", "bigint"}
	was, is := slices.Index(integers, from), slices.Index(integers, to)
	return from == to || was >= 0 && is >= was || widens(from, to)
}

// neverLoaded says why rows before the bookmark hold values that were never loaded, or "".
// They are values of a column that was not selected then, that has another name now, that
// took the name of another, or that was dropped in the destination. For columns that were
// added since then, only the source can say.
func neverLoaded(l layout, b catalog.LoadedTable, added []string) (why string, unverified []column) {
	for _, c := range l.columns {
		i := slices.Index(b.Columns, c.name)
		added := slices.Contains(added, c.name) || slices.ContainsFunc(l.add, func(a column) bool { return a.name == c.name })
		switch {
		case i >= 0 && !added && b.Attributes[i] == int(c.source.Number):
		case i >= 0:
			return fmt.Sprintf("column %q is another one than before", c.name), nil
		case c.name != c.source.Name && wasLoaded(b, c):
			// Its type changed: old values stay in the column of the old type. Without a key,
			// nothing would tell loaded rows from new ones.
			if len(l.key) == 0 {
				return fmt.Sprintf("column %q is of another type, and rows without a primary key can only be compared whole", c.source.Name), nil
			}
		case added && int(c.source.Number) > b.SourceColumns:
			unverified = append(unverified, c)
		default:
			return fmt.Sprintf("column %q was not loaded before", c.name), nil
		}
	}
	return "", unverified
}

// rewrittenSince says why rows may have changed, where the run does not ask which
// transactions wrote them, or "".
func rewrittenSince(h catalog.Horizon, s snapshotInfo, late time.Duration) string {
	if (late == 0 || s.snapshot == "") && movedSince(h, s) {
		return "the table was emptied by TRUNCATE, restored or rewritten at the source"
	}
	return ""
}

// wasLoaded reports whether the source column of c was loaded under its name.
func wasLoaded(b catalog.LoadedTable, c column) bool {
	i := slices.Index(b.Columns, c.source.Name)
	return i >= 0 && b.Attributes[i] == int(c.source.Number)
}

// lastColumn returns the greatest attribute number of a table.
func lastColumn(table relation.Table) int {
	last := 0
	for _, c := range table.Columns {
		last = max(last, int(c.Number))
	}
	return last
}
