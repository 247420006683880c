package report

import (
	"fmt"
	"slices"
	"strings"
)

// Grouped are texts about tables. Tables with the same text share one line. The zero value
// is empty.
type Grouped []group

type group struct {
	tables []string
	text   string
}

// Add adds a text about a table.
func (all *Grouped) Add(table, text string) {
	i := slices.IndexFunc(*all, func(g group) bool { return g.text == text })
	if i < 0 {
		i = len(*all)
		*all = append(*all, group{text: text})
	}
	(*all)[i].tables = append((*all)[i].tables, table)
}

// sortFirst puts the texts of a kind first.
func (all Grouped) sortFirst(kind func(text string) bool) {
	slices.SortStableFunc(all, func(a, b group) int {
		switch {
		case kind(a.text) == kind(b.text):
			return 0
		case kind(a.text):
			return -1
		}
		return 1
	})
}

// Tables returns the tables that have a text, sorted.
func (all Grouped) Tables() (tables []string) {
	for _, g := range all {
		tables = append(tables, g.tables...)
	}
	slices.Sort(tables)
	return slices.Compact(tables)
}

// Lines lists the texts: the first twenty, and how many more there are.
func (all Grouped) Lines() string {
	const shown = 20
	var lines []string
	for _, g := range all[:min(len(all), shown)] {
		lines = append(lines, "- "+FirstFive(g.tables)+": "+g.text)
	}
	if more := len(all) - shown; more > 0 {
		lines = append(lines, fmt.Sprintf("- and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// FirstFive names the first five tables, and how many more there are.
func FirstFive(tables []string) string {
	const shown = 5
	if more := len(tables) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(tables[:shown], ", "), more)
	}
	return strings.Join(tables, ", ")
}
