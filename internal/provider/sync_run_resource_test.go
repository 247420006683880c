package provider

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const syncRunAddress = "stitch_sync_run.shop"

// runConfig is config plus a run whose trigger is text.
func (p *pipe) runConfig(tables, trigger string) string {
	return p.config("Shop", tables) + fmt.Sprintf(`
		resource "stitch_sync_run" "shop" {
			replication = stitch_replication.shop.id
			triggers    = { definition = stitch_replication.shop.revision, again = %q }
		}`, trigger)
}

// same checks that a table holds the same rows on both sides.
func (p *pipe) same(t *testing.T, source, destination string, columns ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		differences, err := sandbox.Differences(context.WithoutCancel(t.Context()),
			sandbox.Rows{Server: p.Server, Database: p.source, Table: source, Columns: columns},
			sandbox.Rows{Server: p.Server, Database: p.destination, Table: destination, Columns: columns}, 5)
		if err == nil && len(differences) > 0 {
			err = fmt.Errorf("%s and %s differ: %q", source, destination, differences)
		}
		return err
	}
}

func rowsLoaded(n int64) []statecheck.StateCheck {
	return []statecheck.StateCheck{
		statecheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("status"), knownvalue.StringExact("succeeded")),
		statecheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("rows_loaded"), knownvalue.Int64Exact(n)),
	}
}

func TestAccSyncRun(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	check := resource.ComposeTestCheckFunc(
		p.same(t, "public.orders", "shop.orders", "id", "total", "updated_at"),
		p.same(t, "public.countries", "shop.countries", "code", "name"))
	orders := tfjsonpath.New("tables").AtMapKey("public.orders")
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy: func(*terraform.State) error { // the loaded tables stay
			if got := p.Query(t, p.destination, `SELECT count(*) FROM shop.orders`); !slices.Equal(got, []string{"11"}) {
				return fmt.Errorf("the loaded table holds %q rows", got)
			}
			return nil
		},
		Steps: []resource.TestStep{
			{ // create
				Config: p.runConfig(twoTables, "1"),
				Check:  check,
				ConfigStateChecks: append(rowsLoaded(12),
					statecheck.ExpectKnownValue(syncRunAddress, orders, knownvalue.ObjectPartial(map[string]knownvalue.Check{
						"status": knownvalue.StringExact("succeeded"), "method": knownvalue.StringExact("INCREMENTAL"),
						"rows_extracted": knownvalue.Int64Exact(10), "rows_loaded": knownvalue.Int64Exact(10),
						"replication_key": knownvalue.StringExact("updated_at"), "bookmark": knownvalue.StringExact("2026-01-01 00:00:00+00"),
						"bytes": knownvalue.NotNull(), "duration": knownvalue.NotNull(), "error": knownvalue.Null(),
						"null_keys": knownvalue.Int64Exact(0), "notes": knownvalue.Null(), "verification": knownvalue.Null(),
					})),
					statecheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("run_id"), knownvalue.NotNull()),
					statecheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("completed_at"), knownvalue.NotNull())),
			},
			{ // import takes the recorded run; without triggers, which only the configuration knows
				ResourceName: syncRunAddress, ImportState: true, ImportStateId: p.id(), ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "replication", ImportStateVerifyIgnore: []string{"triggers"},
			},
			{ // a trigger runs again, in place, and moves only what changed
				PreConfig: func() {
					p.atSource(t, `INSERT INTO orders VALUES (11, 1, NULL, '2026-01-02'); UPDATE countries SET name = 'Deutschland' WHERE code = 'de'`)
				},
				Config:            p.runConfig(twoTables, "2"),
				ConfigPlanChecks:  planned(syncRunAddress, plancheck.ResourceActionUpdate),
				Check:             check,
				ConfigStateChecks: rowsLoaded(2),
			},
			{ // a failed run is an error that names the table
				PreConfig:   func() { p.atSource(t, `REVOKE SELECT ON countries FROM `+p.reader) },
				Config:      p.runConfig(twoTables, "3"),
				ExpectError: says(`read public.countries: ERROR: permission denied for table countries`),
			},
			{ // so the next apply runs it again
				PreConfig:        func() { p.atSource(t, `GRANT SELECT ON countries TO `+p.reader) },
				Config:           p.runConfig(twoTables, "3"),
				ConfigPlanChecks: planned(syncRunAddress, plancheck.ResourceActionUpdate),
				Check:            check,
			},
			{ // a changed definition runs again
				Config: p.runConfig(threeTables, "3"),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("stitch_replication.shop", plancheck.ResourceActionUpdate),
					plancheck.ExpectResourceAction(syncRunAddress, plancheck.ResourceActionUpdate),
				}},
			},
			{ // an interrupted run is planned again
				PreConfig:        func() { p.atDestination(t, `UPDATE _stitch.run SET status = 'interrupted'`) },
				Config:           p.runConfig(threeTables, "3"),
				ConfigPlanChecks: planned(syncRunAddress, plancheck.ResourceActionUpdate),
			},
			{ // and so is a run that the catalog has lost
				PreConfig:        func() { p.atDestination(t, `DELETE FROM _stitch.run`) },
				Config:           p.runConfig(threeTables, "3"),
				ConfigPlanChecks: planned(syncRunAddress, plancheck.ResourceActionCreate),
			},
		},
	})
}

// A change that does not affect rows causes no run, and the plan says so.
func TestAccSyncRun_notAgain(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	other := p.Role(t)
	p.Exec(t, p.destination, "GRANT "+p.writer+" TO "+other)
	config := p.runConfig(twoTables, "1")
	withTimeout := strings.Replace(config, "triggers ", "timeouts = { update = \"1h\" }\ntriggers ", 1)
	same := statecheck.CompareValue(compare.ValuesSame())
	sameRun := func() []statecheck.StateCheck {
		return []statecheck.StateCheck{same.AddStateValue(syncRunAddress, tfjsonpath.New("run_id"))}
	}
	inPlace := func(addresses ...string) resource.ConfigPlanChecks {
		checks := []plancheck.PlanCheck{
			plancheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("run_id"), knownvalue.NotNull()),
			plancheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("tables"), knownvalue.MapSizeExact(2)),
		}
		for _, address := range addresses {
			checks = append(checks, plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate))
		}
		return resource.ConfigPlanChecks{PreApply: checks}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: config, ConfigStateChecks: sameRun()},
			{Config: withTimeout, ConfigPlanChecks: inPlace(syncRunAddress), ConfigStateChecks: sameRun()},
			{ // another login, even when the first one is gone
				Config:            p.moved(withTimeout, login(p.Server, other, p.Password)),
				ConfigPlanChecks:  inPlace("stitch_replication.shop", syncRunAddress),
				ConfigStateChecks: sameRun(),
			},
			{ // continues from the bookmarks
				PreConfig:         func() { p.atSource(t, `INSERT INTO orders VALUES (11, 1, NULL, '2026-01-02')`) },
				Config:            p.moved(p.runConfig(twoTables, "2"), login(p.Server, other, p.Password)),
				ConfigStateChecks: rowsLoaded(1),
			},
		},
	})
}

// Even the first run may fail: it leaves no state, the finished tables keep what they loaded, and
// the next apply continues.
func TestAccSyncRun_firstFails(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	p.atSource(t, `REVOKE SELECT ON countries FROM `+p.reader)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: p.runConfig(twoTables, "1"), ExpectError: says(`Cannot replicate table public.countries`)},
			{
				PreConfig: func() {
					if got := p.Query(t, p.destination, `SELECT bookmark FROM _stitch.bookmark`); !slices.Equal(got, []string{"2026-01-01 00:00:00+00"}) {
						t.Errorf("bookmarks %q", got)
					}
					p.atSource(t, `GRANT SELECT ON countries TO `+p.reader)
				},
				Config:            p.runConfig(twoTables, "1"),
				ConfigPlanChecks:  planned(syncRunAddress, plancheck.ResourceActionCreate),
				ConfigStateChecks: rowsLoaded(2), // the orders are already there
			},
		},
	})
}

func TestAccSyncRun_timeout(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	slow := func(seconds int) {
		p.atSource(t, fmt.Sprintf(`CREATE OR REPLACE VIEW slow AS SELECT pg_sleep(%d) IS NULL AS slept; GRANT SELECT ON slow TO %s`, seconds, p.reader))
	}
	config := p.config("Shop", `tables = { "public.slow" = { replication_method = "FULL_TABLE" } }`) + `
		resource "stitch_sync_run" "shop" {
			replication = stitch_replication.shop.id
			timeouts    = { create = "2s", update = "2s" }
		}`
	slow(60)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: config, ExpectError: says(`did not end in time`)},
			{PreConfig: func() { slow(0) }, Config: strings.ReplaceAll(config, "2s", "2m"), ConfigPlanChecks: planned(syncRunAddress, plancheck.ResourceActionCreate)},
			{
				PreConfig: func() { slow(60) },
				Config:    strings.Replace(config, "timeouts ", `verify = "count"`+"\n"+"timeouts ", 1), ExpectError: says(`did not end in time`),
			},
			{
				RefreshState: true, ExpectNonEmptyPlan: true,
				Check: resource.TestCheckResourceAttr(syncRunAddress, "status", "interrupted"),
			},
		},
	})
}

// Setting verify is a change in place, and runs the replication.
func TestAccSyncRun_verify(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	config := func(verify string) string {
		return strings.Replace(p.runConfig(twoTables, "1"), "triggers ", verify+"\ntriggers ", 1)
	}
	verified := func(table string, text knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("tables").AtMapKey(table).AtMapKey("verification"), text)
	}
	same := func(text string) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			verified("public.orders", knownvalue.StringExact("the same by "+text+": 10 rows")),
			verified("public.countries", knownvalue.StringExact("the same by "+text+": 2 rows")),
		}
	}
	runs := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
		plancheck.ExpectResourceAction(syncRunAddress, plancheck.ResourceActionUpdate),
		plancheck.ExpectUnknownValue(syncRunAddress, tfjsonpath.New("run_id")),
	}}
	runsNot := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
		plancheck.ExpectResourceAction(syncRunAddress, plancheck.ResourceActionUpdate),
		plancheck.ExpectKnownValue(syncRunAddress, tfjsonpath.New("run_id"), knownvalue.NotNull()),
	}}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: config(`verify = "all"`), PlanOnly: true, ExpectError: says(`value must be one of: ["none" "count" "checksum"]`)},
			{Config: config(`verify = "count"`), ConfigStateChecks: same("count")},
			{Config: config(`verify = "checksum"`), ConfigPlanChecks: runs, ConfigStateChecks: same("checksum")},
			{Config: config(``), ConfigPlanChecks: runsNot, ConfigStateChecks: same("checksum")},
			{ // nothing of a table that differs is committed
				PreConfig: func() {
					p.atSource(t, `INSERT INTO countries VALUES ('jp', 'Japan'); DELETE FROM orders WHERE id = 1`)
					p.atDestination(t, `CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
						CREATE TRIGGER swallow BEFORE INSERT ON shop.countries FOR EACH ROW EXECUTE PROCEDURE swallow()`)
				},
				Config: config(`verify = "count"`), ExpectError: says(`public.countries has 3 rows, but shop.countries would have 2 rows (rows of the source that are missing in the destination: 1). Nothing was committed`),
			},
			{ // INCREMENTAL keeps what is gone
				PreConfig:        func() { p.atDestination(t, `DROP FUNCTION swallow() CASCADE`) },
				Config:           config(`verify = "count"`),
				ConfigPlanChecks: runs,
				ConfigStateChecks: []statecheck.StateCheck{
					verified("public.orders", knownvalue.StringRegexp(regexp.MustCompile(`^different by count: rows of the destination that the source does not have, which INCREMENTAL keeps: 1$`))),
					verified("public.countries", knownvalue.StringExact("the same by count: 3 rows")),
				},
			},
		},
	})
}

// Rows without a replication key are counted, and a report on chunks of a table that failed is
// shown unchanged.
func TestAccSyncRun_report(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	p.atSource(t, `CREATE TABLE items (id int PRIMARY KEY, at timestamptz); INSERT INTO items VALUES (1, NULL), (2, NULL), (3, '2026-01-01');
		GRANT SELECT ON items TO `+p.reader)
	config := p.runConfig(`tables = { "public.items" = { replication_method = "INCREMENTAL", replication_key = "at" } }`, "1")
	items := tfjsonpath.New("tables").AtMapKey("public.items")
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config:            config,
				ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(syncRunAddress, items.AtMapKey("null_keys"), knownvalue.Int64Exact(2))},
			},
			{
				PreConfig: func() {
					p.atDestination(t, `UPDATE _stitch.run SET status = 'failed'; UPDATE _stitch.report SET status = 'failed', error = 'no more'`)
				},
				RefreshState: true, ExpectNonEmptyPlan: true,
				Check: resource.ComposeTestCheckFunc(
					resource.TestCheckResourceAttr(syncRunAddress, "status", "failed"),
					resource.TestCheckResourceAttr(syncRunAddress, "rows_loaded", "3"),
					resource.TestCheckResourceAttr(syncRunAddress, "tables.public.items.status", "failed"),
					resource.TestCheckResourceAttr(syncRunAddress, "tables.public.items.rows_extracted", "3"),
					resource.TestCheckResourceAttr(syncRunAddress, "tables.public.items.error", "no more"),
				),
			},
		},
	})
}

// A note is a warning of the run that makes it first, and of no plan. It stays in the report.
func TestAccSyncRun_notes(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	p.atSource(t, `CREATE VIEW open AS SELECT id, updated_at FROM orders; CREATE VIEW late AS SELECT id, updated_at FROM orders; GRANT SELECT ON open, late TO `+p.reader)
	config := func(trigger string) string {
		return requiredProviders + p.runConfig(`tables = {
			"public.open"   = { replication_method = "INCREMENTAL", replication_key = "updated_at", view_key_properties = ["id"] }
			"public.late"   = { replication_method = "INCREMENTAL", replication_key = "updated_at", view_key_properties = ["id"] }
			"public.orders" = { replication_method = "INCREMENTAL", replication_key = "updated_at" }
		}`, trigger) + `
		output "notes" { value = { for name, table in stitch_sync_run.shop.tables : name => table.notes if table.notes != null } }`
	}
	const note = "public.late, public.open: runs miss rows that are committed late with a key before the bookmark"
	w := newWorkspace(t, config("1"))
	told := func(output string) int { return len(says(note).FindAllString(output, -1)) }
	if output := w.run(t, "apply", "-auto-approve"); told(output) != 1 || strings.Count(output, "Warning:") != 2 { // one is that of dev_overrides
		t.Errorf("the first run:\n%s", output)
	}
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 || told(output) != 0 {
		t.Errorf("the plan after it:\n%s", output)
	}
	w.write(t, "main.tf", config("2"))
	if output := w.run(t, "apply", "-auto-approve"); told(output) != 0 {
		t.Errorf("the second run:\n%s", output)
	}
	if output := w.run(t, "output", "notes"); strings.Count(output, "before the bookmark: rows of a view") != 2 {
		t.Errorf("the report:\n%s", output)
	}
	p.atSource(t, `ALTER TABLE orders ADD COLUMN extra int DEFAULT 7`)
	w.write(t, "main.tf", config("3"))
	if output := w.run(t, "apply", "-auto-approve"); !says(`public.orders: column "extra" of type integer was added`).MatchString(output) {
		t.Errorf("a run that met another structure:\n%s", output)
	}
}
