package source

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// Rows get their keys before they are committed: from a sequence when it is read, from now()
// when the transaction begins, from an application at any time. So a row may be committed
// after a run with a key that the run has passed.
//
// Each row says which transaction wrote it (xmin), and a snapshot says which transactions a
// run could see. A later run therefore extracts, of the rows with a key within the
// late-commit window before the bookmark, those that the run before did not see. It finds
// them by the index on the key, and does not send what is already there.
//
// For keys that are times, arithmetic gives the start of the window; a bookmark in the future
// counts as the present. For others, the window starts at the bookmark of that long before
// the last run or, while no bookmark is that old, at the one of the first run. For numbers it
// starts some keys before that, because sequences with a cache, and applications, reserve
// keys in blocks.
//
// A transaction that was open while the first run read the table may have been given any
// earlier key: when it has ended, a run scans all keys once. A run also scans them when the
// table was emptied by TRUNCATE or rewritten, and may hold other rows. A transaction that was
// open during that run, or while a bookmark went back, may also have been given any key: the
// next run scans all keys again.

// pastBookmarksPerWindow is about how many earlier bookmarks the catalog keeps.
const pastBookmarksPerWindow = 24

// reservedKeys is how many keys before a bookmark may still be handed out, for keys that are
// numbers.
const reservedKeys = 10_000

// A SnapshotInfo says which rows a snapshot of the source sees.
type SnapshotInfo struct {
	Snapshot     string // txid_current_snapshot, or "" if rows do not tell their transaction
	clock        string // when it was taken
	timeline     int
	HiddenReason string // why rows do not tell their transaction, for people
	Files        map[uint32]uint32
	open         *OpenTransactions // nil if the run did not read them
}

// OpenTransactions is what a source had just before a snapshot.
type OpenTransactions struct {
	OID   uint32   // of the table whose greatest key was read; 0 if none was
	key   *string  // that key
	names []string // of the transactions that were open, except the session's own
}

// bounds reads the text of a snapshot, xmin:xmax:xip.
func bounds(snapshot string) (xmin, xmax uint64, ok bool) {
	parts := strings.SplitN(snapshot, ":", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	xmin, err := strconv.ParseUint(parts[0], 10, 64)
	xmax, err2 := strconv.ParseUint(parts[1], 10, 64)
	return xmin, xmax, err == nil && err2 == nil
}

// notVisibleIn is the condition for rows that a run with the snapshot since may not have
// seen. It is evaluated within the snapshot of s. It also holds for some rows that were seen:
// snapshots do not list the transactions of savepoints, so every transaction that is not
// older than the oldest one in progress counts as unseen.
func notVisibleIn(since string, timeline int, s SnapshotInfo) string {
	from, _, ok := bounds(since)
	_, now, ok2 := bounds(s.Snapshot)
	switch {
	case !ok || !ok2, timeline != s.timeline, now < from, now-from > math.MaxInt32:
		return "true" // transaction numbers started over, or so many have passed that numbers came again
	}
	return fmt.Sprintf("pg_catalog.age(xmin) <= (SELECT pg_catalog.age('%d'::pg_catalog.xid))", from&math.MaxUint32)
}

// IsTime reports whether keys of the column are times.
func IsTime(key Key) bool {
	switch relation.Base(key.Column.Type).Name {
	case "date", "timestamp", "timestamptz":
		return true
	}
	return false
}

// WithLateCommits returns the range with the rows that late commits may have added. rewritten
// reports whether the table is stored in another file than when its bookmark was set.
func (r KeyRange) WithLateCommits(h catalog.Horizon, s SnapshotInfo, late time.Duration) (_ KeyRange, rewritten bool) {
	if r.After == nil || late == 0 || s.Snapshot == "" {
		return r, false
	}
	bookmark := r.After.Bookmark
	u := uncommitted{condition: notVisibleIn(h.Snapshot, h.Timeline, s)}
	switch {
	case IsTime(r.Key):
		u.from = timeBefore(bookmark, h.Clock, r.Key.SQL, late)
	case ended(h, s):
		u.condition = notVisibleIn(h.OpenSnapshot, h.Timeline, s)
	default:
		u.from = beforeReserved(oldestWithin(h.PastBookmarks, bookmark, time.Unix(h.At, 0).Add(-late)), r.Key)
	}
	if rewritten = MovedSince(h, s); rewritten {
		u.from = ""
	}
	return r.withUncommitted(u), rewritten
}

// MovedSince reports whether the rows of a table, or of a partition, are stored in another
// file than before: it may have been emptied and filled again.
func MovedSince(h catalog.Horizon, s SnapshotInfo) bool {
	for table, file := range s.Files {
		if before, known := h.Files[table]; known && before != file {
			return true
		}
	}
	return false
}

// beforeReserved is the expression for the key before a number and all keys that may have
// been reserved with it, or for the key itself.
func beforeReserved(key string, of Key) string {
	name := relation.Base(of.Column.Type).Name
	if name == "numeric" {
		return fmt.Sprintf("(%s::numeric OPERATOR(pg_catalog.-) %d)", pgclient.Literal(key), reservedKeys)
	}
	least, ok := map[string]int64{"int2": math.MinInt16, "int4": math.MinInt32, "int8": math.MinInt64}[name]
	n, err := strconv.ParseInt(key, 10, 64)
	switch {
	case !ok || err != nil:
		return session.TypedLiteral(key, of.SQL)
	case n < least+reservedKeys:
		return session.TypedLiteral(strconv.FormatInt(least, 10), of.SQL)
	}
	return session.TypedLiteral(strconv.FormatInt(n-reservedKeys, 10), of.SQL)
}

// timeBefore is the expression for the time that is late before a bookmark or, if the
// bookmark is in the future, before the clock of the run that set it.
func timeBefore(bookmark, clock, sql string, late time.Duration) string {
	if strings.HasSuffix(bookmark, " BC") { // there may be no time before
		return session.TypedLiteral("-infinity", sql)
	}
	time := session.TypedLiteral(bookmark, sql)
	if clock != "" {
		time = fmt.Sprintf("least(%s, %s)", time, session.TypedLiteral(clock, sql))
	}
	return fmt.Sprintf("(%s OPERATOR(pg_catalog.-) '%d seconds'::interval)::%s", time, int64(late.Seconds()), sql)
}

// oldestWithin returns the newest bookmark that is at least as old as limit or, if none is,
// the oldest.
func oldestWithin(passed []catalog.PastBookmark, bookmark string, limit time.Time) string {
	begin := bookmark
	for i, p := range passed {
		if i == 0 || p.At <= limit.Unix() {
			begin = p.Bookmark
		}
	}
	return begin
}

// ended reports whether one of the transactions that were open when the table was read whole
// has ended since.
func ended(h catalog.Horizon, s SnapshotInfo) bool {
	return s.open != nil && len(stillOpen(h, s)) < len(h.Open)
}

// stillOpen returns those of the transactions that are still open. A transaction that was
// prepared since then may be any of them, under another name.
func stillOpen(h catalog.Horizon, s SnapshotInfo) []string {
	return slices.DeleteFunc(slices.Clone(h.Open), func(transaction string) bool {
		return !slices.Contains(s.open.names, transaction)
	})
}

// unknown stands for all the transactions that were open, if the run did not read which.
const unknown = "unknown"

// prepared begins the name of a transaction that was prepared to be committed.
const prepared = "prepared "

// A HorizonChange says what a run that set a bookmark has read.
type HorizonChange struct {
	Rows      KeyRange
	Rewritten bool // whether the table is stored in another file than before
	Back      bool // whether the bookmark goes back
}

// HorizonAfter returns the horizon of a run that has set a bookmark.
func HorizonAfter(h catalog.Horizon, c HorizonChange, s SnapshotInfo, bookmark *string, late time.Duration, now time.Time) catalog.Horizon {
	if bookmark == nil {
		return catalog.Horizon{}
	}
	if late == 0 || s.Snapshot == "" {
		return catalog.Horizon{Files: s.Files}
	}
	next := catalog.Horizon{Snapshot: s.Snapshot, At: now.Unix(), Clock: s.clock, Timeline: s.timeline, Files: s.Files}
	if IsTime(c.Rows.Key) {
		return next
	}
	switch {
	case c.Rows.After == nil:
		h = catalog.Horizon{}
	case c.Back: // those that were passed are after it
		h.PastBookmarks = nil
	}
	begins := h.Snapshot == "" || slices.Contains(h.Open, unknown)
	next.PastBookmarks = appendPastBookmark(h.PastBookmarks, catalog.PastBookmark{At: now.Unix(), Bookmark: *bookmark}, late)
	switch {
	case c.Back || c.Rewritten: // keys may have started over, and passed bookmarks do not bound them
		next.Open, next.OpenSnapshot = []string{unknown}, s.Snapshot
	case s.open == nil:
	case begins:
		next.Open, next.OpenSnapshot = s.open.names, s.Snapshot
	case len(h.Open) > 0:
		next.Open, next.OpenSnapshot = stillOpen(h, s), h.OpenSnapshot
		if ended(h, s) {
			next.OpenSnapshot = s.Snapshot
			next.Open = append(next.Open, preparedSince(h, s)...)
		}
	}
	if len(next.Open) == 0 || now.Unix()-next.PastBookmarks[0].At > int64(late.Seconds()) {
		next.Open, next.OpenSnapshot = nil, ""
	}
	return next
}

// preparedSince returns the prepared transactions that may be one of those that were open.
func preparedSince(h catalog.Horizon, s SnapshotInfo) []string {
	return slices.DeleteFunc(slices.Clone(s.open.names), func(transaction string) bool {
		return !strings.HasPrefix(transaction, prepared) || slices.Contains(h.Open, transaction)
	})
}

// appendPastBookmark adds a bookmark to those that were passed. It keeps one of those that are
// older than the window, and not all of the others.
func appendPastBookmark(past []catalog.PastBookmark, p catalog.PastBookmark, late time.Duration) []catalog.PastBookmark {
	seconds := int64(late.Seconds())
	past = slices.Clone(past)
	for len(past) > 1 && past[1].At <= p.At-seconds {
		past = past[1:]
	}
	if n := len(past); n > 0 && p.At-past[n-1].At < seconds/pastBookmarksPerWindow {
		return past
	}
	return append(past, p)
}
