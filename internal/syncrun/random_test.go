package syncrun

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Whatever tables look like, hold and go through, both sides are the same after each run.
// STITCH_SEED repeats one seed, for each pair of majors.
func TestRandom(t *testing.T) {
	t.Parallel()
	pairs := pairsOfMajors(t)
	seed, stories, next := seedOf(t), 6*effort(t), uint64(1)
	if os.Getenv("STITCH_SEED") != "" {
		stories, next = len(pairs), 0
	}
	for i := range stories {
		pair := pairs[i%len(pairs)]
		seed := seed + uint64(i)*next
		t.Run(fmt.Sprintf("postgres%d to postgres%d/seed %d", pair[0], pair[1], seed), func(t *testing.T) {
			t.Parallel()
			playStory(t, pair[0], pair[1], seed)
		})
	}
}

// pairsOfMajors returns the oldest and the newest, both ways. In `make torture`, and when a
// seed is repeated, it returns all pairs.
func pairsOfMajors(t *testing.T) [][2]int {
	majors := sandbox.NeedMajors(t)
	if effort(t) == 1 && os.Getenv("STITCH_SEED") == "" {
		oldest, newest := majors[0], majors[len(majors)-1]
		return [][2]int{{oldest, newest}, {newest, oldest}}
	}
	var pairs [][2]int
	for _, source := range majors {
		for _, destination := range majors {
			pairs = append(pairs, [2]int{source, destination})
		}
	}
	return pairs
}

// A randomStory is what happens to some tables, run by run.
type randomStory struct {
	*env
	random   *rand.Rand
	tables   []*randomTable
	executed []string // the SQL that the source ran, in order
}

func playStory(t *testing.T, source, destination int, seed uint64) {
	s := &randomStory{
		env:    newEnv(t, sandbox.Shared(t, source), sandbox.Shared(t, destination)),
		random: rand.New(rand.NewPCG(seed, 0)),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to repeat it: STITCH_SEED=%d go test ./internal/syncrun -run '%s'", seed, t.Name())
		}
	})
	s.execute(t, oddTypesSQL)
	s.execute(t, fmt.Sprintf("CREATE SCHEMA %[1]s; GRANT USAGE ON SCHEMA %[1]s, %[2]s TO %[3]s; ALTER DEFAULT PRIVILEGES IN SCHEMA %[1]s GRANT SELECT ON TABLES TO %[3]s",
		pgclient.Ident(oddSchema), `"Odd ""types"".x"`, s.reader))
	const tables = 4
	drawn := tableNames(s.random, 2*tables)
	for i := range tables {
		table := drawTable(s.random, drawn[i], source)
		if s.random.IntN(4) == 0 {
			table.target = drawn[tables+i].Name
		}
		s.tables = append(s.tables, table)
		s.execute(t, table.createSQL())
		s.execute(t, table.insertSQL(s.random))
	}
	s.choose()
	s.create(t)
	s.runAndCompare(t)
	for range 5 {
		for _, table := range s.tables {
			for range s.random.IntN(4) {
				s.execute(t, table.change(s.random))
			}
		}
		s.choose()
		if err := replication.Update(t.Context(), s.endpoint(), s.definition); err != nil {
			t.Fatal(err)
		}
		s.runAndCompare(t)
	}
}

func (s *randomStory) execute(t *testing.T, sql string) {
	t.Helper()
	if len(sql) > 1000 {
		s.executed = append(s.executed, sql[:1000]+" ...")
	} else {
		s.executed = append(s.executed, sql+";")
	}
	s.atSource(t, sql)
}

// history returns the SQL that the source ran for a table.
func (s *randomStory) history(table *randomTable) string {
	of := slices.DeleteFunc(slices.Clone(s.executed), func(sql string) bool {
		return sql != runs && !strings.Contains(sql, table.sql())
	})
	return strings.Join(of, "\n")
}

// runs stands for a run in that history.
const runs = "-- run"

// choose updates the definition to match the tables.
func (s *randomStory) choose() {
	for _, table := range s.tables {
		s.definition.Tables[table.name.String()] = table.selection()
	}
}

// runAndCompare fails unless a run makes both sides the same, and the next run has nothing
// left to do.
func (s *randomStory) runAndCompare(t *testing.T) {
	t.Helper()
	s.executed = append(s.executed, runs)
	if _, err := s.tryRun(t.Context()); err != nil {
		for _, table := range s.tables {
			if strings.Contains(err.Error(), table.name.String()) {
				t.Log(s.history(table))
			}
		}
		t.Fatal(pgclient.Explain(err))
	}
	for _, table := range s.tables {
		s.wantArrived(t, table)
	}
	if s.random.IntN(3) == 0 && !t.Failed() {
		s.wantNothingToDo(t)
	}
	if t.Failed() {
		t.FailNow() // later runs would only repeat it
	}
}

// wantNothingToDo runs again, although nothing has changed.
func (s *randomStory) wantNothingToDo(t *testing.T) {
	t.Helper()
	again := s.run(t)
	for _, table := range s.tables {
		if got := report(again, table.name.String()); got.RowsLoaded != 0 || len(got.Changes) > 0 {
			t.Errorf("%s: a run without changes loads %d rows and reports %q\n%s", table.name, got.RowsLoaded, got.Changes, s.history(table))
		}
	}
}

// wantArrived compares a table with what was loaded of it.
func (s *randomStory) wantArrived(t *testing.T, table *randomTable) {
	t.Helper()
	from := sandbox.Rows{Server: s.source, Database: s.sourceDatabase, Table: table.sql()}
	to := sandbox.Rows{Server: s.destination, Database: s.destinationDatabase,
		Table: relation.TableName{Schema: s.definition.SchemaName, Name: table.arrives()}.SQL()}
	arrived := s.destination.Query(t, s.destinationDatabase, `
		SELECT format_type(a.atttypid, a.atttypmod), a.attname
		FROM _stitch.loaded_table AS b, unnest(b.columns, b.attributes) AS c (name, number), pg_attribute AS a
		WHERE b.table_name = $1 AND c.number > 0 AND a.attrelid = $2::text::regclass AND a.attname = c.name
		ORDER BY c.number`, table.arrives(), to.Table)
	columns := s.inOrder(t, table)
	if len(arrived) != len(columns) {
		t.Errorf("%s: the columns %q arrived as %q\n%s", table.name, namesOf(columns), arrived, s.history(table))
		return
	}
	var wrote, read []string
	for i, c := range columns {
		sql, name, _ := strings.Cut(arrived[i], "|")
		if want := c.lands(s.destination.Major); sql != want && !strings.Contains(want, " varying") && sql != "text" {
			t.Errorf("%s: %q is %s and arrived as %q of type %s\n%s", table.name, c.name, c.sql, name, sql, s.history(table))
		}
		wrote = append(wrote, fmt.Sprintf("%s AS c%d", s.expression(c.kind, c.name), i))
		read = append(read, fmt.Sprintf("%s AS c%d", s.expression(c.kind, name), i))
		from.Columns = append(from.Columns, fmt.Sprintf("c%d", i))
	}
	to.Columns = from.Columns
	from.Table = fmt.Sprintf("(SELECT %s FROM %s) AS t", strings.Join(wrote, ", "), from.Table)
	to.Table = fmt.Sprintf("(SELECT %s FROM %s%s) AS t", strings.Join(read, ", "), to.Table, s.current(table))
	differences, err := sandbox.Differences(t.Context(), from, to, 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(differences) > 0 {
		t.Errorf("%s, %+v, differs in %q (- only at the source, + only in the destination):\n%s\n%s",
			table.name, table.selection(), namesOf(columns), strings.Join(differences, "\n"), s.history(table))
	}
}

// inOrder returns the selected columns in the source's order.
func (s *randomStory) inOrder(t *testing.T, table *randomTable) []*randomColumn {
	t.Helper()
	columns := table.replicated()
	order := s.source.Query(t, s.sourceDatabase, `SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum`, table.sql())
	slices.SortFunc(columns, func(a, b *randomColumn) int { return slices.Index(order, a.name) - slices.Index(order, b.name) })
	return columns
}

// expression is what the test compares of a column. PostgreSQL 12 writes floats with fewer
// digits than older majors do.
func (s *randomStory) expression(k kind, name string) string {
	if k.send == "" || (s.source.Major < 12) == (s.destination.Major < 12) {
		return pgclient.Ident(name)
	}
	return fmt.Sprintf("encode(%s(%s), 'hex')", k.send, pgclient.Ident(name))
}

// current leaves out rows of a table that this one replaced, which INCREMENTAL keeps.
func (s *randomStory) current(table *randomTable) string {
	if !table.replaced || table.key == nil {
		return ""
	}
	return " WHERE _sdc_table_version = (SELECT table_version FROM _stitch.loaded_table WHERE table_name = " + pgclient.Literal(table.arrives()) + ")"
}
