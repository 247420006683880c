package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// An object that existed at plan time and is gone when the saved plan is applied must be planned
// again.
func TestAccSavedPlanOfWhatIsGone(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	role, database, other, user := s.RoleName(t), s.DatabaseName(t), s.Database(t), h.UserName()
	_, public := newSSHKey(t)
	config := func(limit int, comment, shell, options string) string {
		return requiredProviders + sshProviderBlock(map[string]string{"bastion": rootOf(h)}, map[string]string{"app": administrator(s)}) + fmt.Sprintf(`
			resource "stitch_database_user" "u" {
				server           = "app"
				name             = %[1]q
				connection_limit = %[2]d
			}
			resource "stitch_destination_database" "d" {
				server  = "app"
				name    = %[4]q
				comment = %[3]q
			}
			resource "stitch_destination_schema" "s" {
				server   = "app"
				database = %[5]q
				name     = "gone"
				comment  = %[3]q
			}
			resource "stitch_ssh_user" "u" {
				host     = "bastion"
				username = %[6]q
				shell    = %[7]q
			}
			resource "stitch_ssh_authorized_key" "k" {
				host       = "bastion"
				username   = "operator"
				public_key = %[8]q
				options    = [%[9]s]
			}`, role, limit, comment, database, other, user, shell, public, options)
	}
	w := newWorkspace(t, config(5, "old", "/bin/sh", ""))
	w.run(t, "apply", "-auto-approve")
	w.write(t, "main.tf", config(7, "new", "/bin/bash", `"restrict"`))
	w.run(t, "plan", "-out=saved")
	s.Exec(t, other, "DROP SCHEMA gone")
	s.Exec(t, "postgres", "DROP ROLE "+role)
	s.Exec(t, "postgres", "DROP DATABASE "+database)
	h.Exec(t, `userdel -r "$1" 2>/dev/null; sed -i "\|$2|d" /home/operator/.ssh/authorized_keys`, user, public)
	output, code := w.try(t, "apply", "saved")
	if code != 1 || strings.Count(words(output), "It existed at plan time, but no longer does. Plan again") != 5 {
		t.Errorf("exit code %d\n%s", code, output)
	}
	w.run(t, "apply", "-auto-approve")
	w.run(t, "destroy", "-auto-approve")
}
