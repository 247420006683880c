package sshclient

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A host may run a forced command for a login instead of a shell, as cloud images do for root.
// However that command ends, the error quotes its output.
func TestForcedCommand(t *testing.T) {
	const givesUp = "no shell started within"
	t.Parallel()
	h := sandbox.SSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoPassword})
	keys := h.Exec(t, `cat /root/.ssh/authorized_keys`)
	force := func(user, home, command string) {
		key := keys
		if user != "root" {
			key = h.Exec(t, `sed 's/.*ssh-ed25519/ssh-ed25519/' /home/operator/.ssh/authorized_keys`)
		}
		h.Exec(t, `printf '%s' "$1" >"$2/.ssh/authorized_keys"`, `command="`+strings.ReplaceAll(command, `"`, `\"`)+`" `+key, home)
	}
	sudo := asOperator(h)
	sudo.Sudo, sudo.SudoPassword = true, h.OperatorPassword
	for name, tt := range map[string]struct {
		command string
		want    []string
	}{
		"ends well":                {`echo use the bastion`, []string{"exit status 0", "use the bastion"}},
		"ends well, says nothing":  {`true`, []string{"exit status 0"}},
		"fails":                    {`echo use the bastion; exit 142`, []string{"exit status 142", "use the bastion"}},
		"is killed":                {`echo use the bastion; kill -9 $$`, []string{`signal "KILL"`, "use the bastion"}},
		"complains and ends well":  {`echo use the bastion >&2`, []string{"use the bastion"}},
		"waits for what to do":     {`read line; echo "what is $line?"`, []string{givesUp}},
		"speaks as our shell":      {`echo terraform-provider-stitch: ready`, []string{"before the command began"}},
		"speaks as our shell, 84":  {`echo terraform-provider-stitch: ready; exit 84`, []string{"exit status 84", "before the command began"}},
		"writes without end":       {`yes`, []string{"more than 64 KiB"}},
		"complains without end":    {`yes >&2`, []string{givesUp}},
		"says much, then the mark": {`head -c 200000 /dev/zero; echo terraform-provider-stitch: ready`, []string{"more than 64 KiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			for login, config := range map[string]Config{"root": asRoot(h), sandbox.OperatorName: sudo} {
				home := "/home/" + login
				if login == "root" {
					home = "/root"
				}
				force(login, home, tt.command)
				client := only(t, config)
				if slices.Contains(tt.want, givesUp) {
					client.limits.shell = 300 * time.Millisecond
				}
				for range 2 { // the second over the existing connection
					output, err := client.Run(within10(t), Command{Script: "true"})
					if output != nil {
						t.Errorf("as %s: %q", login, output)
					}
					wantText(t, err, append(tt.want, `"bastion"`, login, "ssh_hosts.bastion")...)
					if err != nil && len(err.Error()) > 4000 {
						t.Errorf("the error has %d bytes", len(err.Error()))
					}
				}
			}
		})
	}
}
