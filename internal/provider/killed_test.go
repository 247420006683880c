package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// killedConfig has fifty resources of all kinds. Where the administrator is a superuser, it also
// changes the owners of databases.
const killedConfig = requiredProviders + `
variable "port" { type = number }
variable "admin" { type = string }
variable "superuser" { type = bool }
variable "admin_password" {
	type      = string
	ephemeral = true
}
variable "stitch_password" {
	type      = string
	ephemeral = true
}
variable "bastion" {
	type    = object({ port = number, host_key = string, public_keys = list(string) })
	default = null
}
variable "bastion_key" {
	type      = string
	default   = ""
	ephemeral = true
}

locals {
	databases = [for i in range(6) : "analytics ${i}"]
	hosts     = var.bastion == null ? 0 : 1
}

provider "stitch" {
	servers = merge(
		{ admin = { host = "127.0.0.1", port = var.port, username = var.admin, password = var.admin_password, max_connections = 3 } },
		{ for i in range(3) : "stitch_${i}" => { host = "127.0.0.1", port = var.port, username = "stitch ${i}", password = var.stitch_password, max_connections = 2 } },
	)
	ssh_hosts = var.bastion == null ? {} : {
		bastion = { host = "127.0.0.1", port = var.bastion.port, username = "root", private_key = var.bastion_key, host_key = var.bastion.host_key }
	}
}

resource "stitch_database_user" "u" {
	count               = 10
	server              = "admin"
	name                = "stitch ${count.index}"
	password_wo         = var.stitch_password
	password_wo_version = 1
	connection_limit    = count.index == 9 ? 5 : -1
	valid_until         = count.index == 8 ? "2040-01-31T13:00:00+01:00" : null
	parameters          = count.index == 7 ? { work_mem = "8MB", search_path = "a, \"B\"" } : null
}
resource "stitch_destination_database" "d" {
	count            = 6
	server           = "admin"
	name             = local.databases[count.index]
	owner            = var.superuser ? stitch_database_user.u[count.index].name : null
	comment          = count.index == 1 ? "loaded" : null
	encoding         = count.index == 2 ? "UTF8" : null
	template         = count.index == 2 ? "template0" : null
	connection_limit = count.index == 3 ? 50 : null
	force_destroy    = true
}
resource "stitch_destination_schema" "s" {
	count    = 12
	server   = "admin"
	database = stitch_destination_database.d[floor(count.index / 2)].name
	name     = "own/${count.index}"
	owner    = count.index % 2 == 0 ? stitch_database_user.u[floor(count.index / 2)].name : null
	comment  = count.index == 3 ? "mine" : null
}
resource "stitch_destination_grants" "g" {
	count    = 6
	server   = "admin"
	database = stitch_destination_database.d[count.index].name
	user     = stitch_database_user.u[count.index].name
}
resource "stitch_source_grants" "g" {
	count    = 6
	server   = "admin"
	database = "shop"
	user     = stitch_database_user.u[count.index].name
	schemas  = ["public"]
}
resource "stitch_replication" "r" {
	count         = 3
	name          = "Shop"
	source        = { server = "stitch_${count.index}", database = stitch_source_grants.g[count.index].database }
	destination   = { server = "stitch_${count.index}", database = stitch_destination_grants.g[count.index].database }
	readers       = count.index == 1 ? [stitch_database_user.u[5].name] : null
	force_destroy = true
	tables        = { "public.orders" = { replication_method = "FULL_TABLE" } }
}
resource "stitch_sync_run" "r" {
	count       = 2
	replication = stitch_replication.r[count.index].id
	triggers    = { definition = stitch_replication.r[count.index].revision }
}
resource "stitch_ssh_user" "u" {
	count    = 3 * local.hosts
	host     = "bastion"
	username = "stitch${count.index}"
	shell    = "/bin/sh"
	comment  = count.index == 1 ? "loads, nightly" : null
}
resource "stitch_ssh_authorized_key" "k" {
	count      = 3 * local.hosts
	host       = "bastion"
	username   = stitch_ssh_user.u[count.index].username
	public_key = var.bastion.public_keys[count.index]
	options    = ["restrict", "port-forwarding"]
}
`

// A killedTest kills applies of killedConfig.
type killedTest struct {
	*workspace
	server   *sandbox.Server
	database string        // that exists before the apply
	host     *sandbox.Host // nil where none can be started
	random   *rand.Rand
}

// newKilledTest starts the servers and the host.
func newKilledTest(t *testing.T, major int, superuser bool, seed uint64) *killedTest {
	t.Helper()
	w := newWorkspace(t, killedConfig)
	s := sandbox.OwnServer(t, sandbox.Config{Major: major})
	admin := s.Username
	if !superuser {
		admin = "administrator"
		s.Exec(t, "postgres", "CREATE ROLE administrator LOGIN CREATEROLE CREATEDB PASSWORD '"+s.Password+"'")
	}
	s.Exec(t, "postgres", "CREATE DATABASE shop OWNER "+admin)
	s.Exec(t, "shop", "SET ROLE "+admin+`; CREATE TABLE public.orders (id int PRIMARY KEY, total numeric);
		INSERT INTO public.orders SELECT g, g / 3.0 FROM generate_series(1, 100) g`)
	w.env = append(w.env,
		fmt.Sprintf("TF_VAR_port=%d", s.Port), "TF_VAR_admin="+admin, fmt.Sprintf("TF_VAR_superuser=%t", superuser),
		"TF_VAR_admin_password="+s.Password, "TF_VAR_stitch_password="+wholePassword)
	k := &killedTest{workspace: w, server: s, database: "shop", random: rand.New(rand.NewPCG(seed, 0))}
	k.startHost(t, func(keys []string) any { return keys }, "public_keys")
	return k
}

// startHost starts an SSH host if one can be started here, and adds it to the configuration with an
// attribute that holds public keys.
func (k *killedTest) startHost(t *testing.T, value func(keys []string) any, attribute string) bool {
	t.Helper()
	h := sandbox.SSHHostIfAny(t, sandbox.HostConfig{})
	if h == nil {
		return false
	}
	var keys []string
	for range 3 {
		_, public := newSSHKey(t)
		keys = append(keys, public)
	}
	bastion, err := json.Marshal(map[string]any{"port": h.Port, "host_key": h.HostKeys[0], attribute: value(keys)})
	if err != nil {
		t.Fatal(err)
	}
	k.env = append(k.env, "TF_VAR_bastion="+string(bastion), "TF_VAR_bastion_key="+h.RootKey)
	k.host = h
	return true
}

// leftovers lists everything that an apply could leave behind.
func (k *killedTest) leftovers(t *testing.T) []string {
	t.Helper()
	list := inventory(t, k.server, k.database)
	if k.host != nil {
		list = append(list, strings.Split(k.host.Exec(t, `sort /etc/passwd /etc/group; ls -A /home`), "\n")...)
	}
	return list
}

// progress counts what Terraform prints about resources, and signals when the wanted number is
// reached.
type progress struct {
	mu     sync.Mutex
	text   bytes.Buffer
	wanted int
	once   sync.Once
	enough chan struct{}
}

func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(text)
	all := p.text.String()
	if strings.Count(all, ": Creating...")+strings.Count(all, ": Creation complete") >= p.wanted {
		p.once.Do(func() { close(p.enough) })
	}
	return len(text), nil
}

// kill begins an apply, and kills Terraform and the provider once some resources were created, or
// are being created.
func (k *killedTest) kill(t *testing.T, atLeast int) {
	t.Helper()
	cmd := sandbox.Terraform(t.Context(), k.dir, k.env, "apply", "-auto-approve", "-parallelism=10")
	output := &progress{wanted: atLeast + k.random.IntN(90-atLeast), enough: make(chan struct{})}
	after := time.Duration(k.random.IntN(60)) * time.Millisecond
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	select {
	case <-output.enough:
		select {
		case <-time.After(after): // so that it also dies between two of its outputs
		case <-ended:
		}
	case <-ended:
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the whole group; it may have ended
	<-ended
	if code := cmd.ProcessState.ExitCode(); code > 0 { // it may have finished before
		t.Fatalf("the apply that should have been killed failed with exit code %d:\n%s", code, output.text.String())
	}
}

// A message is what Terraform prints with -json.
type message struct {
	Diagnostic struct {
		Severity, Summary, Detail, Address string
	} `json:"diagnostic"`
}

// text is the detail in one line.
func (m message) text() string { return strings.Join(strings.Fields(m.Diagnostic.Detail), " ") }

// tryApply applies, and returns the warnings and errors.
func (k *killedTest) tryApply(t *testing.T) (warnings, failures []message) {
	t.Helper()
	output, code := k.try(t, "apply", "-auto-approve", "-json", "-parallelism=10")
	for line := range strings.Lines(output) {
		var m message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			continue // about Terraform's own settings
		}
		switch m.Diagnostic.Severity {
		case "warning":
			warnings = append(warnings, m)
		case "error":
			failures = append(failures, m)
		}
	}
	if (code == 0) != (len(failures) == 0) {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	return warnings, failures
}

var importBlock = regexp.MustCompile(`(?s)import {\n.*?\n *}`)

// paste writes the import blocks that errors show into the configuration, as a reader of the errors
// would.
func (k *killedTest) paste(t *testing.T, failures []message) {
	t.Helper()
	var blocks strings.Builder
	for _, m := range failures {
		block := importBlock.FindString(m.Diagnostic.Detail)
		typeName, _, _ := strings.Cut(m.Diagnostic.Address, ".")
		if strings.Count(block, typeName+".LABEL\n") != 1 {
			t.Fatalf("%s: %s\nshows no block to paste:\n%s", m.Diagnostic.Address, m.Diagnostic.Summary, m.Diagnostic.Detail)
		}
		blocks.WriteString(strings.Replace(block, typeName+".LABEL", m.Diagnostic.Address, 1) + "\n")
	}
	k.write(t, "imports.tf", blocks.String())
}

// hasState reports whether Terraform recorded anything. If it was killed while it wrote the state,
// it leaves a truncated one, which hasState removes.
func (k *killedTest) hasState(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(k.dir, "terraform.tfstate"))
	if err == nil && json.Valid(text) {
		return true
	}
	k.forget(t)
	return false
}

// forget removes Terraform's state.
func (k *killedTest) forget(t *testing.T) {
	t.Helper()
	for _, name := range []string{"terraform.tfstate", "terraform.tfstate.backup"} {
		if err := os.Remove(filepath.Join(k.dir, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// converge applies until everything is as configured, and returns what was adopted. If Terraform
// has its state, it must get there by itself, and otherwise with the import blocks that errors
// show.
func (k *killedTest) converge(t *testing.T, hasState bool) (adopted []string) {
	t.Helper()
	const rounds = 6 // users, databases, grants and schemas, replications, runs, nothing
	var blocks []message
	for round := 1; ; round++ {
		warnings, failures := k.tryApply(t)
		for _, m := range warnings {
			if !strings.HasSuffix(m.Diagnostic.Summary, " was adopted") {
				continue
			}
			adopted = append(adopted, m.Diagnostic.Address)
			if !strings.Contains(m.text(), "is empty and matches the configuration") {
				t.Errorf("%s: %s", m.Diagnostic.Address, m.Diagnostic.Detail)
			}
		}
		if failures == nil {
			break
		}
		if hasState || round == rounds {
			t.Fatalf("apply %d failed:\n%+v", round, failures)
		}
		blocks = append(blocks, failures...)
		k.paste(t, blocks)
	}
	t.Logf("adopted %q, imported %d", adopted, len(blocks))
	k.paste(t, nil) // otherwise the blocks would prevent the destroy
	if output, code := k.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Fatalf("the plan afterwards is not empty:\n%s", output)
	}
	return adopted
}

// testKilled kills Terraform and the provider at any instant of an apply of fifty resources. The
// next apply takes over what they made and did not record: by itself if Terraform has its state,
// and otherwise with the import blocks that it shows.
func testKilled(t *testing.T, table *disasterTable) {
	majors := sandbox.NeedMajors(t)
	seed := sandbox.Seed(t)
	for i := range 1 + sandbox.Effort(t) {
		major := majors[i*(len(majors)-1)%len(majors)] // the oldest, then from the newest downwards
		losesState, isSuperuser := i%2 == 1, (i+i/2)%2 == 0
		t.Run(fmt.Sprintf("killed %d/postgres%d", i, major), func(t *testing.T) {
			t.Parallel()
			k := newKilledTest(t, major, isSuperuser, seed+uint64(i))
			before := k.leftovers(t)
			name := "kill -9 of an apply of fifty resources"
			if losesState {
				name += ", and its state lost"
				k.kill(t, 40) // once something is complete
				k.forget(t)
			} else {
				k.kill(t, 0)
			}
			began := time.Now()
			adopted := k.converge(t, k.hasState(t))
			took := time.Since(began)
			if losesState && adopted == nil {
				t.Error("nothing was adopted")
			}
			table.add(name, nil, k.compare(t), took)
			k.run(t, "destroy", "-auto-approve", "-parallelism=10")
			if after := k.leftovers(t); !slices.Equal(before, after) {
				t.Errorf("not as it was:\n%q\n%q", before, after)
			}
		})
	}
}

// compare returns how many of the replicated rows differ.
func (k *killedTest) compare(t *testing.T) (differ int) {
	t.Helper()
	columns := []string{"id", "total"}
	for _, database := range []string{"analytics 0", "analytics 1"} {
		differences, err := sandbox.Differences(t.Context(),
			sandbox.Rows{Server: k.server, Database: k.database, Table: "public.orders", Columns: columns},
			sandbox.Rows{Server: k.server, Database: database, Table: "shop.orders", Columns: columns}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(differences) > 0 {
			t.Errorf("%s: %d rows differ: %q", database, len(differences), differences[:min(len(differences), 5)])
		}
		differ += len(differences)
	}
	return differ
}
