package provider

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A pipe is a source with a shop and an empty destination, each with a login that has the
// documented grants and no more.
type pipe struct {
	*sandbox.Server
	source, destination string // databases
	reader, writer      string // roles
}

func newPipe(t *testing.T, s *sandbox.Server) *pipe {
	t.Helper()
	p := &pipe{Server: s, source: s.Database(t), destination: s.Database(t), reader: s.Role(t), writer: s.Role(t)}
	p.atSource(t, `
		CREATE TABLE orders (id int PRIMARY KEY, total numeric, note json, updated_at timestamptz NOT NULL DEFAULT now());
		INSERT INTO orders SELECT g, g * 1.5, '{}', '2026-01-01' FROM generate_series(1, 10) g;
		CREATE TABLE countries (code text PRIMARY KEY, name text);
		INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France');
		CREATE SCHEMA billing; CREATE TABLE billing.orders (id int PRIMARY KEY);
		GRANT USAGE ON SCHEMA public, billing TO `+p.reader+`;
		GRANT SELECT ON ALL TABLES IN SCHEMA public, billing TO `+p.reader)
	s.Exec(t, p.destination, `GRANT CREATE ON DATABASE `+p.destination+` TO `+p.writer)
	return p
}

func (p *pipe) atSource(t *testing.T, sql string) {
	t.Helper()
	p.Exec(t, p.source, sql)
}

func (p *pipe) atDestination(t *testing.T, sql string) {
	t.Helper()
	p.Exec(t, p.destination, sql)
}

// config returns the provider and a replication with further arguments.
func (p *pipe) config(name, arguments string) string {
	return providerBlock(map[string]string{
		"app":       login(p.Server, p.reader, p.Password),
		"warehouse": login(p.Server, p.writer, p.Password),
	}) + fmt.Sprintf(`
		resource "stitch_replication" "shop" {
			name        = %q
			source      = { server = "app", database = %q }
			destination = { server = "warehouse", database = %q }
			%s
		}`, name, p.source, p.destination, arguments)
}

// moved returns a configuration whose destination has another server. Its entry replaces the first
// one in the provider block.
func (p *pipe) moved(config, entry string) string {
	return strings.NewReplacer(
		"warehouse = "+login(p.Server, p.writer, p.Password), "other = "+entry,
		`{ server = "warehouse"`, `{ server = "other"`,
	).Replace(config)
}

func (p *pipe) id() string { return joinID("warehouse", p.destination, "shop") }

const (
	twoTables = `tables = {
		"public.orders"    = { replication_method = "INCREMENTAL", replication_key = "updated_at", exclude_columns = ["note"] }
		"public.countries" = { replication_method = "FULL_TABLE" }
	}`
	threeTables = `tables = {
		"public.orders"    = { replication_method = "INCREMENTAL", replication_key = "updated_at" }
		"public.countries" = { replication_method = "FULL_TABLE", columns = ["code"] }
		"billing.orders"   = { replication_method = "FULL_TABLE", table_name = "billing_orders" }
	}`
)

// assertNoCatalog checks that a replication has left nothing behind.
func (p *pipe) assertNoCatalog(t *testing.T) func(*terraform.State) error {
	return func(*terraform.State) error {
		if left := p.Query(t, p.destination, `SELECT nspname FROM pg_namespace WHERE nspname = '_stitch'`); left != nil {
			return fmt.Errorf("the catalog is still there")
		}
		return nil
	}
}

func TestAccReplication(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	const address = "stitch_replication.shop"
	revision := statecheck.CompareValue(differ{})
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             p.assertNoCatalog(t),
		Steps: []resource.TestStep{
			{ // create: the id and the revision are known at plan time
				Config: p.config("Shop", twoTables),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectKnownValue(address, tfjsonpath.New("id"), knownvalue.StringExact(p.id())),
					plancheck.ExpectKnownValue(address, tfjsonpath.New("schema_name"), knownvalue.StringExact("shop")),
					plancheck.ExpectKnownValue(address, tfjsonpath.New("revision"), knownvalue.StringRegexp(regexp.MustCompile("^[0-9a-f]{64}$"))),
				}},
				ConfigStateChecks: []statecheck.StateCheck{revision.AddStateValue(address, tfjsonpath.New("revision"))},
			},
			{
				ResourceName: address, ImportState: true, ImportStateId: p.id(), ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "id",
			},
			{ // another name: in place, the schema and the revision stay
				Config: p.config("Shop, renamed", twoTables),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate),
					plancheck.ExpectKnownValue(address, tfjsonpath.New("schema_name"), knownvalue.StringExact("shop")),
				}},
			},
			{ // even a name from which no schema name could be derived
				Config:           p.config("Public", twoTables),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			},
			{ // other tables: in place, under a new revision
				Config:            p.config("Shop, renamed", threeTables),
				ConfigPlanChecks:  planned(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: []statecheck.StateCheck{revision.AddStateValue(address, tfjsonpath.New("revision"))},
			},
			{ // drift in the catalog is repaired
				PreConfig: func() {
					p.atDestination(t, `UPDATE _stitch.replication SET definition = jsonb_set(definition, '{tables,public.orders,replication_key}', '"id"')`)
				},
				Config:           p.config("Shop, renamed", threeTables),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
			},
			{ // the replication has disappeared
				PreConfig:        func() { p.atDestination(t, `DELETE FROM _stitch.replication`) },
				Config:           p.config("Shop", threeTables),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
			},
			{ // another schema is another replication
				Config:           p.config("Shop", `schema_name = "shop_2"`+"\n"+threeTables),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionReplace),
			},
		},
	})
}

// A late-commit window changes in place without a run, and another spelling of it is no change.
func TestAccReplication_lateCommitWindow(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	const address = "stitch_replication.shop"
	config := func(window string) string {
		if window != "" {
			window = "late_commit_window = " + window + "\n"
		}
		return p.runConfig(window+twoTables, "1") + `
			resource "terraform_data" "window" { input = "1h30m" }`
	}
	stored := func(seconds int) resource.TestCheckFunc {
		return func(*terraform.State) error {
			got := p.Query(t, p.destination, `SELECT (definition->>'late_commit_window')::bigint / 1000000000 FROM _stitch.replication`)
			if want := fmt.Sprint(seconds); !slices.Equal(got, []string{want}) {
				return fmt.Errorf("the catalog has %q seconds, want %s", got, want)
			}
			return nil
		}
	}
	attribute := tfjsonpath.New("late_commit_window")
	is := func(text string) []statecheck.StateCheck {
		return []statecheck.StateCheck{statecheck.ExpectKnownValue(address, attribute, knownvalue.StringExact(text))}
	}
	inPlace := resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
		plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate),
		plancheck.ExpectResourceAction(syncRunAddress, plancheck.ResourceActionNoop),
	}}
	imported := resource.TestStep{
		ResourceName: address, ImportState: true, ImportStateId: p.id(), ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "id",
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: config(""), Check: stored(86400), ConfigStateChecks: is("24h")},
			imported,
			{Config: config(`"1440m"`), PlanOnly: true},
			{Config: config(`"90m"`), ConfigPlanChecks: inPlace, Check: stored(5400), ConfigStateChecks: is("90m")},
			{Config: config("terraform_data.window.output"), PlanOnly: true},
			{ // together with a change, the first spelling stays
				Config: strings.Replace(config(`"5400s"`), `"Shop"`, `"Shop, renamed"`, 1), ConfigPlanChecks: inPlace, Check: stored(5400), ConfigStateChecks: is("90m"),
			},
			{Config: config(`"0s"`), ConfigPlanChecks: inPlace, Check: stored(0), ConfigStateChecks: is("0s")},
			imported,
			{ // drift
				PreConfig: func() {
					p.atDestination(t, `UPDATE _stitch.replication SET definition = definition || '{"late_commit_window": 60000000000}'`)
				},
				Config: config(`"0s"`), ConfigPlanChecks: inPlace, Check: stored(0),
			},
			{Config: config(""), ConfigPlanChecks: inPlace, Check: stored(86400), ConfigStateChecks: is("24h")},
		},
	})
}

// A window and an identity that are not known yet can be planned, and so can the revision.
func TestAccReplication_unknownArguments(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	const address = "stitch_replication.shop"
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{{
			Config: p.config("Shop", `
				late_commit_window     = terraform_data.window.output
				accept_source_identity = terraform_data.identity.output
				`+twoTables) + `
				resource "terraform_data" "window" { input = "48h" }
				resource "terraform_data" "identity" { input = "123" }`,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectUnknownValue(address, tfjsonpath.New("late_commit_window")),
				plancheck.ExpectUnknownValue(address, tfjsonpath.New("revision")),
			}},
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("late_commit_window"), knownvalue.StringExact("48h")),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("revision"), knownvalue.NotNull()),
			},
		}},
	})
}

// A source in a cluster other than before is refused, until the value in the error is configured.
func TestAccReplication_acceptSourceIdentity(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	const address = "stitch_replication.shop"
	identity := p.Query(t, "postgres", `SELECT system_identifier FROM pg_control_system()`)[0]
	accepting := fmt.Sprintf("accept_source_identity = %q\n", identity) + twoTables
	both := func(actions plancheck.ResourceActionType) resource.ConfigPlanChecks {
		return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
			plancheck.ExpectResourceAction(address, actions), plancheck.ExpectResourceAction(syncRunAddress, actions),
		}}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: p.runConfig(twoTables, "1")},
			{
				PreConfig: func() {
					p.atDestination(t, `UPDATE _stitch.replication SET source_system = '123'; UPDATE _stitch.loaded_table SET source = '123/1'`)
				},
				Config:      p.runConfig(twoTables, "2"),
				ExpectError: says(`earlier runs read from cluster 123: the cluster was restored, upgraded or replaced. To replicate all tables from it again, set accept_source_identity = "` + identity + `"`),
			},
			{ // reads all tables whole
				Config: p.runConfig(accepting, "2"), ConfigPlanChecks: both(plancheck.ResourceActionUpdate),
				ConfigStateChecks: append(rowsLoaded(12), statecheck.ExpectKnownValue(address, tfjsonpath.New("accept_source_identity"), knownvalue.StringExact(identity))),
			},
			{Config: p.runConfig(accepting, "2"), PlanOnly: true},
			{
				ResourceName: address, ImportState: true, ImportStateId: p.id(), ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "id",
			},
			{ // and is no longer needed
				Config: p.runConfig(twoTables, "2"), ConfigPlanChecks: both(plancheck.ResourceActionUpdate), ConfigStateChecks: rowsLoaded(0),
			},
		},
	})
}

// A mistake is an error of the plan, at its attribute.
func TestAccReplication_mistakes(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	var steps []resource.TestStep
	for arguments, message := range map[string]string{
		`tables = { "public.ordres" = { replication_method = "FULL_TABLE" } }`:                                                           `has no table or view public.ordres. Schema public has countries, orders`,
		`tables = { "public.orders" = { replication_method = "FULL_TABLE", columns = ["totl"] } }`:                                       `has no column "totl"`,
		`tables = { "public.orders" = { replication_method = "INCREMENTAL", replication_key = "note" } }`:                                `which cannot order rows`,
		`tables = { "public.orders" = { replication_method = "INCREMENTAL" } }`:                                                          `INCREMENTAL needs a replication_key`,
		`tables = { "public.orders" = { replication_method = "LOG_BASED" } }`:                                                            `LOG_BASED is not supported yet`,
		`tables = { "public.orders" = { replication_method = "FULL_TABLE" }, "billing.orders" = { replication_method = "FULL_TABLE" } }`: `include_schema_in_table_names`,
		`tables = { "orders" = { replication_method = "FULL_TABLE" } }`:                                                                  `write it as schema.table`,
		`tables = {}`:                         `at least 1`,
		`tables = { "public.orders" = null }`: `null value`,
		`tables = { "public.orders" = { replication_method = "FULL_TABLE", columns = [null] } }`:                                                              `null value`,
		`tables = { "public.orders" = { replication_method = "FULL_TABLE", exclude_columns = [null] } }`:                                                      `null value`,
		`tables = { "public.open" = { replication_method = "FULL_TABLE", view_key_properties = [null] } }`:                                                    `null value`,
		`tables = { "public.open" = { replication_method = "FULL_TABLE", view_key_properties = ["id", "id"] } }`:                                              `duplicate`,
		`tables = { "public.orders" = { replication_method = "FULL_TABLE", replication_key = "" } }`:                                                          `length must be at least 1`,
		`tables = { "public.orders" = { replication_method = "FULL_TABLE" }, "public.\"orders\"" = { replication_method = "FULL_TABLE", table_name = "o" } }`: `list it once`,
		`schema_name = "public"` + "\n" + twoTables:                                                                                                           `"public" is reserved`,
		`late_commit_window = "1 day"` + "\n" + twoTables:                                                                                                     `"1 day" is not a duration: write hours, minutes and seconds, such as "24h"`,
		`late_commit_window = "-1h"` + "\n" + twoTables:                                                                                                       `"-1h" is negative`,
		`late_commit_window = "721h"` + "\n" + twoTables:                                                                                                      `"721h" is too long: "720h" is the maximum`,
		`accept_source_identity = "yes"` + "\n" + twoTables:                                                                                                   `must be the system identifier that the error of the run gives`,
		`frequency_in_minutes = 30` + "\n" + twoTables:                                                                                                        `frequency_in_minutes`,
	} {
		steps = append(steps, resource.TestStep{Config: p.config("Shop", arguments), PlanOnly: true, ExpectError: says(message)})
	}
	steps = append(steps, resource.TestStep{Config: p.config("Public", twoTables), PlanOnly: true, ExpectError: says(`cannot derive a schema name from the name "Public": "public" is reserved. Choose another name, or set schema_name`)})
	for _, server := range []string{"app", "warehouse"} {
		steps = append(steps, resource.TestStep{
			Config:   strings.Replace(p.config("Shop", twoTables), fmt.Sprintf("{ server = %q", server), `{ server = "other"`, 1),
			PlanOnly: true, ExpectError: says(`no entry "other": it has app, warehouse`),
		})
	}
	resource.ParallelTest(t, resource.TestCase{ProtoV6ProviderFactories: factories(), Steps: steps})
}

// A schema with tables that the replication did not load is refused.
func TestAccReplication_adopt(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	p.atDestination(t, `CREATE SCHEMA shop AUTHORIZATION `+p.writer+`; CREATE TABLE shop.mine (id int)`)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: p.config("Shop", twoTables), ExpectError: says(`already contains mine, which this replication did not load`)},
			{Config: p.config("Shop", "adopt = true\n"+twoTables)},
		},
	})
}

// A replication cannot move to a destination where another one loads into the same schema.
func TestAccReplication_elsewhere(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	elsewhere := sandbox.OwnServer(t, sandbox.Config{})
	elsewhere.Exec(t, "postgres", "CREATE DATABASE "+p.destination)
	config := p.config("Shop", twoTables)
	all := pgclient.NewServers(map[string]pgclient.Config{
		"other": {Host: elsewhere.Host, Port: elsewhere.Port, Username: elsewhere.Username, Password: elsewhere.Password},
	})
	defer all.Close()
	server, _ := all.Server("other")
	if err := replication.Create(t.Context(), pgclient.Endpoint{Server: server, Database: p.destination},
		definition.Definition{Name: "Another", SchemaName: "shop"}, false, pgclient.Identity{}); err != nil {
		t.Fatal(err)
	}
	gone := resource.TestStep{
		Config:      p.moved(config, administrator(elsewhere)),
		ExpectError: says(`cannot be deleted without the entry "warehouse"`),
	}
	holdsAnother := resource.TestStep{
		Config:      strings.Replace(gone.Config, "other = ", "warehouse = "+login(p.Server, p.writer, p.Password)+"\n    other = ", 1),
		ExpectError: says(`"other" already holds a replication into shop`),
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps:                    []resource.TestStep{{Config: config}, gone, holdsAnother, {Config: config, PlanOnly: true}},
	})
}

// A login that does not work yet does not fail a plan: the state is kept, and the plan says what
// was not checked.
func TestAccReplication_unreachable(t *testing.T) {
	p := newPipe(t, sandbox.Shared(t, 0))
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: p.config("Shop", twoTables)},
			{
				PreConfig: func() { p.Exec(t, p.source, `ALTER ROLE `+p.reader+` NOLOGIN; ALTER ROLE `+p.writer+` NOLOGIN`) },
				Config:    p.config("Shop", twoTables), PlanOnly: true,
			},
			{ // what cannot be checked can be planned
				Config: p.config("Shop", strings.ReplaceAll(twoTables, "countries", "cuontries")), PlanOnly: true, ExpectNonEmptyPlan: true,
			},
			{
				PreConfig: func() { p.Exec(t, p.source, `ALTER ROLE `+p.reader+` LOGIN; ALTER ROLE `+p.writer+` LOGIN`) },
				Config:    p.config("Shop", twoTables), PlanOnly: true,
			},
		},
	})
}

// differ requires that consecutive values differ.
type differ struct{}

func (differ) CompareValues(values ...any) error {
	if n := len(values); n > 1 && values[n-1] == values[n-2] {
		return fmt.Errorf("value %v did not change", values[n-1])
	}
	return nil
}
