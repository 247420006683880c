package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestObjectRefused(t *testing.T) {
	o := object{noun: "database user", name: "a b", on: `server "app"`, typeName: "stitch_database_user", key: []string{"app", `a "b"/${c}%{d}\`}}
	d := o.adoption([]string{"it is SUPERUSER", "it owns nothing"})
	if want := "Cannot create database user"; d.Summary() != want {
		t.Errorf("summary %q", d.Summary())
	}
	want := `The database user "a b" already exists on server "app". The provider did not adopt it and changed nothing, because it is not empty or does not match the configuration:

  - it is SUPERUSER
  - it owns nothing

To manage it here, paste this block into the configuration, replace LABEL with the name of this resource, and apply again. To leave it alone, choose another name.

  import {
    to = stitch_database_user.LABEL
    id = "app/a%20%22b%22%2F$%7Bc%7D%25%7Bd%7D%5C"
  }`
	if d.Detail() != want {
		t.Errorf("got\n%s\nwant\n%s", d.Detail(), want)
	}
	o.key[1] = strings.Repeat("x", 100)
	if shown := paragraphs(o.adoption([]string{"a"}).Detail()); !strings.Contains(shown, "\n      id=\"app/"+o.key[1]+"\"\n") {
		t.Errorf("a long id is shown as\n%s", shown)
	}
	forging := "it owns table x\n\n  import {\n    to = stitch_database_user.LABEL"
	if shown := o.adoption([]string{forging}).Detail(); strings.Count(shown, "\n  import {\n") != 1 {
		t.Errorf("a name forges the block:\n%s", shown)
	}
	many := o.adoption(make([]string, 25))
	if got := strings.Count(many.Detail(), "\n  - "); got != 21 || !strings.Contains(many.Detail(), "\n  - and 5 more\n") {
		t.Errorf("%d lines:\n%s", got, many.Detail())
	}
	adopted := o.adoption(nil)
	if want := `Database user "a b" was adopted`; adopted.Summary() != want {
		t.Errorf("summary %q", adopted.Summary())
	}
	if want := "If another resource or state manages it, remove this block from the state with `terraform state rm` (or a `removed` block with `destroy = false`) before you destroy anything."; !strings.HasSuffix(adopted.Detail(), want) {
		t.Errorf("detail %q", adopted.Detail())
	}
}

// In one apply, an object belongs to one resource: a second one does not adopt it, nor does a
// destroy delete it once another resource has created or adopted it.
func TestClaims(t *testing.T) {
	t.Parallel()
	o := object{noun: "database user", name: "a", typeName: "stitch_database_user", place: "10.0.0.1:5432", key: []string{"app", "a"}}
	again, elsewhere := o, o
	again.key = []string{"app2", "a"} // another entry of the same server
	elsewhere.place = "10.0.0.2:5432"

	c := newClaims()
	if got := tryCreate(t, c, o, errors.New("failed")); got != "failed" {
		t.Errorf("a failure is %q", got)
	}
	if got := tryCreate(t, c, o, nil); got != "" {
		t.Errorf("after a failure: %s", got)
	}
	for _, second := range []object{o, again} {
		if got := tryCreate(t, c, second, nil); !strings.Contains(got, "another resource of this configuration has already created") {
			t.Errorf("a second one, of %s: %q", second.key[0], got)
		}
		deleted := false
		diags := second.remove(t.Context(), c, func() error { deleted = true; return nil })
		if deleted || len(diags) != 1 || diags[0].Summary() != `Database user "a" was not deleted` {
			t.Errorf("deleted: %t, %v", deleted, diags)
		}
	}
	if got := tryCreate(t, c, elsewhere, nil); got != "" {
		t.Errorf("on another server: %s", got)
	}
}

// An object that another resource tried to take over and could not stays where it is: neither the
// object nor its state goes, in whichever order Terraform does the two.
func TestClaimsRefused(t *testing.T) {
	t.Parallel()
	o := object{noun: "SSH user", name: "a", typeName: "stitch_ssh_user", key: []string{"bastion", "a"}}
	synctest.Test(t, func(t *testing.T) {
		c := newClaims()
		exists := make(chan error)
		go creation{
			object: o, create: func() error { return <-exists }, isExisting: func(error) bool { return true },
			adopt: func() ([]string, error) { return []string{"its home directory holds a file"}, nil },
		}.run(t.Context(), c)
		synctest.Wait()
		deleted, removed := false, make(chan diag.Diagnostics)
		go func() { removed <- o.remove(t.Context(), c, func() error { deleted = true; return nil }) }()
		synctest.Wait()
		exists <- errors.New("it exists")
		if diags := <-removed; deleted || !diags.HasError() || !strings.Contains(diags[0].Detail(), "    from = stitch_ssh_user.OLD\n    to   = stitch_ssh_user.NEW\n") {
			t.Errorf("deleted: %t, %v", deleted, diags)
		}
	})
}

// tryCreate claims and creates an object with the given result, and returns what is wrong.
func tryCreate(t *testing.T, c *claims, o object, err error) string {
	t.Helper()
	diags := creation{object: o, create: func() error { return err }, isExisting: func(error) bool { return false }}.run(t.Context(), c)
	if diags.HasError() {
		return diags[0].Detail()
	}
	return ""
}

// A resource that creates or deletes an object waits until its deletion by another resource ends.
func TestClaimsInTurn(t *testing.T) {
	t.Parallel()
	o := object{noun: "database user", name: "a", typeName: "stitch_database_user", key: []string{"app", "a"}}
	synctest.Test(t, func(t *testing.T) {
		c := newClaims()
		isDeleting, gaveUp := false, make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		diags := o.remove(t.Context(), c, func() error {
			isDeleting = true
			go creation{
				object: o, isExisting: func(error) bool { return false },
				create: func() error {
					if isDeleting {
						t.Error("it was created while it was being deleted")
					}
					return nil
				},
			}.run(t.Context(), c)
			go func() {
				_, _, err := c.delete(ctx, o)
				gaveUp <- err
			}()
			synctest.Wait()
			cancel()
			synctest.Wait()
			isDeleting = false
			return nil
		})
		if diags != nil {
			t.Error(diags)
		}
		synctest.Wait()
		if got := tryCreate(t, c, o, nil); !strings.Contains(got, "another resource") {
			t.Errorf("it was not created afterwards: %q", got)
		}
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up was told %v", err)
		}
	})
}

// adoptConfig has one resource of each kind. LABEL stands for their labels.
const adoptConfig = requiredProviders + `
variable "port" { type = number }
variable "password" {
	type      = string
	ephemeral = true
}
variable "bastion" {
	type    = object({ port = number, host_key = string, public_key = string })
	default = null
}
variable "bastion_key" {
	type      = string
	default   = ""
	ephemeral = true
}
provider "stitch" {
	servers = {
		admin = { host = "127.0.0.1", port = var.port, username = "postgres", password = var.password, max_connections = 2 }
		again = { host = "127.0.0.1", port = var.port, username = "postgres", password = var.password }
	}
	ssh_hosts = var.bastion == null ? {} : {
		bastion = { host = "127.0.0.1", port = var.bastion.port, username = "root", private_key = var.bastion_key, host_key = var.bastion.host_key }
	}
}
resource "stitch_database_user" "LABEL" {
	server              = "ENTRY"
	name                = "stitch user"
	password_wo         = var.password
	password_wo_version = 1
}
resource "stitch_destination_database" "LABEL" {
	server = "ENTRY"
	name   = "analytics/1"
}
resource "stitch_destination_schema" "LABEL" {
	server   = "ENTRY"
	database = "warehouse"
	name     = "own"
}
resource "stitch_replication" "LABEL" {
	name        = "Shop"
	source      = { server = "admin", database = "warehouse" }
	destination = { server = "ENTRY", database = "warehouse" }
	tables      = { "public.t" = { replication_method = "FULL_TABLE" } }
}
`

const adoptSSHConfig = `
resource "stitch_ssh_user" "LABEL" {
	host     = "bastion"
	username = "stitch"
}
resource "stitch_ssh_authorized_key" "LABEL" {
	host       = "bastion"
	username   = "operator"
	public_key = var.bastion.public_key
}
`

// An adoptTest is a server, a host where one can be started, and the names of what is managed
// there.
type adoptTest struct {
	*killedTest
	config string
}

func newAdoptTest(t *testing.T) *adoptTest {
	t.Helper()
	a := &adoptTest{killedTest: &killedTest{workspace: newWorkspace(t, "")}, config: adoptConfig}
	s := sandbox.OwnServer(t, sandbox.Config{})
	s.Exec(t, "postgres", "CREATE DATABASE warehouse")
	s.Exec(t, "warehouse", "CREATE TABLE t (id int)")
	a.server, a.database = s, "warehouse"
	a.env = append(a.env, fmt.Sprintf("TF_VAR_port=%d", s.Port), "TF_VAR_password="+s.Password)
	if a.startHost(t, func(keys []string) any { return keys[0] }, "public_key") {
		a.config += adoptSSHConfig
	}
	return a
}

// configure writes the configuration with a label for its resources, and an entry of the provider.
func (a *adoptTest) configure(t *testing.T, label, entry string) {
	t.Helper()
	a.write(t, "main.tf", strings.NewReplacer("LABEL", label, "ENTRY", entry).Replace(a.config))
}

// kinds returns the number of resources.
func (a *adoptTest) kinds() int { return strings.Count(a.config, "\nresource ") }

// An object that exists and is what would be created is adopted, with a warning, and later deleted
// like a created one.
func TestAccAdopt(t *testing.T) {
	t.Parallel()
	a := newAdoptTest(t)
	before := a.leftovers(t)
	a.configure(t, "first", "admin")
	a.run(t, "apply", "-auto-approve")
	a.forget(t)
	if adopted := a.converge(t, true); len(adopted) != a.kinds() {
		t.Errorf("adopted %q", adopted)
	}
	a.run(t, "destroy", "-auto-approve")
	if after := a.leftovers(t); strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("not as it was:\n%q\n%q", before, after)
	}
}

// Of two resources for the same object, only one gets it.
func TestAccAdopt_twice(t *testing.T) {
	t.Parallel()
	a := newAdoptTest(t)
	a.configure(t, "first", "admin")
	_, resources, _ := strings.Cut(a.config, "\nresource ")
	a.write(t, "second.tf", strings.NewReplacer("LABEL", "second", "ENTRY", "again").Replace("resource "+resources))
	_, failures := a.tryApply(t)
	if len(failures) != a.kinds() {
		t.Errorf("%d failures: %+v", len(failures), failures)
	}
	for _, m := range failures {
		if !strings.Contains(m.text(), "another resource of this configuration") {
			t.Errorf("%s: %s", m.Diagnostic.Address, m.Diagnostic.Detail)
		}
	}
}

// A resource with a new label is destroyed and created at the same time: in whichever order that
// happens, the object exists afterwards. Another entry for the same server is a change in place.
func TestAccAdopt_renamed(t *testing.T) {
	t.Parallel()
	a := newAdoptTest(t)
	a.configure(t, "first", "admin")
	a.run(t, "apply", "-auto-approve")
	for _, label := range []string{"second", "third", "fourth"} {
		a.configure(t, label, "admin")
		a.converge(t, true)
	}
	a.config = regexp.MustCompile(`(resource "stitch_(?:database|destination)_\w+" "LABEL" {)`).ReplaceAllString(a.config, "$1\n\tlifecycle { create_before_destroy = true }")
	a.configure(t, "fourth", "again")
	if adopted := a.converge(t, true); len(adopted) != 0 {
		t.Errorf("adopted %q", adopted)
	}
	a.configure(t, "fourth", "admin")
	a.converge(t, true)
	a.run(t, "destroy", "-auto-approve")
}

// The block that the error shows imports what cannot be adopted, whatever its name.
func TestAccAdopt_paste(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("set TF_ACC to run acceptance tests")
	}
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t) + ` we"ird/${x}%{y}\é` + strings.Repeat("x", 20)
	quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	s.Exec(t, "postgres", "CREATE ROLE "+quoted+" LOGIN CONNECTION LIMIT 4")
	t.Cleanup(func() { s.Exec(t, "postgres", "DROP ROLE IF EXISTS "+quoted) })
	k := &killedTest{workspace: newWorkspace(t, requiredProviders+providerBlock(map[string]string{`"a.b"`: administrator(s)})+fmt.Sprintf(`
		resource "stitch_database_user" "u" {
			server = "a.b"
			name   = %s
		}`, strings.NewReplacer("${", "$${", "%{", "%%{").Replace(fmt.Sprintf("%q", name))))}
	_, failures := k.tryApply(t)
	if len(failures) != 1 || !strings.Contains(failures[0].text(), "connection_limit is 4, not -1") {
		t.Fatalf("%+v", failures)
	}
	k.converge(t, false)
	k.run(t, "destroy", "-auto-approve")
}
