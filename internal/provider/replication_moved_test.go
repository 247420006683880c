package provider

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A route is a pipe whose entries of the provider block can have any name and lead anywhere.
type route struct {
	*pipe
	entries             map[string]string
	source, destination string // entries
	arguments, trigger  string
}

func newRoute(t *testing.T, s *sandbox.Server) route {
	t.Helper()
	p := newPipe(t, s)
	return route{
		pipe: p, entries: map[string]string{"app": login(s, p.reader, p.Password), "warehouse": login(s, p.writer, p.Password)},
		source: "app", destination: "warehouse", arguments: twoTables, trigger: "1",
	}
}

// with returns r with another set of entries, and the two that it uses.
func (r route) with(source, destination string, entries map[string]string) route {
	r.source, r.destination = source, destination
	r.entries = maps.Clone(r.entries)
	maps.Copy(r.entries, entries)
	maps.DeleteFunc(r.entries, func(_, entry string) bool { return entry == "" })
	return r
}

func (r route) config() string {
	return requiredProviders + providerBlock(r.entries) + fmt.Sprintf(`
		resource "stitch_replication" "shop" {
			name        = "Shop"
			source      = { server = %q, database = %q }
			destination = { server = %q, database = %q }
			%s
		}
		resource "stitch_sync_run" "shop" {
			replication = stitch_replication.shop.id
			triggers    = { definition = stitch_replication.shop.revision, again = %q }
		}`, r.source, r.pipe.source, r.destination, r.pipe.destination, r.arguments, r.trigger)
}

func (r route) write(t *testing.T, w *workspace) {
	t.Helper()
	w.write(t, "main.tf", r.config())
}

// plans checks the output of a plan, in this order of changes.
func plans(t *testing.T, w *workspace, what, changes string, want ...string) {
	t.Helper()
	output := w.run(t, "plan")
	for _, text := range append(want, changes) {
		if !says(text).MatchString(output) {
			t.Errorf("%s: the plan does not say %q\n%s", what, text, output)
		}
	}
}

// plansNothing checks that a plan changes nothing.
func plansNothing(t *testing.T, w *workspace, what string) {
	t.Helper()
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("%s: the plan after: exit code %d\n%s", what, code, output)
	}
}

// refuses checks that terraform fails and says why.
func refuses(t *testing.T, w *workspace, what string, arguments []string, want ...string) {
	t.Helper()
	output, code := w.try(t, arguments...)
	for _, text := range want {
		if code != 1 || !says(text).MatchString(output) {
			t.Errorf("%s: exit code %d, and it does not say %q\n%s", what, code, text, output)
		}
	}
}

func proxyOf(t *testing.T, s *sandbox.Server) *sandbox.Proxy {
	t.Helper()
	return sandbox.StartProxy(t, net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
}

func loginThrough(p *sandbox.Proxy, username, password string) string {
	return fmt.Sprintf("{ host = \"127.0.0.1\", port = %d, username = %q, password = %q, connect_timeout = 3 }", p.Port, username, password)
}

// Another name of an entry, another address or another login of the same server changes nothing:
// there is no run, and the next one reads no table whole.
func TestAccReplication_renamed(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	r := newRoute(t, s)
	reader, writer := s.Role(t), s.Role(t)
	s.Exec(t, "postgres", "GRANT "+r.reader+" TO "+reader+"; GRANT "+r.writer+" TO "+writer)
	proxy := proxyOf(t, s)
	r.arguments = "force_destroy = true\n" + twoTables
	w := newWorkspace(t, r.config())
	w.run(t, "apply", "-auto-approve")
	run := r.latestRun(t)
	app, warehouse := r.entries["app"], r.entries["warehouse"]
	for _, step := range []struct {
		what, source, destination string
		entries                   map[string]string // "": no longer configured
		changes                   int
	}{
		{"source", "shop", "warehouse", map[string]string{"shop": app, "app": ""}, 1},
		{"destination", "shop", "analytics", map[string]string{"analytics": warehouse, "warehouse": ""}, 2},
		{"both", "app", "warehouse", map[string]string{"app": app, "warehouse": warehouse, "shop": "", "analytics": ""}, 2},
		{"another login", "login", "other", map[string]string{"login": login(s, reader, s.Password), "other": login(s, writer, s.Password)}, 2},
		{"another address", "through", "proxy", map[string]string{"through": loginThrough(proxy, r.reader, s.Password), "proxy": loginThrough(proxy, r.writer, s.Password), "login": "", "other": ""}, 2},
		{"back", "app", "warehouse", map[string]string{"app": app, "warehouse": warehouse}, 2},
	} {
		r = r.with(step.source, step.destination, step.entries)
		r.write(t, w)
		output := w.run(t, "apply", "-auto-approve")
		if !strings.Contains(output, fmt.Sprintf("0 to add, %d to change, 0 to destroy", step.changes)) || says("leads elsewhere").MatchString(output) || says("lead to the same place").MatchString(output) || says("removes its tables").MatchString(output) {
			t.Errorf("%s:\n%s", step.what, output)
		}
		plansNothing(t, w, step.what)
		if got := r.latestRun(t); got != run {
			t.Errorf("%s: it ran again", step.what)
		}
		if state := w.state(t); !strings.Contains(state, run) || !strings.Contains(state, `"`+joinID(step.destination, r.pipe.destination, "shop")+`"`) {
			t.Errorf("%s: the state is\n%s", step.what, state)
		}
	}
	r.atSource(t, `INSERT INTO orders SELECT max(id) + 1, 7, '{}', '2026-02-01' FROM orders`)
	r.trigger = "2"
	r.write(t, w)
	w.run(t, "apply", "-auto-approve")
	if got := r.Query(t, r.pipe.destination, `SELECT note FROM _stitch.report, unnest(notes) AS note WHERE run::text = $1`, r.latestRun(t)); got != nil {
		t.Errorf("the run after it notes %q", got)
	}
	r.wantLoaded(t, "after it", s, s)
	w.run(t, "destroy", "-auto-approve")
}

// copySource creates a similar source on another server.
func (r route) copySource(t *testing.T, s *sandbox.Server) {
	t.Helper()
	s.Exec(t, "postgres", "CREATE ROLE "+r.reader+" LOGIN PASSWORD '"+r.Password+"'")
	s.Exec(t, "postgres", "CREATE DATABASE "+r.pipe.source)
	s.Exec(t, r.pipe.source, `
		CREATE TABLE orders (id int PRIMARY KEY, total numeric, note json, updated_at timestamptz NOT NULL DEFAULT now());
		INSERT INTO orders SELECT g, g * 2.5, '{}', '2026-01-01' FROM generate_series(1, 7) g;
		CREATE TABLE countries (code text PRIMARY KEY, name text);
		INSERT INTO countries VALUES ('it', 'Italy');
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+r.reader)
}

// wantLoaded checks that the destination has what a source has.
func (r route) wantLoaded(t *testing.T, what string, source *sandbox.Server, destination *sandbox.Server) {
	t.Helper()
	for table, columns := range map[string][]string{"orders": {"id", "total", "updated_at"}, "countries": {"code", "name"}} {
		columns = slices.Clone(columns)
		differences, err := sandbox.Differences(context.WithoutCancel(t.Context()),
			sandbox.Rows{Server: source, Database: r.pipe.source, Table: "public." + table, Columns: columns},
			sandbox.Rows{Server: destination, Database: r.pipe.destination, Table: "shop." + table, Columns: columns}, 5)
		if err != nil || len(differences) > 0 {
			t.Errorf("%s: %s differs: %q, %v", what, table, differences, err)
		}
	}
}

// When the source is a database other than before, the plan names it, and the same apply reads it
// again.
func TestAccReplication_sourceElsewhere(t *testing.T) {
	t.Parallel()
	s, elsewhere := sandbox.OwnServer(t, sandbox.Config{}), anotherServer(t)
	r := newRoute(t, s)
	r.arguments = strings.Replace(twoTables, "INCREMENTAL\", replication_key = \"updated_at\"", "FULL_TABLE\"", 1)
	r.copySource(t, elsewhere)
	cluster := func(s *sandbox.Server) string {
		return s.Query(t, "postgres", "SELECT system_identifier FROM pg_control_system()")[0]
	}
	accepting := "accept_source_identity = \"" + cluster(elsewhere) + "\"\n" + r.arguments
	w := newWorkspace(t, r.config())
	w.run(t, "apply", "-auto-approve")
	revision := func() string {
		_, after, _ := strings.Cut(w.state(t), `"revision": "`)
		return after[:64]
	}
	before, run := revision(), r.latestRun(t)
	ranAgain := func(what string) {
		t.Helper()
		plansNothing(t, w, what)
		if now, latest := revision(), r.latestRun(t); now == before || latest == run {
			t.Errorf("%s: the revision was %s and is %s, the run was %s and is %s", what, before, now, run, latest)
		} else {
			before, run = now, latest
		}
	}

	// Another database has the same name.
	r.Exec(t, "postgres", "DROP DATABASE "+r.pipe.source+" WITH (FORCE)")
	r.Exec(t, "postgres", "CREATE DATABASE "+r.pipe.source)
	r.atSource(t, `CREATE TABLE orders (id int PRIMARY KEY, total numeric, note json, updated_at timestamptz NOT NULL); INSERT INTO orders VALUES (3, 3, NULL, '2026-01-01');
		CREATE TABLE countries (code text PRIMARY KEY, name text); GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+r.reader)
	plans(t, w, "recreated", "0 to add, 2 to change, 0 to destroy", `source.server "app" now leads elsewhere`, "was dropped and created again")
	w.run(t, "apply", "-auto-approve")
	ranAgain("recreated")
	r.wantLoaded(t, "recreated", s, s)

	// Another entry leads to a copy.
	copied := sandbox.OwnServer(t, sandbox.Config{Data: s.CopyData(t)})
	copied.Exec(t, r.pipe.source, `INSERT INTO orders VALUES (4, 4, NULL, '2026-01-02')`)
	r = r.with("copy", "warehouse", map[string]string{"copy": login(copied, r.reader, s.Password)})
	r.write(t, w)
	plans(t, w, "a copy", "0 to add, 2 to change, 0 to destroy", `"copy" does not lead to the same place as "app"`, "one is a copy")
	w.run(t, "apply", "-auto-approve")
	ranAgain("a copy")
	r.wantLoaded(t, "a copy", copied, s)

	// The same entry leads to another cluster, which runs refuse until it is accepted.
	r = r.with("copy", "warehouse", map[string]string{"copy": login(elsewhere, r.reader, s.Password)})
	r.write(t, w)
	plans(t, w, "another cluster", "0 to add, 2 to change, 0 to destroy", `source.server "copy" now leads elsewhere`, cluster(elsewhere), "The source is in a different cluster than before")
	refuses(t, w, "another cluster", []string{"apply", "-auto-approve"}, `set accept_source_identity = "`+cluster(elsewhere)+`"`)
	plans(t, w, "another cluster, again", "0 to add, 1 to change, 0 to destroy")
	r.arguments = accepting
	r.write(t, w)
	w.run(t, "apply", "-auto-approve")
	ranAgain("another cluster")
	r.wantLoaded(t, "another cluster", elsewhere, s)

	// Another entry that leads to another cluster is refused by the plan.
	r = r.with("app", "warehouse", nil)
	r.write(t, w)
	refuses(t, w, "not accepted", []string{"plan"}, "The source is in a different cluster than before", `set accept_source_identity = "`+cluster(s)+`"`)
	r.arguments = strings.Replace(r.arguments, cluster(elsewhere), cluster(s), 1)
	r.write(t, w)
	w.run(t, "apply", "-auto-approve")
	ranAgain("accepted")
	r.wantLoaded(t, "accepted", s, s)
}

// Where the source cannot be asked at plan time, the apply asks it, and its revision is known after
// the apply: there is no run, or a refusal that changes nothing.
func TestAccReplication_sourceUnchecked(t *testing.T) {
	t.Parallel()
	s, elsewhere := sandbox.Shared(t, 0), anotherServer(t)
	r := newRoute(t, s)
	r.copySource(t, elsewhere)
	w := newWorkspace(t, r.config())
	w.run(t, "apply", "-auto-approve")
	run := r.latestRun(t)
	for _, to := range []*sandbox.Server{s, elsewhere} {
		proxy := proxyOf(t, to)
		r = r.with("new", "warehouse", map[string]string{"new": loginThrough(proxy, r.reader, s.Password)})
		r.write(t, w)
		proxy.Refuse()
		output := w.run(t, "plan", "-out=saved")
		if !says(`Could not check where "new" leads`).MatchString(output) || !says("0 to add, 2 to change").MatchString(output) {
			t.Errorf("the plan:\n%s", output)
		}
		refuses(t, w, "still unreachable", []string{"apply", "saved"}, `"new" may not lead to the same place as "app"`, "Nothing was changed")
		proxy.Accept()
		definition := r.Query(t, r.pipe.destination, "SELECT definition FROM _stitch.replication")
		if to == s {
			w.run(t, "apply", "saved")
			plansNothing(t, w, "the same")
			r = r.with("app", "warehouse", nil)
			r.write(t, w)
			w.run(t, "apply", "-auto-approve")
		} else {
			refuses(t, w, "elsewhere", []string{"apply", "saved"}, "The source is in a different cluster than before")
			if got := r.Query(t, r.pipe.destination, "SELECT definition FROM _stitch.replication"); !slices.Equal(got, definition) {
				t.Errorf("the definition was %s and is %s", definition, got)
			}
		}
		if got := r.latestRun(t); got != run {
			t.Errorf("it ran again")
		}
	}
}

// A destination that is elsewhere replaces the replication, unless tables would be lost or a
// replication already exists there; the plan says so before anything changes.
func TestAccReplication_destinationElsewhere(t *testing.T) {
	t.Parallel()
	s, elsewhere := sandbox.OwnServer(t, sandbox.Config{}), anotherServer(t)
	r := newRoute(t, s)
	elsewhere.Exec(t, "postgres", "CREATE ROLE "+r.writer+" LOGIN PASSWORD '"+r.Password+"'")
	elsewhere.Exec(t, "postgres", "CREATE DATABASE "+r.pipe.destination)
	elsewhere.Exec(t, r.pipe.destination, "GRANT CREATE ON DATABASE "+r.pipe.destination+" TO "+r.writer)
	r.arguments = "force_destroy = true\n" + twoTables
	w := newWorkspace(t, r.config())
	w.run(t, "apply", "-auto-approve")
	stored := func() []string {
		return r.Query(t, r.pipe.destination, "SELECT definition::text FROM _stitch.replication UNION ALL SELECT id::text FROM _stitch.run UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace ORDER BY 1")
	}
	before := stored()
	unchanged := func(what string) {
		t.Helper()
		if got := stored(); !slices.Equal(got, before) {
			t.Errorf("%s: %q became %q", what, before, got)
		}
	}
	proxy := proxyOf(t, elsewhere)
	copied := sandbox.OwnServer(t, sandbox.Config{Data: s.CopyData(t)})
	r = r.with("app", "new", map[string]string{
		"new": login(elsewhere, r.writer, s.Password), "copy": login(copied, r.writer, s.Password), "through": loginThrough(proxy, r.writer, s.Password),
	})
	r.write(t, w)
	refuses(t, w, "by force", []string{"apply", "-auto-approve"}, "Replacing would lose data", `"new" does not lead to the same place as "warehouse"`, "it has the system identifier", "force_destroy is set", "shop.orders")
	unchanged("by force")

	r.arguments = twoTables
	r = r.with("app", "copy", nil)
	r.write(t, w)
	refuses(t, w, "by force, a copy", []string{"plan"}, "Replacing would lose data", "one is a copy")
	r = r.with("app", "warehouse", nil)
	r.write(t, w)
	w.run(t, "apply", "-auto-approve")
	before = stored()
	r = r.with("app", "copy", nil)
	r.write(t, w)
	refuses(t, w, "a copy", []string{"plan"}, `"copy" already holds a replication into shop`)

	proxy.Refuse()
	r = r.with("app", "through", nil)
	r.write(t, w)
	plans1 := w.run(t, "plan", "-out=saved")
	if !says(`Could not check where "through" leads`).MatchString(plans1) || !says("0 to add, 2 to change").MatchString(plans1) {
		t.Errorf("not checked:\n%s", plans1)
	}
	proxy.Accept()
	refuses(t, w, "elsewhere", []string{"apply", "saved"}, `"through" does not lead to the same place as "warehouse"`, "Nothing was changed")
	unchanged("elsewhere")

	r = r.with("app", "new", nil)
	r.write(t, w)
	plans(t, w, "new", "1 to add, 1 to change, 1 to destroy", `"new" does not lead to the same place as "warehouse"`)
	w.run(t, "apply", "-auto-approve")
	plansNothing(t, w, "new")
	r.wantLoaded(t, "new", s, elsewhere)
	if got := r.Query(t, r.pipe.destination, "SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = '_stitch' ORDER BY 1"); !slices.Equal(got, []string{"countries", "orders"}) {
		t.Errorf("left: %q", got)
	}

	// Back under the same name: nothing of the replication exists there. Its tables are taken over.
	r = r.with("app", "new", map[string]string{"new": login(s, r.writer, s.Password)})
	r.write(t, w)
	plans(t, w, "the same entry", "2 to add, 0 to change, 0 to destroy", `destination.server "new" now leads elsewhere`)
	w.run(t, "apply", "-auto-approve")
	plansNothing(t, w, "the same entry")
	r.wantLoaded(t, "the same entry", s, s)

	// Another database has the same name.
	r.Exec(t, "postgres", "DROP DATABASE "+r.pipe.destination+" WITH (FORCE)")
	r.Exec(t, "postgres", "CREATE DATABASE "+r.pipe.destination)
	r.atDestination(t, "GRANT CREATE ON DATABASE "+r.pipe.destination+" TO "+r.writer)
	plans(t, w, "recreated", "2 to add, 0 to change, 0 to destroy", `destination.server "new" now leads elsewhere`, "database with the oid")
	w.run(t, "apply", "-auto-approve")
	plansNothing(t, w, "recreated")
	r.wantLoaded(t, "recreated", s, s)

	// The same entry leads to a replication of the same name: a destroy does not touch that one.
	r = r.with("app", "new", map[string]string{"new": login(elsewhere, r.writer, s.Password)})
	r.write(t, w)
	refuses(t, w, "destroy", []string{"destroy", "-auto-approve"}, `destination.server "new" now leads elsewhere`, "does not destroy it")
	r = r.with("app", "new", map[string]string{"new": login(s, r.writer, s.Password)})
	r.write(t, w)
	w.run(t, "apply", "-auto-approve")
	w.run(t, "destroy", "-auto-approve")
}

// A replication with create_before_destroy that would be created in its own place says why that
// cannot be.
func TestAccReplication_createBeforeDestroy(t *testing.T) {
	t.Parallel()
	r := newRoute(t, sandbox.Shared(t, 0))
	r.arguments = "lifecycle { create_before_destroy = true }\n" + twoTables
	w := newWorkspace(t, r.config())
	w.run(t, "apply", "-auto-approve")
	run := r.latestRun(t)
	refuses(t, w, "replaced", []string{"apply", "-auto-approve", "-replace=stitch_replication.shop"},
		"schema_name is unique in a database", "Remove create_before_destroy from the lifecycle of this resource and of all resources that refer to it")
	plansNothing(t, w, "replaced")
	if got := r.latestRun(t); got != run {
		t.Error("it ran again")
	}
	r.arguments = "schema_name = \"shop_2\"\n" + r.arguments
	r.write(t, w)
	w.run(t, "apply", "-auto-approve") // another schema can be created first
	plansNothing(t, w, "another schema")
	w.run(t, "destroy", "-auto-approve")
}
