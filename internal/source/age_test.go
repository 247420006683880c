package source

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
)

func TestJudge(t *testing.T) {
	before := catalog.Position{LSN: 0x1_00000100, Timeline: 2, History: "1 0/500", Transaction: 1000, Started: "monday"}
	at := func(change func(*catalog.Position)) catalog.Position {
		now := before
		now.LSN, now.Transaction, now.Started = now.LSN+10, now.Transaction+10, "tuesday"
		change(&now)
		return now
	}
	for name, tt := range map[string]struct {
		now         catalog.Position
		kept, older bool
		want        string
		back        uint64
	}{
		"as it was":                   {before, false, false, "", 0},
		"went on":                     {at(func(p *catalog.Position) { p.Started = "monday" }), false, false, "", 0},
		"promoted":                    {at(func(p *catalog.Position) { p.Started, p.Timeline, p.History = "monday", 3, "" }), false, false, "", 0},
		"shorter":                     {at(func(p *catalog.Position) { p.LSN = 0x1_000000FF }), true, false, "its WAL ends at 1/FF, but was at 1/100", 0x1_000000FF},
		"shorter, and not started":    {at(func(p *catalog.Position) { p.LSN, p.Started = 5, "monday" }), true, false, "its WAL ends at 0/5", 5},
		"started again":               {at(func(*catalog.Position) {}), true, false, "", 0},
		"started again, rows changed": {at(func(*catalog.Position) {}), false, false, "it could be an older copy", 0},
		"started again, rows older":   {at(func(*catalog.Position) {}), true, true, "a row that was read is in an earlier state again", 0},
		"started again, fewer ids":    {at(func(p *catalog.Position) { p.Transaction = 999 }), true, false, "it could be an older copy", 0},
		"started again, no rights":    {at(func(p *catalog.Position) { p.LSN = 0 }), true, false, "cannot call the functions", 0},
		"started again, no timeline":  {at(func(p *catalog.Position) { p.Timeline = 0 }), true, false, "cannot call the functions", 0},
		"history not readable before": {at(func(p *catalog.Position) { p.History = "" }), true, false, "", 0},
		"the same number":             {at(func(p *catalog.Position) { p.History = "1 0/400" }), true, false, "another timeline with the same number, 2", 0},
		"an earlier timeline":         {at(func(p *catalog.Position) { p.Timeline, p.History = 1, "" }), true, false, "timeline 1, and was on timeline 2", 0},
		"not readable":                {at(func(p *catalog.Position) { p.Timeline, p.History = 3, "" }), true, false, "pg_read_file", 0},
		"failed over":                 {at(func(p *catalog.Position) { p.Timeline, p.History = 3, "1 0/500,2 1/100" }), false, false, "", 0},
		"failed over twice":           {at(func(p *catalog.Position) { p.Timeline, p.History = 4, "1 0/500,2 1/100,3 1/101" }), false, true, "", 0},
		"restored":                    {at(func(p *catalog.Position) { p.Timeline, p.History = 3, "1 0/500,2 1/FF" }), true, false, "began at 1/FF", 0x1_000000FF},
		"restored, and shorter":       {at(func(p *catalog.Position) { p.LSN, p.Timeline, p.History = 0x1_000000F0, 3, "1 0/500,2 1/50" }), true, false, "its WAL ends at 1/F0", 0x1_00000050},
		"restored to a timeline ago":  {at(func(p *catalog.Position) { p.Timeline, p.History = 3, "1 0/400" }), true, false, "is not part of its history", 0},
		"of another timeline 2":       {at(func(p *catalog.Position) { p.Timeline, p.History = 3, "1 0/400,2 1/200" }), true, false, "is not part of its history", 0},
		"a history that says nothing": {at(func(p *catalog.Position) { p.Timeline, p.History = 3, "x" }), true, false, "is not part of its history", 0},
	} {
		got := Judge(before, tt.now, tt.kept, tt.older)
		if !strings.Contains(got.Why, tt.want) || (got.Why == "") != (tt.want == "") || got.Back != tt.back {
			t.Errorf("%s: %+v, want %q and %X", name, got, tt.want, tt.back)
		}
	}
	if got := Judge(catalog.Position{}, before, false, false); got.Why == "" {
		t.Error("where it was not known where the source was, it has gone on")
	}
}

func TestCompareRows(t *testing.T) {
	row := func(place string, transaction uint64) catalog.RememberedRow {
		return catalog.RememberedRow{Table: 1, File: 2, Place: place, Transaction: transaction}
	}
	before := []catalog.RememberedRow{row("(0,1)", 90), row("(0,2)", 100)}
	moved := row("(0,2)", 80)
	moved.File = 3
	for name, tt := range map[string]struct {
		now         []catalog.RememberedRow
		kept, older bool
	}{
		"as they were":        {before, true, false},
		"all gone":            {nil, false, false},
		"the last is gone":    {before[:1], false, false},
		"another is gone":     {before[1:], true, false},
		"the last is later":   {[]catalog.RememberedRow{before[0], row("(0,2)", 110)}, false, false},
		"the last is older":   {[]catalog.RememberedRow{before[0], row("(0,2)", 80)}, false, true},
		"another is older":    {[]catalog.RememberedRow{row("(0,1)", 80), before[1]}, true, true},
		"it is in other file": {[]catalog.RememberedRow{before[0], moved}, false, false},
	} {
		if kept, older := CompareRows(before, tt.now); kept != tt.kept || older != tt.older {
			t.Errorf("%s: %t, %t", name, kept, older)
		}
	}
	if got := fullTransaction(5, 1<<32+10); got != 1<<32+5 {
		t.Errorf("transaction 5 of the second epoch: %d", got)
	}
	if got := fullTransaction(1<<32-5, 1<<32+10); got != 1<<32-5 {
		t.Errorf("the transaction before the second epoch: %d", got)
	}
	if got := fullTransaction(2, 1<<32+10); got != 2 {
		t.Errorf("a frozen row: %d", got)
	}
}

func TestHistoryOf(t *testing.T) {
	got := historyOf("1\t0/3000060\tno recovery target specified\n\n# a comment\n2\t1/A000000\tbefore 2000-01-01 00:00:00+00\n")
	if want := "1 0/3000060,2 1/A000000"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if lsn, ok := parseLSN("1/A000000"); !ok || lsnText(lsn) != "1/A000000" {
		t.Errorf("%X, %t", lsn, ok)
	}
}
