package provider

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// wholeConfig is everything that a user needs from empty servers to replicated tables.
const wholeConfig = requiredProviders + `
variable "ports" { type = object({ source = number, destination = number }) }
variable "admin" { type = object({ source = string, destination = string }) }
variable "again" { default = "1" }
variable "admin_password" {
	type      = object({ source = string, destination = string })
	ephemeral = true
}
variable "stitch_password" {
	type      = string
	ephemeral = true
}

provider "stitch" {
	servers = {
		app              = { host = "127.0.0.1", port = var.ports.source, username = var.admin.source, password = var.admin_password.source, max_connections = 1 }
		app_stitch       = { host = "127.0.0.1", port = var.ports.source, username = "stitch", password = var.stitch_password, max_connections = 1 }
		warehouse        = { host = "127.0.0.1", port = var.ports.destination, username = var.admin.destination, password = var.admin_password.destination, max_connections = 1 }
		warehouse_stitch = { host = "127.0.0.1", port = var.ports.destination, username = "stitch", password = var.stitch_password, max_connections = 1 }
	}
}

resource "stitch_database_user" "source" {
	server              = "app"
	name                = "stitch"
	password_wo         = var.stitch_password
	password_wo_version = 1
}
resource "stitch_source_grants" "app" {
	server   = "app"
	database = "shop"
	user     = stitch_database_user.source.name
	schemas  = ["public", "billing"]
}
resource "stitch_database_user" "destination" {
	server              = "warehouse"
	name                = "stitch"
	password_wo         = var.stitch_password
	password_wo_version = 1
}
resource "stitch_destination_database" "warehouse" {
	server        = "warehouse"
	name          = "analytics"
	force_destroy = true
}
resource "stitch_destination_grants" "warehouse" {
	server          = "warehouse"
	database        = stitch_destination_database.warehouse.name
	user            = stitch_database_user.destination.name
	system_catalogs = true
}
resource "stitch_replication" "shop" {
	name        = "Shop PostgreSQL"
	source      = { server = "app_stitch", database = stitch_source_grants.app.database }
	destination = { server = "warehouse_stitch", database = stitch_destination_grants.warehouse.database }
	tables = {
		"public.orders"    = { replication_method = "INCREMENTAL", replication_key = "updated_at", exclude_columns = ["card_number"] }
		"public.countries" = { replication_method = "FULL_TABLE" }
		"billing.orders"   = { replication_method = "FULL_TABLE", table_name = "billing_orders" }
	}
}
resource "stitch_sync_run" "shop" {
	replication = stitch_replication.shop.id
	triggers    = { definition = stitch_replication.shop.revision, again = var.again }
}
output "rows" { value = stitch_sync_run.shop.rows_loaded }
`

const wholeSource = `
	REVOKE ALL ON SCHEMA public FROM PUBLIC;
	CREATE TABLE orders (id int PRIMARY KEY, total numeric, card_number text, updated_at timestamptz NOT NULL);
	INSERT INTO orders SELECT g, g / 3.0, 'secret', '2026-01-01'::timestamptz + g * interval '1 minute' FROM generate_series(1, 1000) g;
	CREATE TABLE countries (code text PRIMARY KEY, names text[]);
	INSERT INTO countries VALUES ('de', '{Germany,NULL}');
	CREATE SCHEMA billing; CREATE TABLE billing.orders (id int PRIMARY KEY, data jsonb);
	INSERT INTO billing.orders VALUES (1, '{"a": 1}')`

// wholePassword must not appear anywhere.
const wholePassword = `pa'ss"w\ord $tück`

// newWhole starts two servers of a major, because users and databases belong to
// a whole server, and prepares a workspace for wholeConfig.
func newWhole(t *testing.T, major int) (w *workspace, source, destination *sandbox.Server) {
	t.Helper()
	config := sandbox.Config{Major: major, LogStatements: true}
	source, destination = sandbox.OwnServer(t, config), sandbox.OwnServer(t, config)
	source.Exec(t, "postgres", "CREATE DATABASE shop")
	source.Exec(t, "shop", wholeSource)
	w = newWorkspace(t, wholeConfig,
		fmt.Sprintf(`TF_VAR_ports={"source":%d,"destination":%d}`, source.Port, destination.Port),
		fmt.Sprintf(`TF_VAR_admin={"source":%q,"destination":%q}`, source.Username, destination.Username),
		fmt.Sprintf(`TF_VAR_admin_password={"source":%q,"destination":%q}`, source.Password, destination.Password),
		"TF_VAR_stitch_password="+wholePassword)
	return w, source, destination
}

// inventory lists what a server holds that the configuration could leave behind.
func inventory(t *testing.T, s *sandbox.Server, database string) []string {
	t.Helper()
	list := s.Query(t, "postgres", `
		SELECT 'role ' || rolname FROM pg_roles
		UNION ALL SELECT 'database ' || datname || ' ' || acl::text FROM pg_database
			CROSS JOIN LATERAL aclexplode(coalesce(datacl, acldefault('d', datdba))) AS acl
		ORDER BY 1`)
	return append(list, s.Query(t, database, `
		SELECT 'schema ' || nspname || ' ' || acl::text FROM pg_namespace CROSS JOIN LATERAL aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS acl
		UNION ALL SELECT 'relation ' || pg_class.oid::regclass || ' ' || acl::text FROM pg_class CROSS JOIN LATERAL aclexplode(coalesce(relacl, acldefault('r', relowner))) AS acl WHERE relkind IN ('r', 'v')
		UNION ALL SELECT 'default ' || acl::text FROM pg_default_acl CROSS JOIN LATERAL aclexplode(defaclacl) AS acl
		ORDER BY 1`)...)
}

func assertReplicated(t *testing.T, source, destination *sandbox.Server) {
	t.Helper()
	for from, to := range map[string]struct {
		table   string
		columns []string
	}{
		"public.orders":    {"shop_postgresql.orders", []string{"id", "total", "updated_at"}},
		"public.countries": {"shop_postgresql.countries", []string{"code", "names"}},
		"billing.orders":   {"shop_postgresql.billing_orders", []string{"id", "data"}},
	} {
		differences, err := sandbox.Differences(t.Context(),
			sandbox.Rows{Server: source, Database: "shop", Table: from, Columns: to.columns},
			sandbox.Rows{Server: destination, Database: "analytics", Table: to.table, Columns: to.columns}, 5)
		if err != nil || len(differences) > 0 {
			t.Errorf("%s: %q %v", from, differences, err)
		}
	}
}

// A whole configuration applies in one go on empty servers, through one connection for each login,
// plans nothing after that, and destroys in one go, leaving both servers as they were.
func TestAccWhole(t *testing.T) {
	majors := sandbox.NeedMajors(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			t.Parallel()
			w, source, destination := newWhole(t, major)
			before := [][]string{inventory(t, source, "shop"), inventory(t, destination, "postgres")}

			w.run(t, "apply", "-auto-approve")
			assertReplicated(t, source, destination)
			if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
				t.Errorf("the second plan is not empty:\n%s", output)
			}

			source.Exec(t, "shop", `
				UPDATE orders SET total = 0, updated_at = '2026-06-01' WHERE id = 7;
				INSERT INTO billing.orders VALUES (2, NULL); DELETE FROM billing.orders WHERE id = 1`)
			w.run(t, "apply", "-auto-approve", "-var", "again=2")
			assertReplicated(t, source, destination)
			if got := strings.TrimSpace(w.run(t, "output", "rows")); got != "2" {
				t.Errorf("the second run loaded %s rows", got)
			}

			w.run(t, "destroy", "-auto-approve")
			after := [][]string{inventory(t, source, "shop"), inventory(t, destination, "postgres")}
			for i, server := range []string{"source", "destination"} {
				if !slices.Equal(before[i], after[i]) {
					t.Errorf("the %s is not as it was:\n%q\n%q", server, before[i], after[i])
				}
			}
		})
	}
}

// No password appears in state, plan, trace or a server's log.
func TestAccSecrets(t *testing.T) {
	t.Parallel()
	w, source, destination := newWhole(t, 0)
	w.env = append(w.env, "TF_LOG=TRACE")
	trace := w.run(t, "plan", "-out=plan.zip")
	trace += w.run(t, "apply", "plan.zip")
	w.env = append(w.env, "TF_VAR_stitch_password=wrong "+wholePassword)
	failed, _ := w.try(t, "apply", "-auto-approve", "-var", "again=2") // the login fails: errors hold no password either
	w.env = append(w.env, "TF_VAR_stitch_password="+wholePassword)

	places := map[string]string{
		"state": w.state(t), "trace": trace, "errors": failed, "plan": unzip(t, filepath.Join(w.dir, "plan.zip")),
	}
	for name, s := range map[string]*sandbox.Server{"the source's log": source, "the destination's log": destination} {
		log, err := s.Log()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log, "SCRAM-SHA-256$") {
			t.Errorf("%s does not show the statement that creates the user: this test proves nothing", name)
		}
		places[name] = log
	}
	for place, text := range places {
		if text == "" {
			t.Errorf("%s is empty: this test proves nothing", place)
		}
		for name, secret := range map[string]string{
			"the user's password": wholePassword, "the source's": source.Password, "the destination's": destination.Password,
		} {
			// Also as JSON, HCL and SQL would write it.
			for _, form := range []string{secret, fmt.Sprintf("%q", secret), strings.ReplaceAll(secret, "'", "''"), strings.ReplaceAll(secret, `\`, `\\`)} {
				if strings.Contains(text, form) {
					t.Errorf("%s holds %s password", place, name)
				}
			}
		}
	}
	w.run(t, "destroy", "-auto-approve")
}

func unzip(t *testing.T, path string) string {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	var all bytes.Buffer
	for _, file := range archive.File {
		content, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&all, content); err != nil {
			t.Fatal(err)
		}
		content.Close()
	}
	return all.String()
}

// Ctrl-C, and SIGTERM to the process group, end a run cleanly: committed rows stay, the state says
// so, and the next apply continues in place.
func TestAccInterrupt(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"interrupt": syscall.SIGINT, "terminate": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t, sandbox.Shared(t, 0))
			p.atSource(t, `CREATE FUNCTION delay() RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(600) IS NULL';
				CREATE VIEW slow AS SELECT delay() AS slept; GRANT SELECT ON slow TO `+p.reader)
			w := newWorkspace(t, requiredProviders+p.runConfig(`tables = {
				"public.orders" = { replication_method = "INCREMENTAL", replication_key = "updated_at" }
				"public.slow"   = { replication_method = "FULL_TABLE" }
			}`, "1"))
			cmd, output := w.start(t, "apply", "-auto-approve")
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
				if p.Query(t, p.source, `SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%slow%' AND pid <> pg_backend_pid()`) != nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the run never reached the slow view\n%s", output)
				}
			}
			if err := syscall.Kill(-cmd.Process.Pid, signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("exit code %d\n%s", cmd.ProcessState.ExitCode(), output)
			}
			if got := p.Query(t, p.destination, `SELECT r.status, string_agg(source_table || ' ' || t.status, ', ' ORDER BY source_table)
				FROM _stitch.run r JOIN _stitch.report t ON run = r.id GROUP BY 1`); !slices.Equal(got, []string{"interrupted|public.orders succeeded, public.slow interrupted"}) {
				t.Errorf("the catalog says %q\n%s", got, output)
			}
			if state := w.state(t); !strings.Contains(state, `"status": "interrupted"`) {
				t.Errorf("the state does not say so:\n%s", state)
			}

			p.atSource(t, `CREATE OR REPLACE FUNCTION delay() RETURNS boolean LANGUAGE sql AS 'SELECT false'`)
			if plan := w.run(t, "plan"); !strings.Contains(plan, "stitch_sync_run.shop will be updated in-place") {
				t.Errorf("the next plan does not go on in place:\n%s", plan)
			}
			w.run(t, "apply", "-auto-approve")
			if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
				t.Errorf("the plan after is not empty:\n%s", output)
			}
		})
	}
}
