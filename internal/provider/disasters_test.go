package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
)

// Whatever happens to a source, to a loaded table or to an apply, at any moment, the next apply
// gives the destination what the method promises: the rows of the source with FULL_TABLE, and with
// INCREMENTAL also those that were deleted at the source. The test ends with a table of what was
// done, why rows were read again, and how many are wrong.
func TestAccDisasters(t *testing.T) {
	majors := sandbox.NeedMajors(t)
	effort, seed := sandbox.Effort(t), sandbox.Seed(t)
	t.Logf("seed %d", seed)
	var table disasterTable
	t.Run("each", func(t *testing.T) {
		for i := range effort {
			major := majors[len(majors)-1-i%len(majors)]
			t.Run(fmt.Sprintf("history %d/postgres%d", i, major), func(t *testing.T) {
				t.Parallel()
				newDisasterTest(t, major, i, seed).play(t, &table)
			})
		}
		testKilled(t, &table)
	})
	table.print(t, seed)
}

// disasterTables are the tables of the source. All have the columns id, k, which is the replication
// key, amount and v.
var disasterTables = []struct {
	name, key string // the type of the replication key
	full      bool   // FULL_TABLE
	keyed     bool   // whether it has a primary key
	since     int    // major version
}{
	{"numbered", "bigint", false, true, 0},
	{"timed", "timestamptz", false, true, 0},
	{"parted", "bigint", false, true, 11},
	{"appended", "bigint", false, false, 0}, // has no key: rows are only inserted
	{"whole", "timestamptz", true, true, 0},
	{"pile", "bigint", true, false, 0},
}

// A disasterTest is a source that is replicated, by Terraform, to a destination.
type disasterTest struct {
	*workspace
	source, destination *sandbox.Server
	database, writer    string // of the destination
	grants              bool   // whether the login at the source may read the server's timeline history
	tables              []string
	random              *rand.Rand
	late                *pgx.Conn // a transaction that commits late; nil if there is none
	applies             int
	took                time.Duration // duration of the last apply
}

// quiet prevents a server from writing on its own.
var quiet = map[string]string{"autovacuum": "off"}

func newDisasterTest(t *testing.T, major, number int, seed uint64) *disasterTest {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, uint64(number)))
	majors := sandbox.NeedMajors(t)
	destination := sandbox.Shared(t, majors[(len(majors)-1+number*random.IntN(len(majors)))%len(majors)]) // the newest of the first
	d := &disasterTest{
		workspace: newWorkspace(t, ""), destination: destination, database: destination.Database(t), writer: destination.Role(t),
		source: sandbox.OwnServer(t, sandbox.Config{Major: major, Settings: quiet}),
		grants: number%2 == 0, random: random,
	}
	destination.Exec(t, d.database, "GRANT CREATE ON DATABASE "+d.database+" TO "+d.writer)
	d.source.Exec(t, "postgres", "CREATE DATABASE shop")
	sql := "CREATE SEQUENCE numbers; CREATE ROLE stitch LOGIN PASSWORD '" + d.source.Password + "'; "
	if d.grants && major >= 11 {
		sql += "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO stitch; "
	}
	for _, table := range disasterTables {
		if major < table.since {
			continue
		}
		d.tables = append(d.tables, table.name)
		k, key, parted := "k bigint NOT NULL DEFAULT nextval('numbers')", "", ""
		if table.key == "timestamptz" {
			k = "k timestamptz NOT NULL DEFAULT now()"
		}
		if table.keyed {
			key = ", PRIMARY KEY (id)"
		}
		if table.name == "parted" {
			parted = ` PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (60);
				CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (60) TO (1000000000)`
		}
		sql += fmt.Sprintf("CREATE TABLE %[1]s (id serial, %[2]s, amount numeric, v text%[3]s)%[4]s; CREATE INDEX ON %[1]s (k); ", table.name, k, key, parted)
	}
	d.source.Exec(t, "shop", sql+"GRANT SELECT ON ALL TABLES IN SCHEMA public TO stitch")
	for _, table := range d.tables {
		d.insert(t, table, 100)
	}
	d.apply(t)
	return d
}

// config returns the configuration of the next apply.
func (d *disasterTest) config() string {
	var tables strings.Builder
	for _, table := range disasterTables {
		switch {
		case !slices.Contains(d.tables, table.name):
		case table.full:
			fmt.Fprintf(&tables, "    %q = { replication_method = \"FULL_TABLE\" }\n", "public."+table.name)
		default:
			fmt.Fprintf(&tables, "    %q = { replication_method = \"INCREMENTAL\", replication_key = \"k\" }\n", "public."+table.name)
		}
	}
	return requiredProviders + providerBlock(map[string]string{
		"app":       login(d.source, "stitch", d.source.Password),
		"warehouse": login(d.destination, d.writer, d.destination.Password),
	}) + fmt.Sprintf(`
resource "stitch_replication" "shop" {
  name        = "Shop"
  source      = { server = "app", database = "shop" }
  destination = { server = "warehouse", database = %q }
  tables = {
%s  }
}
resource "stitch_sync_run" "shop" {
  replication = stitch_replication.shop.id
  triggers    = { definition = stitch_replication.shop.revision, again = %d }
}
`, d.database, tables.String(), d.applies)
}

// apply runs the replication through Terraform.
func (d *disasterTest) apply(t *testing.T) {
	t.Helper()
	d.applies++
	d.write(t, "main.tf", d.config())
	began := time.Now()
	d.run(t, "apply", "-auto-approve")
	d.took = time.Since(began)
}

// load runs the replication with the engine alone.
func (d *disasterTest) load(t *testing.T) {
	t.Helper()
	servers := pgclient.NewServers(map[string]pgclient.Config{
		"app":       {Host: d.source.Host, Port: d.source.Port, Username: "stitch", Password: d.source.Password},
		"warehouse": {Host: d.destination.Host, Port: d.destination.Port, Username: d.writer, Password: d.destination.Password},
	})
	defer servers.Close()
	find := func(name string) (*pgclient.Server, error) {
		server, _ := servers.Server(name)
		return server, nil
	}
	warehouse, _ := find("warehouse")
	run, err := syncrun.Runner{Server: find}.Run(t.Context(), pgclient.Endpoint{Server: warehouse, Database: d.database}, "shop")
	if err != nil {
		t.Fatalf("%v: %s", err, pgclient.Explain(err))
	}
	if run.Status != syncrun.Succeeded {
		t.Fatalf("a run: %s: %+v", run.Status, run.Tables)
	}
}

// insert inserts rows into a table of the source.
func (d *disasterTest) insert(t *testing.T, table string, rows int) {
	t.Helper()
	d.source.Exec(t, "shop", d.insertSQL(table, rows))
}

func (d *disasterTest) insertSQL(table string, rows int) string {
	return fmt.Sprintf("INSERT INTO %s (amount, v) SELECT g / 3.0, 'inserted %d ' || g FROM generate_series(1, %d) g", table, d.random.IntN(1e9), rows)
}

// ofLate is how many rows of each table late transactions write.
const ofLate = 5

// change writes to the source, as its users do.
func (d *disasterTest) change(t *testing.T) {
	t.Helper()
	for range 6 + d.random.IntN(8) {
		table := d.tables[d.random.IntN(len(d.tables))]
		some := d.random.IntN(1e9)
		switch kind := d.random.IntN(10); {
		case kind == 0:
			d.commitLate(t)
		case kind == 1:
			d.source.Exec(t, "shop", "VACUUM "+table)
		case kind == 2: // much unrelated data is written
			d.source.Exec(t, "shop", "SELECT pg_logical_emit_message(false, 'else', repeat('x', 200000))")
		case kind < 5 || table == "appended":
			d.insert(t, table, 1+d.random.IntN(40))
		case kind < 8:
			d.source.Exec(t, "shop", fmt.Sprintf("UPDATE %s SET k = DEFAULT, amount = amount * 1.1, v = 'updated %d' WHERE id > %d AND id %% 11 = %d", table, some, ofLate, some%11))
		default:
			d.source.Exec(t, "shop", fmt.Sprintf("DELETE FROM %s WHERE id > %d AND id %% 17 = %d", table, ofLate, some%17))
		}
	}
}

// commitLate commits a transaction that wrote long ago, or begins one.
func (d *disasterTest) commitLate(t *testing.T) {
	t.Helper()
	if d.late == nil {
		conn, err := pgx.Connect(t.Context(), d.source.URL("shop"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.PgConn().Conn().Close() })
		sql := "BEGIN; "
		for _, table := range d.tables {
			sql += d.insertSQL(table, 2) + "; "
			if table != "appended" {
				sql += fmt.Sprintf("UPDATE %s SET k = DEFAULT, v = 'updated late %d' WHERE id <= %d; ", table, d.random.IntN(1e9), ofLate)
			}
		}
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		d.late = conn
		return
	}
	if _, err := d.late.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	_ = d.late.Close(t.Context())
	d.late = nil
}

// live simulates the passage of time: the source changes, and is replicated.
func (d *disasterTest) live(t *testing.T) {
	t.Helper()
	for range 1 + d.random.IntN(2) {
		d.change(t)
		d.load(t)
	}
	if d.random.IntN(2) == 0 {
		d.change(t) // without being replicated
	}
}

// moveTo makes another server replace the source.
func (d *disasterTest) moveTo(t *testing.T, s *sandbox.Server) {
	t.Helper()
	before := d.source
	d.source = s
	if d.late != nil {
		_ = d.late.Close(context.WithoutCancel(t.Context()))
		d.late = nil
	}
	if err := before.Stop(); err != nil {
		t.Error(err)
	}
}

// interrupt begins an apply, and kills Terraform and the provider at a random moment.
func (d *disasterTest) interrupt(t *testing.T) {
	t.Helper()
	d.applies++
	d.write(t, "main.tf", d.config())
	state := d.state(t)
	cmd, output := d.start(t, "apply", "-auto-approve")
	time.Sleep(time.Duration(d.random.Int64N(int64(d.took))))
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the whole group; it may have ended
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code > 0 {
		t.Fatalf("the apply that should have been killed failed with exit code %d:\n%s", code, output)
	}
	if !json.Valid([]byte(d.state(t))) { // a backend would not leave it half written
		d.write(t, "terraform.tfstate", state)
	}
	for deadline := time.Now().Add(time.Minute); d.destination.Query(t, d.database, `SELECT FROM pg_stat_activity WHERE usename = $1`, d.writer) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("sessions of the killed apply do not end")
		}
	}
}
