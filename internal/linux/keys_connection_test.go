package linux

import (
	"fmt"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A key goes where sshd looks for it on the connection in use, whatever the login.
func TestAuthorizedKeyConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		match    string // %d is the port
		settings []string
	}{
		"LocalPort":      {match: "LocalPort %d"},
		"LocalAddress":   {match: "LocalAddress 127.0.0.0/8 LocalPort %d"},
		"Address":        {match: "Address 127.0.0.1 LocalPort %d"},
		"Host, address":  {match: "Host 127.0.0.1 LocalPort %d"},
		"Host, resolved": {match: "Host localhost LocalPort %d", settings: []string{"UseDNS yes"}},
		"not resolved":   {match: "Host !localhost,* LocalPort %d"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword, Settings: tt.settings})
			sandboxed.Exec(t, `printf 'Match %s User !root,!operator,*\nAuthorizedKeysFile .ssh/elsewhere\n' "$1" >>/etc/ssh/sshd_config`, fmt.Sprintf(tt.match, sandboxed.Port))
			if err := sandboxed.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			for _, sudo := range []sandbox.Sudo{sandbox.SudoNone, sandbox.SudoNoPassword} {
				h := connect(t, sandboxed, sudo)
				u := newUser(t, h, sandboxed.UserName())
				key, signer := newKey(t, "")
				if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: u.Name, PublicKey: key}); err != nil {
					t.Fatal(err)
				}
				if got := sandboxed.Exec(t, `ls "/home/$1/.ssh"`, u.Name); got != "elsewhere\n" {
					t.Errorf("files: %q", got)
				}
				if err := tunnel(sandboxed, u.Name, signer); err != nil {
					t.Error(err)
				}
				checked, err := CheckUser(ctx, h, Check{Username: u.Name, PublicKey: &key})
				if err != nil || checked.Blocked() {
					t.Errorf("check: %+v, %v", checked.Findings, err)
				}
			}
		})
	}
}
