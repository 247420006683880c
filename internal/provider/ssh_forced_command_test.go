package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// An SSH host that runs a forced command instead of a shell for its login, as cloud images do for
// root, fails what needs that shell, and nothing else.
func TestAccForcedCommand(t *testing.T) {
	t.Parallel()
	bastion := sandbox.SSHHost(t, sandbox.HostConfig{})
	bastion.Exec(t, `sed -i 's/^/command="echo use the bastion" /' /root/.ssh/authorized_keys`)
	s := sandbox.Shared(t, 0)
	names := []string{s.DatabaseName(t), s.DatabaseName(t), s.DatabaseName(t), s.DatabaseName(t)}
	_, public := newSSHKey(t)
	w := newWorkspace(t, requiredProviders+
		sshProviderBlock(map[string]string{"bastion": rootOf(bastion)}, map[string]string{"app": administrator(s)})+fmt.Sprintf(`
		resource "stitch_ssh_user" "stitch" {
			host     = "bastion"
			username = "stitch"
		}
		resource "stitch_ssh_authorized_key" "root" {
			host       = "bastion"
			username   = "root"
			public_key = %q
		}
		resource "stitch_destination_database" "d" {
			for_each = toset(%s)
			server   = "app"
			name     = each.key
		}`, public, strings.ReplaceAll(fmt.Sprintf("%q", names), " ", ", ")))
	output, code := w.try(t, "apply", "-auto-approve")
	plain := strings.Join(strings.Fields(strings.ReplaceAll(output, "│", " ")), " ")
	for _, want := range []string{"Cannot create SSH user", "Cannot create authorized key", `SSH host "bastion"`, `"root"`, "use the bastion", "ssh_hosts.bastion"} {
		if !strings.Contains(plain, want) {
			t.Errorf("the output does not say %q", want)
		}
	}
	if code == 0 || strings.Contains(output, "panic") || strings.Contains(output, "plugin") {
		t.Errorf("exit code %d\n%s", code, output)
	}
	for _, name := range names {
		if !strings.Contains(w.state(t), `"name": "`+name+`"`) {
			t.Errorf("database %s is not in the state", name)
		}
	}

	w.write(t, "check.tf", `
		data "stitch_ssh_check" "bastion" { host = "bastion" }
		output "advice" { value = data.stitch_ssh_check.bastion.advice }`)
	output = w.run(t, "apply", "-auto-approve", "-target=data.stitch_ssh_check.bastion")
	if !strings.Contains(output, "use the bastion") {
		t.Errorf("the check does not say what the host said:\n%s", output)
	}
}
