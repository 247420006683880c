package provider

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const examplesDir = "../../examples"

// An example is a directory of examples/ that holds a configuration.
type example struct {
	name    string // of the directory: "resources/stitch_sync_run"
	config  string // all of its files
	imports string // its import.sh, if any
}

func examples(t *testing.T) (all []example) {
	t.Helper()
	configs := map[string]string{}
	err := filepath.WalkDir(examplesDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".tf" {
			return err
		}
		text, err := os.ReadFile(path)
		configs[filepath.Dir(path)] += string(text) + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, config := range configs {
		name, err := filepath.Rel(examplesDir, dir)
		if err != nil {
			t.Fatal(err)
		}
		imports, _ := os.ReadFile(filepath.Join(dir, "import.sh")) // only resources have one
		all = append(all, example{name, config, string(imports)})
	}
	return all
}

// Each example can be applied, plans nothing after that, can be imported, and can be destroyed.
func TestAccExamples(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("set TF_ACC to run acceptance tests")
	}
	for _, e := range examples(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			stage := newStage(t, e)
			stage.prepare(t, e.name)
			w := stage.workspace(t, e)
			w.run(t, "apply", "-auto-approve", "-input=false")
			if plan, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
				t.Errorf("a second plan is not empty: exit code %d\n%s", code, plan)
			}
			for _, arguments := range importCommands(stage.inImport(t, e.imports)) {
				w.run(t, append([]string{"import", "-state=imported.tfstate"}, arguments...)...)
			}
			w.run(t, "destroy", "-auto-approve")
		})
	}
}

// importCommands returns the arguments of each "terraform import" of a script.
func importCommands(script string) (commands [][]string) {
	for line := range strings.Lines(script) {
		if arguments, ok := strings.CutPrefix(line, "terraform import "); ok {
			commands = append(commands, strings.Fields(arguments))
		}
	}
	return commands
}

// Every resource has an example, and shows how to import it.
func TestExamplesAreComplete(t *testing.T) {
	all := examples(t)
	for _, newResource := range New("test").Resources(t.Context()) {
		var meta resource.MetadataResponse
		newResource().Metadata(t.Context(), resource.MetadataRequest{ProviderTypeName: "stitch"}, &meta)
		i := slices.IndexFunc(all, func(e example) bool { return e.name == "resources/"+meta.TypeName })
		switch {
		case i < 0:
			t.Errorf("examples/resources/%s/resource.tf is missing", meta.TypeName)
		case !strings.Contains(all[i].config, `resource "`+meta.TypeName+`"`):
			t.Errorf("examples/resources/%s/resource.tf shows something else", meta.TypeName)
		case !strings.Contains(all[i].imports, "terraform import "+meta.TypeName+"."):
			t.Errorf("examples/resources/%s/import.sh is missing, or shows something else", meta.TypeName)
		}
	}
}

// Every data source has an example.
func TestDataSourceExamplesAreComplete(t *testing.T) {
	all := examples(t)
	for _, newDataSource := range New("test").DataSources(t.Context()) {
		var meta datasource.MetadataResponse
		newDataSource().Metadata(t.Context(), datasource.MetadataRequest{ProviderTypeName: "stitch"}, &meta)
		i := slices.IndexFunc(all, func(e example) bool { return e.name == "data-sources/"+meta.TypeName })
		if i < 0 || !strings.Contains(all[i].config, `data "`+meta.TypeName+`"`) {
			t.Errorf("examples/data-sources/%s/data-source.tf is missing, or shows something else", meta.TypeName)
		}
	}
}

// Every function has an example.
func TestFunctionExamplesAreComplete(t *testing.T) {
	all := examples(t)
	for _, newFunction := range New("test").Functions(t.Context()) {
		var meta function.MetadataResponse
		newFunction().Metadata(t.Context(), function.MetadataRequest{}, &meta)
		i := slices.IndexFunc(all, func(e example) bool { return e.name == "functions/"+meta.Name })
		if i < 0 || !strings.Contains(all[i].config, "provider::stitch::"+meta.Name+"(") {
			t.Errorf("examples/functions/%s/function.tf is missing, or shows something else", meta.Name)
		}
	}
}

var (
	variableBlock = regexp.MustCompile(`(?ms)^variable "(\w+)" \{\n(.*?)^\}`)
	secretName    = regexp.MustCompile(`password|secret|token|key`)
	plainSecret   = regexp.MustCompile(`(?m)^\s*\w*(password|secret|token)(_wo)?\s*=\s*"|PRIVATE KEY`) // a private_key may be a path
)

// An example that users copy must not put their secrets into a plan or state, nor send the secrets
// of one server to another.
func TestExamplesKeepSecrets(t *testing.T) {
	for _, e := range examples(t) {
		for _, variable := range variableBlock.FindAllStringSubmatch(e.config, -1) {
			name, body := variable[1], variable[2]
			if !secretName.MatchString(name) {
				continue
			}
			for _, attribute := range []string{"ephemeral", "sensitive"} {
				if !regexp.MustCompile(`(?m)^\s*` + attribute + `\s*=\s*true\b`).MatchString(body) {
					t.Errorf("%s: variable %q is not %s", e.name, name, attribute)
				}
			}
			if regexp.MustCompile(`(?m)^\s*default\s*=`).MatchString(body) {
				t.Errorf("%s: variable %q has a default", e.name, name)
			}
		}
		for _, copied := range []string{`var.stitch_password`, `"disable"`} { // the same password for two servers, a server that proves nothing
			if strings.Contains(e.config, copied) {
				t.Errorf("%s: %s is no example to follow", e.name, copied)
			}
		}
		if secret := plainSecret.FindString(e.config); secret != "" {
			t.Errorf("%s: a secret in plain text: %s...", e.name, strings.TrimSpace(secret))
		}
	}
}

// A stage is a pair of servers as examples require, and a host for those with SSH. They belong to
// one example alone: users and databases belong to a whole server.
type stage struct {
	app, warehouse *sandbox.Server
	bastion        *sandbox.Host // or nil
	tunnelKey      string        // private, of the file tunnel_key
}

func newStage(t *testing.T, e example) stage {
	t.Helper()
	start := func() *sandbox.Server { return sandbox.OwnServer(t, sandbox.Config{TLS: true}) }
	s := stage{app: start(), warehouse: start()}
	if strings.Contains(e.config, "ssh_") {
		s.bastion = sandbox.SSHHost(t, sandbox.HostConfig{Hosts: map[string]string{
			"app.internal": s.app.Host, "db.internal": s.app.Host, "warehouse.internal": s.warehouse.Host,
		}})
		s.tunnelKey, _ = newSSHKey(t)
	}
	return s
}

// The passwords of the users that runs log in as.
const (
	appStitchPassword       = "correct horse battery staple"
	warehouseStitchPassword = "Tr0ub4dor & 3"
)

const exampleSource = `
	CREATE TABLE orders (id int PRIMARY KEY, total numeric(12, 2), shipped boolean, card_number text, updated_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO orders SELECT n, n * 1.19, n % 2 = 0, '4111', '2026-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, 100) AS n;
	CREATE TABLE countries (code text PRIMARY KEY, name text, flag bytea);
	INSERT INTO countries VALUES ('de', 'Germany', '\x00'), ('jp', '日本', NULL);
	CREATE VIEW open_orders AS SELECT id, total, updated_at FROM orders WHERE NOT shipped;
	CREATE SCHEMA billing;
	CREATE TABLE billing.orders (id int PRIMARY KEY, address jsonb);
	INSERT INTO billing.orders VALUES (1, '{"zip": "12345"}')`

// pgbenchTables creates the tables of "pgbench -i", without pgbench: not every server has it.
const pgbenchTables = `
	CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
	CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));
	CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
	CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
	INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, 1000) AS n;
	INSERT INTO pgbench_branches VALUES (1, 0);`

// prepare creates what an example requires.
func (s stage) prepare(t *testing.T, name string) {
	t.Helper()
	s.app.Exec(t, "postgres", "CREATE DATABASE shop")
	if name == "quickstart" || name == "bastion" {
		shop, err := os.ReadFile("../quickstart/source.sql")
		if err != nil {
			t.Fatal(err)
		}
		s.app.Exec(t, "shop", pgbenchTables+string(shop))
		return
	}
	s.app.Exec(t, "shop", exampleSource)
	switch name {
	case "data-sources/stitch_ssh_check":
		s.bastion.Exec(t, "useradd -m -p '*' stitch")
	case "resources/stitch_destination_grants":
		s.warehouse.Exec(t, "postgres", "CREATE DATABASE analytics")
	case "provider", "resources/stitch_replication", "resources/stitch_sync_run", "data-sources/stitch_connection_check":
		s.warehouse.Exec(t, "postgres", "CREATE DATABASE analytics")
		s.app.Exec(t, "postgres", "CREATE ROLE stitch LOGIN PASSWORD '"+appStitchPassword+"'")
		s.warehouse.Exec(t, "postgres", "CREATE ROLE stitch LOGIN PASSWORD '"+warehouseStitchPassword+"'")
		s.warehouse.Exec(t, "postgres", "CREATE ROLE analysts")
		s.warehouse.Exec(t, "analytics", "GRANT CREATE, CONNECT, TEMPORARY ON DATABASE analytics TO stitch")
		s.app.Exec(t, "shop", `
			GRANT USAGE ON SCHEMA public, billing TO stitch;
			GRANT SELECT ON ALL TABLES IN SCHEMA public, billing TO stitch`)
	}
}

// workspace holds the configuration of an example and what that lacks: a provider block or, for the
// example of the provider block, resources that use each server.
func (s stage) workspace(t *testing.T, e example) *workspace {
	t.Helper()
	config := e.config
	if !strings.Contains(config, "required_providers") {
		config += requiredProviders
	}
	if !strings.Contains(config, `provider "stitch"`) {
		hosts := map[string]string{}
		if s.bastion != nil {
			hosts["bastion"] = rootOf(s.bastion)
		}
		config += sshProviderBlock(hosts, map[string]string{
			"app":              administrator(s.app),
			"app_stitch":       login(s.app, "stitch", appStitchPassword),
			"warehouse":        administrator(s.warehouse),
			"warehouse_stitch": login(s.warehouse, "stitch", warehouseStitchPassword),
		})
	}
	var variables []string
	if e.name == "bastion" {
		variables = append(variables, "TF_VAR_bastion_host="+s.bastion.Host, fmt.Sprint("TF_VAR_bastion_port=", s.bastion.Port))
	}
	for name, value := range map[string]string{
		"app_host": s.app.Host, "app_port": fmt.Sprint(s.app.Port), "app_admin_password": s.app.Password,
		"warehouse_host": s.warehouse.Host, "warehouse_port": fmt.Sprint(s.warehouse.Port), "warehouse_admin_password": s.warehouse.Password,
		"app_stitch_password": appStitchPassword, "warehouse_stitch_password": warehouseStitchPassword,
	} {
		variables = append(variables, "TF_VAR_"+name+"="+value)
	}
	if e.name == "provider" {
		config = s.inPlaceOf(t, config) + usersOfAll
	}
	w := newWorkspace(t, config, variables...)
	w.write(t, "ca.pem", s.app.CA)
	w.write(t, "warehouse_ca.pem", s.warehouse.CA)
	if s.bastion != nil {
		w.write(t, "tunnel_key", s.tunnelKey)
		w.write(t, "bastion_key", s.bastion.OperatorKey)
		if e.name == "bastion" {
			w.write(t, "bastion_key", s.bastion.RootKey)
		}
		w.write(t, "known_hosts", fmt.Sprintf("[%s]:%d %s\n", s.bastion.Host, s.bastion.Port, s.bastion.HostKeys[0]))
	}
	return w
}

// inImport replaces the key that an example imports by the stage's own.
func (s stage) inImport(t *testing.T, script string) string {
	t.Helper()
	if s.bastion == nil {
		return script
	}
	key, err := ssh.ParsePrivateKey([]byte(s.tunnelKey))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`SHA256:[\w/+%]+`).ReplaceAllLiteralString(script, strings.ReplaceAll(ssh.FingerprintSHA256(key.PublicKey()), "/", "%2F"))
}

// inPlaceOf replaces the servers in the provider's example by the stage's.
func (s stage) inPlaceOf(t *testing.T, config string) string {
	t.Helper()
	config = regexp.MustCompile(`(?m)^\s*port\s*=.*\n`).ReplaceAllString(config, "")
	for host, in := range map[string]struct {
		place string
		port  int
	}{
		"app.example.com":     {s.app.Host, s.app.Port},
		"warehouse.internal":  {"warehouse.internal", s.warehouse.Port},
		"bastion.example.com": {s.bastion.Host, s.bastion.Port},
	} {
		if !strings.Contains(config, `"`+host+`"`) {
			t.Errorf("the example names no host %s", host)
		}
		config = strings.ReplaceAll(config, `"`+host+`"`, fmt.Sprintf("%q\nport = %d", in.place, in.port))
	}
	return regexp.MustCompile(`"ssh-ed25519 \S+"`).ReplaceAllString(config, fmt.Sprintf("%q", s.bastion.HostKeys[0]))
}

// usersOfAll uses each of the four servers.
const usersOfAll = `
	resource "stitch_database_user" "app" {
		server              = "app"
		name                = "other"
		password_wo         = var.app_stitch_password
		password_wo_version = 1
	}
	resource "stitch_database_user" "warehouse" {
		server              = "warehouse"
		name                = "other"
		password_wo         = var.warehouse_stitch_password
		password_wo_version = 1
	}
	resource "stitch_replication" "shop" {
		name        = "Shop"
		source      = { server = "app_stitch", database = "shop" }
		destination = { server = "warehouse_stitch", database = "analytics" }
		tables      = { "public.orders" = { replication_method = "FULL_TABLE" } }
	}
	resource "stitch_sync_run" "shop" {
		replication = stitch_replication.shop.id
	}
`
