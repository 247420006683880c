package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// excluded is the one column that examples/quickstart does not replicate.
const excluded = "shop.orders.card_number"

// A report is what a run did with a table.
type report struct {
	TableName     string `json:"table_name"`
	Status        string `json:"status"`
	Method        string `json:"method"`
	RowsExtracted int64  `json:"rows_extracted"`
	RowsLoaded    int64  `json:"rows_loaded"`
	Bytes         int64  `json:"bytes"`
	Bookmark      string `json:"bookmark"`
	Duration      string `json:"duration"`
}

func (q *quickstart) compare(ctx context.Context) error {
	reports, err := q.reports(ctx)
	if err != nil {
		return err
	}
	return q.compareTables(ctx, reports)
}

// slack is how many rows may be read again because the previous run may not have seen them.
const slack = 100

// compareChanges also checks that the incremental tables moved what changed and no more.
func (q *quickstart) compareChanges(ctx context.Context) error {
	reports, err := q.reports(ctx)
	if err != nil {
		return err
	}
	var extracted, loaded int64
	for key, r := range reports {
		if r.Method != "INCREMENTAL" {
			continue
		}
		if r.RowsLoaded != q.changed[key] || r.RowsExtracted > q.changed[key]+slack {
			return fmt.Errorf("%s: %d rows have changed, but the run extracted %d and loaded %d", key, q.changed[key], r.RowsExtracted, r.RowsLoaded)
		}
		extracted += r.RowsExtracted
		loaded += r.RowsLoaded
	}
	fmt.Printf("  INCREMENTAL loaded exactly the %s rows that have changed. It extracted %s: it reads again the rows\n"+
		"  that the previous run may have missed, and writes only those that differ.\n"+
		"  FULL_TABLE extracts all rows, writes those that differ, and deletes those that no longer exist.\n",
		thousands(loaded), thousands(extracted))
	return q.compareTables(ctx, reports)
}

// reports prints the loading report and returns it, by table.
func (q *quickstart) reports(ctx context.Context) (map[string]report, error) {
	fmt.Println("  $ terraform output -json report    (as a table)")
	text, err := q.terraform.output(ctx, "report")
	if err != nil {
		return nil, err
	}
	var reports map[string]report
	if err := json.Unmarshal(text, &reports); err != nil {
		return nil, fmt.Errorf("read the loading report: %w\n%s", err, text)
	}
	table := [][]string{{"table", "method", "rows extracted", "rows loaded", "bytes", "time", "bookmark"}}
	for _, key := range slices.Sorted(maps.Keys(reports)) {
		r := reports[key]
		if r.Status != "succeeded" {
			return nil, fmt.Errorf("replicate %s: its status is %q", key, r.Status)
		}
		table = append(table, []string{key, r.Method, thousands(r.RowsExtracted), thousands(r.RowsLoaded), thousands(r.Bytes), r.Duration, r.Bookmark})
	}
	printTable(table, "llrrrrl")
	return reports, nil
}

func printTable(rows [][]string, align string) {
	widths := make([]int, len(align))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		line := " "
		for i, cell := range row {
			if align[i] == 'l' {
				line += fmt.Sprintf(" %-*s ", widths[i], cell)
			} else {
				line += fmt.Sprintf(" %*s ", widths[i], cell)
			}
		}
		fmt.Println(strings.TrimRight(line, " "))
	}
}

// compareTables fails unless each table holds the same rows on both sides.
func (q *quickstart) compareTables(ctx context.Context, reports map[string]report) error {
	fmt.Println("  EXCEPT ALL both ways between source and destination, over the text of every column:")
	var rows int64
	var lacking []string
	for _, key := range slices.Sorted(maps.Keys(reports)) {
		from, to, missing, err := q.sides(ctx, key, reports[key].TableName)
		if err != nil {
			return err
		}
		differences, err := sandbox.Differences(ctx, from, to, 5)
		if err != nil {
			return fmt.Errorf("compare %s: %w", key, err)
		}
		if len(differences) > 0 {
			return fmt.Errorf("%s differs (- only at the source, + only in the destination):\n%s", key, strings.Join(differences, "\n"))
		}
		n, err := count(ctx, to)
		if err != nil {
			return err
		}
		rows += n
		lacking = append(lacking, missing...)
	}
	if !slices.Equal(lacking, []string{excluded}) {
		return fmt.Errorf("the destination lacks the columns %q, but only %s is excluded", lacking, excluded)
	}
	fmt.Printf("  all %d tables are the same, %s rows. Absent from the destination, as configured: %s\n", len(reports), thousands(rows), excluded)
	return nil
}

// sides returns a table's rows on both sides, in all columns that both have, and the columns that
// the destination lacks.
func (q *quickstart) sides(ctx context.Context, key, tableName string) (from, to sandbox.Rows, missing []string, err error) {
	from = sandbox.Rows{Server: q.source, Database: sourceDatabase, Table: key}
	to = sandbox.Rows{Server: q.destination, Database: destinationDatabase, Table: destinationSchema + "." + tableName}
	all, err1 := columns(ctx, from)
	there, err2 := columns(ctx, to)
	for _, name := range all {
		if slices.Contains(there, name) {
			from.Columns = append(from.Columns, name)
		} else {
			missing = append(missing, key+"."+name)
		}
	}
	to.Columns = from.Columns
	return from, to, missing, errors.Join(err1, err2)
}

func columns(ctx context.Context, of sandbox.Rows) ([]string, error) {
	return texts(ctx, of.Server, of.Database, `
		SELECT attname::pg_catalog.text
		FROM pg_catalog.pg_attribute
		WHERE attrelid = $1::pg_catalog.text::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped
		ORDER BY attnum`, of.Table)
}

func count(ctx context.Context, of sandbox.Rows) (n int64, err error) {
	text, err := texts(ctx, of.Server, of.Database, "SELECT pg_catalog.count(*)::pg_catalog.text FROM "+of.Table)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text[0], 10, 64)
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
