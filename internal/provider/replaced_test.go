package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A user that is replaced, tainted, or destroyed alone and applied again is the same user, with the
// contents of its home directory.
func TestAccSSHUser_replaced(t *testing.T) { // not in parallel: another test's user could be given the uid that is free for a moment
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	name := h.UserName()
	_, public := newSSHKey(t)
	w := newWorkspace(t, requiredProviders+sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil)+fmt.Sprintf(`
		resource "stitch_ssh_user" "u" {
			host     = "bastion"
			username = %q
		}
		resource "stitch_ssh_authorized_key" "k" {
			host       = "bastion"
			username   = stitch_ssh_user.u.username
			public_key = %q
		}`, name, public))
	w.run(t, "apply", "-auto-approve")
	h.Exec(t, `su -s /bin/sh -c 'echo precious >"$HOME/file"; chmod 775 "$HOME"' "$1"`, name)
	facts := func() string {
		return h.Exec(t, `id -u "$1"; stat -c '%U %G' "/home/$1" "/home/$1/file" "/home/$1/.ssh/authorized_keys"; cat "/home/$1/file" "/home/$1/.ssh/authorized_keys"; ls -A "/home/$1" | sort`, name)
	}
	before := facts()
	for _, step := range [][][]string{
		{{"apply", "-auto-approve", "-replace=stitch_ssh_user.u"}},
		{{"taint", "stitch_ssh_user.u"}, {"apply", "-auto-approve"}},
		{{"destroy", "-auto-approve", "-target=stitch_ssh_user.u"}, {"apply", "-auto-approve"}},
		{{"apply", "-auto-approve", "-replace=stitch_ssh_authorized_key.k"}},
	} {
		for _, arguments := range step {
			w.run(t, arguments...)
		}
		if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
			t.Errorf("%q: the plan after is not empty:\n%s", step, output)
		}
		if after := facts(); after != before {
			t.Errorf("%q:\n%s\nbecame\n%s", step, before, after)
		}
	}
	w.run(t, "destroy", "-auto-approve")
	h.Exec(t, `rm -r "/home/$1"`, name)
}

// A plan that replaces a destination database without a change says what is lost, or that the
// tables prevent it.
func TestAccDestinationDatabase_replaced(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	database := s.DatabaseName(t)
	config := func(force bool) string {
		return requiredProviders + providerBlock(map[string]string{"a": administrator(s)}) + fmt.Sprintf(`
			resource "stitch_destination_database" "d" {
				server        = "a"
				name          = %q
				force_destroy = %t
			}
			resource "stitch_destination_schema" "s" {
				server   = "a"
				database = stitch_destination_database.d.name
				name     = "shop"
			}`, database, force)
	}
	w := newWorkspace(t, config(false))
	w.run(t, "apply", "-auto-approve")
	s.Exec(t, database, "CREATE TABLE shop.loaded (id int)")
	replaces := [][]string{{"plan", "-replace=stitch_destination_database.d"}, {"plan", "-replace=stitch_destination_schema.s"}}
	for _, arguments := range replaces {
		if output, code := w.try(t, arguments...); code != 1 || !strings.Contains(words(output), "Replacing would lose data") || !strings.Contains(output, "table shop.loaded") {
			t.Errorf("%q: exit code %d\n%s", arguments, code, output)
		}
	}
	w.write(t, "main.tf", strings.Replace(config(false), fmt.Sprintf("%q", database), fmt.Sprintf("%q", database+"_2"), 1))
	if output, code := w.try(t, "plan"); code != 1 || !strings.Contains(words(output), "Replacing would lose data") {
		t.Errorf("another name: exit code %d\n%s", code, output)
	}
	w.write(t, "main.tf", config(true))
	w.run(t, "apply", "-auto-approve")
	w.run(t, "taint", "stitch_destination_database.d") // for -replace, Terraform drops warnings
	output := w.run(t, "apply", "-auto-approve")
	if !strings.Contains(words(output), "Replacing loses data") {
		t.Errorf("nothing is said:\n%s", output)
	}
	w.run(t, "apply", "-auto-approve")
	w.run(t, "destroy", "-auto-approve")
}
