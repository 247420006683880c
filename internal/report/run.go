package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// A Message is a warning or an error, for people.
type Message struct{ Summary, Detail string }

// Warnings returns what a person should know about a run, apart from errors: one message for
// each kind. isKnown reports whether the previous run had the same note on a table: notes
// hold for run after run.
func Warnings(schemaName string, run syncrun.Run, isKnown func(table, note string) bool) (messages []Message) {
	var changes, notes, different Grouped
	for _, r := range run.Tables {
		for _, change := range r.Changes {
			changes.Add(r.SourceTable, change)
		}
		for _, note := range r.Notes {
			if !isKnown(r.SourceTable, note) {
				notes.Add(r.SourceTable, note)
			}
		}
		if strings.HasPrefix(r.Verification, "different") {
			different.Add(r.SourceTable, r.Verification)
		}
	}
	different.sortFirst(tablesync.MissesRows)
	// attribute is where the loading report has the texts.
	add := func(texts Grouped, summary, attribute string) {
		if len(texts) > 0 {
			messages = append(messages, Message{"Sync run of " + schemaName + " " + summary, texts.Lines() + "\n\nThe loading report has " + attribute + " of each table."})
		}
	}
	add(different, "found tables that differ from the source", "the verification")
	add(changes, "found tables whose structure has changed", "the changes")
	add(notes, "has notes on tables", "the notes")
	if own := notesOf(run); len(own) > 0 {
		messages = append(messages, Message{"Sync run of " + schemaName + " had problems", strings.Join(own, "\n\n")})
	}
	return messages
}

// notesOf returns the notes on the run itself. Several connections may have the same
// note, and a note that made tables fail is in their errors.
func notesOf(run syncrun.Run) []string {
	notes := slices.Compact(slices.Sorted(slices.Values(run.Notes)))
	return slices.DeleteFunc(notes, func(note string) bool {
		for _, r := range run.Tables {
			if strings.Contains(r.Error, note) {
				return true
			}
		}
		return false
	})
}

// Errors says why a run failed, and names the tables that failed: those with the same
// error in one message. where is a sentence that ends each message, or "".
func Errors(schemaName string, err error, where string) (messages []Message) {
	var failed *syncrun.TablesError
	if !errors.As(err, &failed) {
		return []Message{{"Cannot run replication " + schemaName, pgclient.Explain(err) + where}}
	}
	var texts Grouped
	for _, r := range failed.Reports {
		text := r.Error
		if r.RowsExtracted > 0 { // chunks of a large backlog
			text += fmt.Sprintf("\n\nBefore that, %s, up to the bookmark %s. These rows stay in the destination.", Rows(r.RowsExtracted, r.RowsLoaded), r.Bookmark)
		}
		texts.Add(r.SourceTable, text)
	}
	for _, g := range texts {
		m := Message{"Cannot replicate table " + g.tables[0], g.text}
		if n := len(g.tables); n > 1 {
			m = Message{fmt.Sprintf("Cannot replicate %d tables", n), FirstFive(g.tables) + ":\n" + g.text}
		}
		m.Detail += "\n\nThe tables that did not fail were replicated. Apply again to continue with those that failed." + where
		messages = append(messages, m)
	}
	return messages
}

// Where says where the loading report of a run is, with the query that reads it. It is ""
// for a run that the catalog has no record of.
func Where(destination pgclient.Endpoint, run syncrun.Run) string {
	if run.ID == "" {
		return ""
	}
	return fmt.Sprintf("\n\nThe loading report is in database %q of server %q:\n  SELECT * FROM _stitch.report WHERE run = '%s'",
		destination.Database, destination.Server.Name(), run.ID)
}

// Rows says how many rows a run moved.
func Rows(extracted, loaded int64) string {
	return fmt.Sprintf("%d rows were extracted and %d loaded", extracted, loaded)
}
