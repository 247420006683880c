package source

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// The source may be older than a bookmark: restored to a point in time, replaced by a cold
// copy, or replaced by a standby that took over before it had received everything. Neither
// its system identifier nor its tables show that. So each commit records where the history of
// the source was, and a run compares that with where it is.
//
//   - A server that was not started since has gone on, even if it was promoted.
//   - A server whose WAL ends before what was read has gone back.
//   - On another timeline, the server's history file says where that timeline began, if the
//     login may read it.
//   - On the same timeline, a server that was started again may be a copy. It is not if one
//     of the rows that were read last is still where it was, written by the same transaction.
//
// All else is unknown. If history has gone back or that is unknown, the run reads all rows
// again.

// rememberedRows is how many of the rows with the greatest keys the catalog remembers.
const rememberedRows = 5

// A Judgement says what has become of the history of a source.
type Judgement struct {
	Why  string // all rows must be read again; "" if history has gone on
	Back uint64 // how far history went back at least, as an LSN; 0 if that is not known
}

// Judge compares where the history of a source was with where it is. kept reports whether
// remembered rows prove that it has gone on, and older whether they prove the contrary.
func Judge(before, now catalog.Position, kept, older bool) Judgement {
	switch {
	case before.LSN == 0 || now.LSN == 0:
	case now.LSN < before.LSN:
		back := now.LSN
		if at, ok := switchedAt(now.History, before); ok && now.Timeline > before.Timeline {
			back = min(back, at) // it may have written since
		}
		return Judgement{fmt.Sprintf("the source has gone back in time: its WAL ends at %s, but was at %s when the table was read. The source was restored, or another server has taken over",
			lsnText(now.LSN), lsnText(before.LSN)), back}
	}
	switch {
	case before.Started != "" && before.Started == now.Started:
		return Judgement{}
	case before.Timeline == 0 || now.Timeline == 0 || before.LSN == 0 || now.LSN == 0:
		return Judgement{Why: "the source was restarted, and the login cannot call the functions that return the WAL position: the source could have been restored"}
	case before.Timeline != now.Timeline:
		return judgeTimeline(before, now)
	case before.History != "" && now.History != "" && before.History != now.History:
		return Judgement{Why: fmt.Sprintf("the source is on another timeline with the same number, %d: it was restored, or another server has taken over", now.Timeline)}
	case older:
		return Judgement{Why: "the source has gone back in time: a row that was read is in an earlier state again. An older copy of the server was put in its place"}
	case now.Transaction < before.Transaction || !kept:
		return Judgement{Why: "the source was restarted, and no row that was read last is known to be unchanged: it could be an older copy of the server"}
	}
	return Judgement{}
}

// judgeTimeline is judge for a source that is on another timeline.
func judgeTimeline(before, now catalog.Position) Judgement {
	moved := fmt.Sprintf("the source is on timeline %d, and was on timeline %d", now.Timeline, before.Timeline)
	if now.Timeline < before.Timeline {
		return Judgement{Why: moved + ": it was restored, or another server has taken over"}
	}
	if now.History == "" {
		return Judgement{Why: moved + ": it was restored, or another server has taken over. The login cannot read where the new timeline began. " +
			"Grant it EXECUTE on pg_catalog.pg_read_file(text): then runs can distinguish a fail-over that lost nothing from one that lost rows"}
	}
	at, ok := switchedAt(now.History, before)
	switch {
	case !ok:
		return Judgement{Why: moved + ", which is not part of its history: it was restored, or another server has taken over"}
	case at < before.LSN:
		return Judgement{fmt.Sprintf("%s. The new timeline began at %s, but the table was read at %s: the source has lost what was written between the two", moved, lsnText(at), lsnText(before.LSN)), at}
	}
	return Judgement{}
}

// switchedAt returns where a history left the timeline that a table was read on. It returns
// false if that timeline had come about otherwise.
func switchedAt(history string, before catalog.Position) (at uint64, ok bool) {
	own := before.History
	if own != "" {
		own += ","
	}
	rest, same := strings.CutPrefix(history, own)
	if !same {
		return 0, false
	}
	for entry := range strings.SplitSeq(rest, ",") { // more than one, if own could not be read
		timeline, lsn, _ := strings.Cut(entry, " ")
		if timeline == strconv.Itoa(before.Timeline) {
			return parseLSN(lsn)
		}
	}
	return 0, false
}

// historyOf reads a history file: for each timeline that was left, its number and where it
// was left, "1 0/3000060,2 0/5000000".
func historyOf(file string) string {
	var entries []string
	for line := range strings.Lines(file) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && !strings.HasPrefix(fields[0], "#") {
			entries = append(entries, fields[0]+" "+fields[1])
		}
	}
	return strings.Join(entries, ",")
}

func parseLSN(text string) (uint64, bool) {
	high, low, ok := strings.Cut(text, "/")
	h, err := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	return h<<32 | l, ok && err == nil && err2 == nil
}

func lsnText(lsn uint64) string { return fmt.Sprintf("%X/%X", lsn>>32, lsn&math.MaxUint32) }

// fullTransaction returns a transaction number with its epoch, for a transaction that began
// before next. Numbers below 3 are not transactions.
func fullTransaction(xid uint32, next uint64) uint64 {
	if xid < 3 {
		return uint64(xid)
	}
	return next - uint64(uint32(next)-xid)
}

// NeedsRows reports whether Judge needs the remembered rows.
func NeedsRows(before, now catalog.Position) bool {
	return before.Started != now.Started && before.Timeline == now.Timeline && now.LSN >= before.LSN && len(before.Rows) > 0
}

// CompareRows compares remembered rows with the rows that are now in their places, and
// reports whether history has gone on or back. It has gone on if the row that was written
// last is there. Rows of tables that were rewritten since then show nothing.
func CompareRows(before, now []catalog.RememberedRow) (kept, older bool) {
	var last uint64
	for _, b := range before {
		i := slices.IndexFunc(now, func(n catalog.RememberedRow) bool {
			return n.Table == b.Table && n.File == b.File && n.Place == b.Place
		})
		same := i >= 0 && now[i].Transaction == b.Transaction
		older = older || i >= 0 && now[i].Transaction < b.Transaction
		switch {
		case b.Transaction > last:
			last, kept = b.Transaction, same
		case b.Transaction == last:
			kept = kept || same
		}
	}
	return kept, older
}

// RowsToRemember returns the rows to remember: those with the greatest keys now and, if they
// are few, some of the earlier ones.
func RowsToRemember(now, before []catalog.RememberedRow) []catalog.RememberedRow {
	rows := slices.Clone(now)
	for _, b := range before {
		if !slices.ContainsFunc(rows, func(r catalog.RememberedRow) bool { return r.Table == b.Table && r.Place == b.Place }) {
			rows = append(rows, b)
		}
	}
	return rows[:min(len(rows), rememberedRows)]
}

// rememberedCommits is how many of the commits of a table the catalog remembers.
const rememberedCommits = 48

// AppendCommit adds a commit to the remembered ones. It keeps fewer of the older ones.
func AppendCommit(commits []catalog.Commit, c catalog.Commit) []catalog.Commit {
	if n := len(commits); n > 0 && commits[n-1].LSN == c.LSN { // nothing was written since
		commits = commits[:n-1]
	}
	commits = append(slices.Clone(commits), c)
	if len(commits) <= rememberedCommits {
		return commits
	}
	n := 0
	return slices.DeleteFunc(commits, func(catalog.Commit) bool {
		n++
		return n < rememberedCommits/2 && n%2 == 0
	})
}

// CommitsUntil returns those of the commits that loaded what the source was up to an LSN.
func CommitsUntil(commits []catalog.Commit, lsn uint64) []catalog.Commit {
	n := 0
	for n < len(commits) && commits[n].LSN <= lsn {
		n++
	}
	return commits[:n]
}

// UndoneSince returns the greatest _sdc_sequence of rows that the source had at the point
// that its history went back to. Later rows may have been undone. It returns nil if that
// point is not known.
func (j Judgement) UndoneSince(before catalog.Position) *int64 {
	if j.Back == 0 {
		return nil
	}
	var sequence int64
	for _, c := range CommitsUntil(before.Commits, j.Back) {
		sequence = c.Sequence
	}
	return &sequence
}

// RowsAt reads which rows are now in the places of others.
func (s *Snapshot) RowsAt(ctx context.Context, rows []catalog.RememberedRow) ([]catalog.RememberedRow, error) {
	places := make([]string, len(rows))
	for i, r := range rows {
		places[i] = pgclient.Literal(r.Place)
	}
	found, _ := s.Tx.Query(ctx, fmt.Sprintf("SELECT tableoid, ctid::pg_catalog.text, xmin::pg_catalog.text FROM %s WHERE ctid = ANY (ARRAY[%s]::pg_catalog.tid[])",
		s.Facts.Table.Name.SQL(), strings.Join(places, ", ")), session.Unprepared)
	return s.collectRows(found)
}

func (s *Snapshot) collectRows(rows pgx.Rows) ([]catalog.RememberedRow, error) {
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r catalog.RememberedRow, err error) {
		var writer string
		if err := row.Scan(&r.Table, &r.Place, &writer); err != nil {
			return r, err
		}
		return s.Facts.withTransaction(r, writer)
	})
	if err != nil {
		return nil, fmt.Errorf("check the rows of %s that were read before: %w", s.Facts.Table.Name, err)
	}
	return found, nil
}

// withTransaction completes a row with the transaction that wrote it.
func (f Facts) withTransaction(r catalog.RememberedRow, writer string) (catalog.RememberedRow, error) {
	xid, err := strconv.ParseUint(writer, 10, 32)
	r.File, r.Transaction = f.Storage.Files[r.Table], fullTransaction(uint32(xid), f.Position.Transaction)
	return r, err
}

// positionSQL reads how much of the WAL survives a crash: the rows that are read were
// committed before that point, unless they were committed asynchronously.
const positionSQL = `
	SELECT coalesce(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END::pg_catalog.text, '')`

// queuePosition reads, by a batch, where the history of the source is.
func (s Session) queuePosition(batch *pgx.Batch, position *catalog.Position) {
	id := s.Identity
	*position = catalog.Position{Timeline: id.timeline, History: id.history, Started: id.Started}
	if !id.tellsWAL {
		return
	}
	batch.Queue(positionSQL).QueryRow(func(row pgx.Row) error {
		var lsn string
		err := row.Scan(&lsn)
		position.LSN, _ = parseLSN(lsn)
		return err
	})
}
