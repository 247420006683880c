package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
)

// reportsOf returns n reports that the function completes.
func reportsOf(n int, complete func(i int, r *catalog.Report)) []catalog.Report {
	reports := make([]catalog.Report, n)
	for i := range reports {
		reports[i].SourceTable = fmt.Sprintf("public.t%03d", i)
		complete(i, &reports[i])
	}
	return reports
}

// wantMessages compares messages with what each must contain.
func wantMessages(t *testing.T, got []Message, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d: %v", len(got), len(want), got)
		return
	}
	for i, m := range got {
		if text := m.Summary + "\n" + m.Detail; !strings.Contains(text, want[i]) {
			t.Errorf("got %q, want %q", text, want[i])
		}
	}
}

// However many tables there are, there is one short warning of each kind.
func TestWarnings(t *testing.T) {
	run := syncrun.Run{
		Tables: reportsOf(300, func(i int, r *catalog.Report) {
			r.Changes = []string{`column "tenant" of type uuid was added`}
			r.Notes = []string{"the source is a standby"}
			r.Verification = "the same by count: 5 rows"
			if i >= 200 {
				r.Verification = fmt.Sprintf("different by count: the source has %d rows, the destination 1000 rows", i)
			}
		}),
		Notes: []string{"a connection broke", "a connection broke", "the disk is full"},
	}
	run.Tables[299].Verification = "different by count: rows of the source that are missing in the destination, because they came late: 44"
	run.Tables[7].Notes = append(run.Tables[7].Notes, "rows are transferred as text")
	run.Tables[8].Error = "write: the disk is full"
	messages := Warnings("shop", run, func(string, string) bool { return false })
	const five = "public.t000, public.t001, public.t002, public.t003, public.t004 and 295 more: "
	wantMessages(t, messages,
		"Sync run of shop found tables that differ from the source\n- public.t299: different by count: rows of the source that are missing in the destination, because they came late: 44\n"+
			"- public.t200: different by count: the source has 200 rows, the destination 1000 rows\n",
		"Sync run of shop found tables whose structure has changed\n- "+five+"column \"tenant\" of type uuid was added\n\n",
		"Sync run of shop has notes on tables\n- "+five+"the source is a standby\n- public.t007: rows are transferred as text\n\n",
		"Sync run of shop had problems\na connection broke",
	)
	if detail := messages[3].Detail; detail != "a connection broke" {
		t.Errorf("the notes of the run: %q", detail)
	}

	// The notes of the previous run are known.
	isKnown := func(_, note string) bool { return note == "the source is a standby" }
	run = syncrun.Run{Tables: reportsOf(300, func(_ int, r *catalog.Report) { r.Notes = []string{"the source is a standby"} })}
	wantMessages(t, Warnings("shop", run, isKnown))
	run.Tables[7].Notes = append(run.Tables[7].Notes, "rows are transferred as text")
	wantMessages(t, Warnings("shop", run, isKnown), "Sync run of shop has notes on tables\n- public.t007: rows are transferred as text\n\n")
}

// Tables with the same error are named together, and the error of a table says what was
// committed of it.
func TestErrors(t *testing.T) {
	failed := &syncrun.TablesError{Reports: reportsOf(300, func(i int, r *catalog.Report) {
		switch i {
		case 0:
			r.Error = "permission denied"
		case 1:
			r.Error, r.RowsExtracted, r.RowsLoaded, r.Bookmark = "the connection broke", 2000000, 1999990, "42"
		default:
			r.Error = "the connection broke"
		}
	})}
	wantMessages(t, Errors("shop", fmt.Errorf("run: %w", failed), ""),
		"Cannot replicate table public.t000\npermission denied\n\nThe tables",
		"Cannot replicate table public.t001\nthe connection broke\n\nBefore that, 2000000 rows were extracted and 1999990 loaded, up to the bookmark 42. These rows stay in the destination.",
		"Cannot replicate 298 tables\npublic.t002, public.t003, public.t004, public.t005, public.t006 and 293 more:\nthe connection broke\n\nThe tables",
	)
}
