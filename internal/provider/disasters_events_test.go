package provider

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A disaster happens between two applies. A disaster that takes the source back to an earlier
// moment returns the state of that moment.
type disaster struct {
	name   string
	since  int // major version of the source
	strike func(t *testing.T, d *disasterTest) *past
}

// disasters has all disasters except the death of an apply of fifty resources.
var disasters = []disaster{
	{"source: moved as it was", 0, func(t *testing.T, d *disasterTest) *past {
		d.moveTo(t, d.copyOf(t, d.source.CopyData(t)))
		d.maybeChange(t)
		return nil
	}},
	{"source: fail-over", 12, func(t *testing.T, d *disasterTest) *past {
		standby := d.standby(t, d.source.Port)
		d.live(t)
		standby.Follow(t, d.source)
		d.moveTo(t, standby)
		standby.Promote(t)
		d.goOn(t)
		return nil
	}},
	{"source: fail-over that loses the end", 12, func(t *testing.T, d *disasterTest) *past {
		proxy := sandbox.StartProxy(t, fmt.Sprintf("127.0.0.1:%d", d.source.Port))
		standby := d.standby(t, proxy.Port)
		d.live(t)
		standby.Follow(t, d.source)
		proxy.Refuse()
		back := d.now(t)
		d.live(t)
		d.moveTo(t, standby)
		standby.Promote(t)
		back.vague = d.goOn(t) && !d.grants
		return &back
	}},
	{"source: point-in-time restore", 12, func(t *testing.T, d *disasterTest) *past {
		backup := d.source.CopyData(t)
		d.live(t)
		d.source.Query(t, "postgres", `SELECT pg_create_restore_point('here')`)
		back := d.now(t)
		d.live(t)
		d.moveTo(t, d.restored(t, backup))
		back.vague = d.goOn(t) && !d.grants
		return &back
	}},
	{"source: cold copy put back", 0, func(t *testing.T, d *disasterTest) *past {
		copied, back := d.source.CopyData(t), d.now(t)
		d.live(t)
		d.moveTo(t, d.copyOf(t, copied))
		return &back
	}},
	{"source: cold copy put back and written to", 0, func(t *testing.T, d *disasterTest) *past {
		copied, back := d.source.CopyData(t), d.now(t)
		d.live(t)
		d.moveTo(t, d.copyOf(t, copied))
		d.change(t)
		d.goOn(t)
		back.vague = true
		return &back
	}},
	{"destination: table truncated", 0, func(t *testing.T, d *disasterTest) *past {
		d.live(t)
		d.atDestination(t, "TRUNCATE shop."+d.anyTable())
		d.maybeChange(t)
		return nil
	}},
	{"destination: table restored", 0, func(t *testing.T, d *disasterTest) *past {
		table := d.anyTable()
		d.dump(t, table)
		d.live(t)
		d.atDestination(t, d.recreateSQL(table)+fmt.Sprintf("INSERT INTO shop.%[1]s TABLE aside.%[1]s", table))
		d.maybeChange(t)
		return nil
	}},
	{"destination: rows of a table restored", 0, func(t *testing.T, d *disasterTest) *past {
		table := d.anyTable()
		d.dump(t, table)
		d.live(t)
		d.atDestination(t, fmt.Sprintf("TRUNCATE shop.%[1]s; INSERT INTO shop.%[1]s TABLE aside.%[1]s", table))
		d.maybeChange(t)
		return nil
	}},
	{"destination: table dropped and created again", 0, func(t *testing.T, d *disasterTest) *past {
		table := d.anyTable()
		d.dump(t, table)
		d.live(t)
		d.atDestination(t, d.recreateSQL(table))
		d.maybeChange(t)
		return nil
	}},
	{"kill -9 of an apply that loads", 0, func(t *testing.T, d *disasterTest) *past {
		for range 3 {
			d.change(t)
		}
		d.interrupt(t)
		d.maybeChange(t)
		return nil
	}},
}

// play makes each disaster happen, in a random order.
func (d *disasterTest) play(t *testing.T, table *disasterTable) {
	for _, i := range d.random.Perm(len(disasters)) {
		disaster := disasters[i]
		if d.source.Major < disaster.since {
			continue
		}
		back := disaster.strike(t, d)
		before := d.loadedRows(t)
		d.apply(t)
		wrong := d.compare(t, disaster.name, before, back)
		reasons := d.reasons(t)
		t.Logf("%s: the apply took %v, %d rows differ, %q", disaster.name, d.took.Round(time.Millisecond), wrong, reasons)
		table.add(disaster.name, reasons, wrong, d.took)
	}
	if output, code := d.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("the plan afterwards is not empty:\n%s", output)
	}
}

// anyTable returns one of the loaded tables.
func (d *disasterTest) anyTable() string { return d.tables[d.random.IntN(len(d.tables))] }

// maybeChange may change the source before the next apply.
func (d *disasterTest) maybeChange(t *testing.T) {
	t.Helper()
	if d.random.IntN(2) == 0 {
		d.change(t)
	}
}

// goOn changes a source that may have lost what it had written, so that its WAL ends before or
// after what was lost. It reports whether it did.
func (d *disasterTest) goOn(t *testing.T) bool {
	t.Helper()
	times := d.random.IntN(5)
	for range times {
		d.change(t)
	}
	return times > 0
}

func (d *disasterTest) atDestination(t *testing.T, sql string) {
	t.Helper()
	d.destination.Exec(t, d.database, sql)
}

// dump keeps the contents of a table of the destination.
func (d *disasterTest) dump(t *testing.T, table string) {
	t.Helper()
	d.atDestination(t, fmt.Sprintf(`CREATE SCHEMA IF NOT EXISTS aside; DROP TABLE IF EXISTS aside.%[1]s;
		CREATE TABLE aside.%[1]s (LIKE shop.%[1]s INCLUDING ALL); INSERT INTO aside.%[1]s TABLE shop.%[1]s`, table))
}

// recreateSQL creates a table again, without rows.
func (d *disasterTest) recreateSQL(table string) string {
	return fmt.Sprintf("DROP TABLE shop.%[1]s; CREATE TABLE shop.%[1]s (LIKE aside.%[1]s INCLUDING ALL); ALTER TABLE shop.%[1]s OWNER TO %[2]s; ", table, d.writer)
}

// copyOf starts a server from a copy of the source.
func (d *disasterTest) copyOf(t *testing.T, copied string) *sandbox.Server {
	t.Helper()
	return sandbox.OwnServer(t, sandbox.Config{Major: d.source.Major, Settings: quiet, Data: copied})
}

// standby starts a standby of the source. The standby reaches the source at the given port.
func (d *disasterTest) standby(t *testing.T, port int) *sandbox.Server {
	t.Helper()
	settings := maps.Clone(quiet)
	settings["primary_conninfo"] = fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s", port, d.source.Username, d.source.Password)
	return sandbox.OwnServer(t, sandbox.Config{Major: d.source.Major, Settings: settings, Data: d.source.CopyData(t), StandbyOf: d.source})
}

// restored starts a server from a copy of the source. It recovers what the source has written until
// the restore point.
func (d *disasterTest) restored(t *testing.T, backup string) *sandbox.Server {
	t.Helper()
	settings := maps.Clone(quiet)
	settings["restore_command"] = fmt.Sprintf(`cp "%s/%%f" "%%p"`, filepath.Join(d.source.Dir, "data", "pg_wal"))
	settings["recovery_target_name"], settings["recovery_target_action"] = "here", "promote"
	s := sandbox.OwnServer(t, sandbox.Config{Major: d.source.Major, Settings: settings, Data: backup, Recovers: true})
	s.AwaitPromotion(t)
	return s
}

// rows are rows by table and id: all columns as one text.
type rows map[string]map[string]string

// A past is the contents of source and destination at a moment.
type past struct {
	source, destination rows
	vague               bool // it is unknown how far the source went back, because it has gone on since
}

// now returns what source and destination hold now of the tables whose rows INCREMENTAL keeps.
func (d *disasterTest) now(t *testing.T) past {
	t.Helper()
	return past{source: d.rowsOf(t, d.source, "shop", "public"), destination: d.loadedRows(t)}
}

// loadedRows returns what the destination holds of these tables.
func (d *disasterTest) loadedRows(t *testing.T) rows {
	t.Helper()
	return d.rowsOf(t, d.destination, d.database, "shop")
}

func (d *disasterTest) rowsOf(t *testing.T, s *sandbox.Server, database, schema string) rows {
	t.Helper()
	all := rows{}
	for _, table := range disasterTables {
		if table.full || !table.keyed || !slices.Contains(d.tables, table.name) {
			continue
		}
		all[table.name] = map[string]string{}
		for _, line := range s.Query(t, database, "SELECT id || ' ' || ROW(id::text, k::text, amount::text, v::text)::text FROM "+schema+"."+table.name) {
			id, row, _ := strings.Cut(line, " ")
			all[table.name][id] = row
		}
	}
	return all
}

// compare compares source and destination by EXCEPT ALL both ways over every column's text, and
// returns how many rows are wrong. before is the contents of the destination before the apply. Rows
// of before that the source lacks must still be there, except for what was undone when the source
// went back, if the report says how far that was.
func (d *disasterTest) compare(t *testing.T, disaster string, before rows, back *past) (wrong int) {
	t.Helper()
	notes, now := d.notes(t), d.now(t)
	columns := []string{"id", "k", "amount", "v"}
	for _, table := range d.tables {
		differences, err := sandbox.Differences(t.Context(),
			sandbox.Rows{Server: d.source, Database: "shop", Table: table, Columns: columns},
			sandbox.Rows{Server: d.destination, Database: d.database, Table: "shop." + table, Columns: columns}, 1e6)
		if err != nil {
			t.Fatal(err)
		}
		for id, row := range before[table] {
			if _, ok := now.source[table][id]; ok {
				continue
			}
			must, may := true, true
			if back != nil && knownPoint.MatchString(notes[table]) {
				must = back.destination[table][id] == row
				// A row that was read after that moment, and deleted before this run, cannot be
				// distinguished from a lost one.
				may = must || back.source[table][id] == row || back.vague
			}
			i := slices.Index(differences, "+"+row)
			switch {
			case i >= 0 && may:
				differences = slices.Delete(differences, i, i+1)
			case i < 0 && must:
				differences = append(differences, "lost "+row)
			}
		}
		if len(differences) > 0 {
			t.Errorf("apply %d after %q: %s: %d rows differ (- only at the source, + wrongly in the destination): %q\nnotes %q",
				d.applies, disaster, table, len(differences), differences[:min(len(differences), 5)], notes[table])
			wrong += len(differences)
		}
	}
	return wrong
}

// knownPoint matches a report that knows how far the source went back.
var knownPoint = regexp.MustCompile(`its WAL ends at|has lost what was written`)

// notes returns the notes of the last run, by table.
func (d *disasterTest) notes(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, line := range d.destination.Query(t, d.database, `
		SELECT table_name || ' ' || array_to_string(notes, '; ') FROM _stitch.report
		WHERE run = (SELECT id FROM _stitch.run ORDER BY started_at DESC LIMIT 1)`) {
		table, notes, _ := strings.Cut(line, " ")
		all[table] = notes
	}
	return all
}

var (
	wholeNote = regexp.MustCompile(`replicated whole: ([^;]*)`)
	anyNumber = regexp.MustCompile(`[0-9A-F]+/[0-9A-F]+|\d+`)
)

// reasons returns why the last run read tables whole, without what differs between the tables.
func (d *disasterTest) reasons(t *testing.T) (reasons []string) {
	t.Helper()
	for _, notes := range d.notes(t) {
		if m := wholeNote.FindStringSubmatch(notes); m != nil {
			reasons = append(reasons, anyNumber.ReplaceAllString(m[1], "N"))
		}
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}
