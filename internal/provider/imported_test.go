package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A plan warns when destroying or replacing an object drops one that was imported: Terraform did
// not create it. Terraform did create its replacement.
func TestAccImported(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	user, database := s.RoleName(t), s.DatabaseName(t)
	s.Exec(t, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN", user))
	s.Exec(t, "postgres", fmt.Sprintf("CREATE DATABASE %s", database))
	s.Exec(t, database, "CREATE SCHEMA shop")
	resources := fmt.Sprintf(`
		resource "stitch_database_user" "u" {
			server = "a"
			name   = %q
		}
		resource "stitch_destination_database" "d" {
			server = "a"
			name   = %q
		}
		resource "stitch_destination_schema" "s" {
			server   = "a"
			database = stitch_destination_database.d.name
			name     = "shop"
		}`, user, database)
	provider := requiredProviders + providerBlock(map[string]string{"a": administrator(s)})
	w := newWorkspace(t, provider+resources+fmt.Sprintf(`
		import {
			to = stitch_database_user.u
			id = "a/%[1]s"
		}
		import {
			to = stitch_destination_database.d
			id = "a/%[2]s"
		}
		import {
			to = stitch_destination_schema.s
			id = "a/%[2]s/shop"
		}`, user, database))
	if output := w.run(t, "apply", "-auto-approve"); strings.Contains(output, "was imported") {
		t.Errorf("importing drops nothing:\n%s", output)
	}
	w.write(t, "main.tf", provider+resources)
	all := []string{`Database user "` + user + `" was imported`, `Destination database "` + database + `" was imported`, `Destination schema "shop" was imported`}
	says := func(what string, want []string, arguments ...string) {
		t.Helper()
		output := w.run(t, append([]string{"plan"}, arguments...)...)
		for _, text := range all {
			wanted := strings.Contains(strings.Join(want, "\n"), text)
			if got := strings.Contains(words(output), text); got != wanted {
				t.Errorf("%s: the plan says %q: %t, want %t\n%s", what, text, got, wanted, output)
			}
		}
	}
	says("nothing", nil)
	says("destroy", all, "-destroy")
	w.write(t, "main.tf", provider+strings.Replace(resources, user, user+"_2", 1))
	says("another name", all[:1])
	w.write(t, "main.tf", provider+resources)
	w.run(t, "taint", "stitch_database_user.u")
	says("taint", all[:1])
	w.run(t, "apply", "-auto-approve")
	says("destroy of what took its place", all[1:], "-destroy")
	w.run(t, "destroy", "-auto-approve")
}

// The same holds for a key that someone else had put into the file.
func TestAccImportedKey(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	_, public := newSSHKey(t)
	name := h.UserName()
	h.Exec(t, `useradd -m -p '*' "$1"; mkdir -m 700 "/home/$1/.ssh"; printf '%s\n' "$2" >"/home/$1/.ssh/authorized_keys"; chown -R "$1:" "/home/$1/.ssh"`, name, public)
	fingerprint := strings.Fields(h.Exec(t, `printf '%s\n' "$1" | ssh-keygen -lf -`, public))[1]
	w := newWorkspace(t, requiredProviders+sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil)+fmt.Sprintf(`
		resource "stitch_ssh_authorized_key" "k" {
			host       = "bastion"
			username   = %[1]q
			public_key = %[2]q
		}
		import {
			to = stitch_ssh_authorized_key.k
			id = "bastion/%[1]s/%[3]s"
		}`, name, public, strings.ReplaceAll(fingerprint, "/", "%2F")))
	w.run(t, "apply", "-auto-approve")
	if output := w.run(t, "plan", "-destroy"); !strings.Contains(words(output), "was imported") {
		t.Errorf("the plan says nothing:\n%s", output)
	}
	w.run(t, "destroy", "-auto-approve")
}
