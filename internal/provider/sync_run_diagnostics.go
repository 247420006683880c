package provider

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
)

// remarks are what is to be said of tables. That of 300 has to be readable: what
// is the same for many is said once.
type remarks []remark

type remark struct {
	tables []string
	text   string
}

func (all *remarks) add(table, text string) {
	i := slices.IndexFunc(*all, func(r remark) bool { return r.text == text })
	if i < 0 {
		i = len(*all)
		*all = append(*all, remark{text: text})
	}
	(*all)[i].tables = append((*all)[i].tables, table)
}

// sortFirst puts those remarks first whose text is of a kind.
func (all remarks) sortFirst(kind func(text string) bool) {
	slices.SortStableFunc(all, func(a, b remark) int {
		switch {
		case kind(a.text) == kind(b.text):
			return 0
		case kind(a.text):
			return -1
		}
		return 1
	})
}

// some lists the tables, but not too many.
func (r remark) some() string {
	const shown = 5
	if more := len(r.tables) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(r.tables[:shown], ", "), more)
	}
	return strings.Join(r.tables, ", ")
}

// tables returns all that the remarks are about.
func (all remarks) tables() (tables []string) {
	for _, r := range all {
		tables = append(tables, r.tables...)
	}
	slices.Sort(tables)
	return slices.Compact(tables)
}

// lines lists the remarks, but not too many.
func (all remarks) lines() string {
	const shown = 20
	var lines []string
	for _, r := range all[:min(len(all), shown)] {
		lines = append(lines, "- "+r.some()+": "+r.text)
	}
	if more := len(all) - shown; more > 0 {
		lines = append(lines, fmt.Sprintf("- and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// warning is one for all remarks, or none if there are none. attribute is where
// the loading report has them.
func (all remarks) warning(summary, attribute string) (diags diag.Diagnostics) {
	if len(all) > 0 {
		diags.AddWarning(summary, all.lines()+"\n\nThe loading report has "+attribute+" of each table.")
	}
	return diags
}

// warnOf says what is to be known of a run beside errors, in one warning of each
// kind. Notes hold for run after run, so only those are told that the run before
// did not have; before are its notes, by table.
func warnOf(schemaName string, run replication.Run, before map[string][]string) (diags diag.Diagnostics) {
	var changes, notes, different remarks
	for _, report := range run.Tables {
		for _, change := range report.Changes {
			changes.add(report.SourceTable, change)
		}
		for _, note := range report.Notes {
			if !slices.Contains(before[asValue(report.SourceTable)], asValue(note)) {
				notes.add(report.SourceTable, note)
			}
		}
		if strings.HasPrefix(report.Verification, "different") {
			different.add(report.SourceTable, report.Verification)
		}
	}
	summary := "Sync run of " + schemaName
	different.sortFirst(replication.MissesRows)
	diags.Append(different.warning(summary+" verified tables, and they differ", "the verification")...)
	diags.Append(changes.warning(summary+" found tables with another structure", "the changes")...)
	diags.Append(notes.warning(summary+" has notes on tables", "the notes")...)
	if own := notesOf(run); len(own) > 0 {
		diags.AddWarning(summary+" had problems", strings.Join(own, "\n\n"))
	}
	return diags
}

// notesOf returns the notes of the run itself. Several connections may note the
// same, and what made tables fail is an error.
func notesOf(run replication.Run) []string {
	notes := slices.Compact(slices.Sorted(slices.Values(run.Notes)))
	return slices.DeleteFunc(notes, func(note string) bool {
		for _, report := range run.Tables {
			if strings.Contains(report.Error, note) {
				return true
			}
		}
		return false
	})
}

// diagnoseRun names the tables that failed, those with the same error together, and
// where the report is.
func diagnoseRun(schemaName string, err error, where string) (diags diag.Diagnostics) {
	var failed *replication.TablesError
	if !errors.As(err, &failed) {
		diags.AddError("Cannot run replication "+schemaName, pgclient.Explain(err)+where)
		return diags
	}
	var errs remarks
	for _, report := range failed.Reports {
		text := report.Error
		if report.RowsExtracted > 0 { // pieces of a large backlog
			text += fmt.Sprintf("\n\nBefore that, %s, up to the bookmark %s. They stay.", moved(report.RowsExtracted, report.RowsLoaded), report.Bookmark)
		}
		errs.add(report.SourceTable, text)
	}
	for _, r := range errs {
		summary, text := "Cannot replicate table "+r.tables[0], r.text
		if n := len(r.tables); n > 1 {
			summary, text = fmt.Sprintf("Cannot replicate %d tables", n), r.some()+":\n"+text
		}
		diags.AddError(summary, text+"\n\nThe tables that did not fail are replicated. Apply again to go on with the rest."+where)
	}
	return diags
}

// whereReported says where the report of a run is, for a first one that failed leaves
// no state.
func whereReported(destination pgclient.Endpoint, run replication.Run) string {
	if run.ID == "" {
		return ""
	}
	return fmt.Sprintf("\n\nThe loading report is in database %q of server %q:\n  SELECT * FROM _stitch.report WHERE run = '%s'",
		destination.Database, destination.Server.Name(), run.ID)
}

func moved(extracted, loaded int64) string {
	return fmt.Sprintf("%d rows were extracted and %d loaded", extracted, loaded)
}
