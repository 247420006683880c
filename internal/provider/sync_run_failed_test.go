package provider

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// shownRun is what Terraform shows about a run.
type shownRun struct {
	ID           string            `json:"id"`
	Status       string            `json:"status"`
	FailedTables map[string]string `json:"failed_tables"` // their errors
}

const shownRunOutput = `
	output "run" {
		value = {
			id            = stitch_sync_run.shop.run_id
			status        = stitch_sync_run.shop.status
			failed_tables = { for name, table in stitch_sync_run.shop.tables : name => table.error if table.status == "failed" }
		}
	}`

// shown refreshes and returns what Terraform shows about a run. "terraform refresh" computes
// outputs again only if a resource has changed.
func (w *workspace) shown(t *testing.T) (run shownRun) {
	t.Helper()
	w.run(t, "apply", "-refresh-only", "-auto-approve")
	if err := json.Unmarshal([]byte(w.run(t, "output", "-json", "run")), &run); err != nil {
		t.Fatal(err)
	}
	return run
}

func (p *pipe) latestRun(t *testing.T) string {
	t.Helper()
	rows := p.Query(t, p.destination, `SELECT id FROM _stitch.run ORDER BY started_at DESC LIMIT 1`)
	if len(rows) != 1 {
		t.Fatal("no run is recorded")
	}
	return rows[0]
}

// Terraform shows a failed run with its errors, however it failed, and plans it again in place.
func TestAccSyncRun_failedIsShown(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	config := func(trigger string) string {
		return requiredProviders + p.runConfig(twoTables, trigger) + shownRunOutput
	}
	w := newWorkspace(t, config("0"))
	w.run(t, "apply", "-auto-approve")
	for trigger, failure := range map[string]struct {
		harm, repair string // at the source
		failed       []string
		message      string // for each table, and of the apply
	}{
		"a table":              {`REVOKE SELECT ON countries FROM ` + p.reader, `GRANT SELECT ON countries TO ` + p.reader, []string{"public.countries"}, "permission denied for table countries"},
		"a run that began not": {`ALTER ROLE ` + p.reader + ` NOLOGIN`, `ALTER ROLE ` + p.reader + ` LOGIN`, []string{"public.countries", "public.orders"}, "is not permitted to log in"},
	} {
		p.atSource(t, failure.harm)
		w.write(t, "main.tf", config(trigger))
		before := p.latestRun(t)
		if output, code := w.try(t, "apply", "-auto-approve"); code != 1 || !says(failure.message).MatchString(output) {
			t.Fatalf("%s: the apply: exit code %d\n%s", trigger, code, output)
		}
		latest := p.latestRun(t)
		if latest == before {
			t.Errorf("%s: no failed run is recorded", trigger)
		}
		if state := w.state(t); !strings.Contains(state, `"run_id": "`+latest+`"`) || !strings.Contains(state, `"status": "failed"`) {
			t.Errorf("%s: the state does not hold the failed run %s:\n%s", trigger, latest, state)
		}
		shown := w.shown(t)
		if shown.ID != latest || shown.Status != "failed" || len(shown.FailedTables) != len(failure.failed) {
			t.Errorf("%s: Terraform shows %+v, not the failed run %s", trigger, shown, latest)
		}
		for _, table := range failure.failed {
			if !strings.Contains(shown.FailedTables[table], failure.message) {
				t.Errorf("%s: Terraform shows of %s: %q", trigger, table, shown.FailedTables[table])
			}
		}
		if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 2 || !strings.Contains(output, "0 to add, 1 to change, 0 to destroy") {
			t.Errorf("%s: the plan after it: exit code %d\n%s", trigger, code, output)
		}
		p.atSource(t, failure.repair)
		w.run(t, "apply", "-auto-approve")
		if shown := w.shown(t); shown.ID != p.latestRun(t) || shown.Status != "succeeded" || len(shown.FailedTables) > 0 {
			t.Errorf("%s: after the repair, Terraform shows %+v", trigger, shown)
		}
	}
}

// Refresh shows the latest run in the catalog, whatever ran it.
func TestAccSyncRun_latestIsShown(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	config := requiredProviders + p.runConfig(twoTables, "1") + shownRunOutput
	mine, other := newWorkspace(t, config), newWorkspace(t, strings.Replace(config, `again = "1"`, `again = "2"`, 1))
	mine.run(t, "apply", "-auto-approve")
	other.run(t, "import", "stitch_replication.shop", p.id())
	other.run(t, "import", syncRunAddress, p.id())
	p.atSource(t, `REVOKE SELECT ON countries FROM `+p.reader)
	if output, code := other.try(t, "apply", "-auto-approve"); code != 1 {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	if shown := mine.shown(t); shown.ID != p.latestRun(t) || shown.Status != "failed" {
		t.Errorf("Terraform shows %+v, not the run %s of another workspace", shown, p.latestRun(t))
	}
	p.atSource(t, `GRANT SELECT ON countries TO `+p.reader)
	other.run(t, "apply", "-auto-approve")
	if output := mine.run(t, "plan"); strings.Contains(output, "will be updated in-place") {
		t.Errorf("the plan once it has succeeded there:\n%s", output)
	}
}

// A first run that failed leaves no state. The error says where its report is.
func TestAccSyncRun_firstFailureSaysWhere(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	p.atSource(t, `REVOKE SELECT ON countries FROM `+p.reader)
	w := newWorkspace(t, requiredProviders+p.runConfig(twoTables, "1"))
	output, code := w.try(t, "apply", "-auto-approve")
	if code != 1 || strings.Contains(w.state(t), "stitch_sync_run") {
		t.Errorf("exit code %d\n%s", code, output)
	}
	latest := p.latestRun(t)
	const query = `SELECT * FROM _stitch.report WHERE run = `
	if !says(`database "`+p.destination+`" of server "warehouse"`).MatchString(output) || !says(query+"'"+latest+"'").MatchString(output) {
		t.Errorf("the error does not say where the report of run %s is:\n%s", latest, output)
	}
	if got := p.Query(t, p.destination, `SELECT source_table FROM _stitch.report WHERE status = 'failed' AND run = '`+latest+`'`); !slices.Equal(got, []string{"public.countries"}) {
		t.Errorf("the report says that %q failed", got)
	}
}
