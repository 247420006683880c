package linux

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A new user gets the home directory that a deleted user of its name left, with that user's uid; no
// other new user does.
func TestUserHomeLeft(t *testing.T) {
	eachRoot(t, testUserHomeLeft)
}

func testUserHomeLeft(t *testing.T, root string) {
	for name, tt := range map[string]struct {
		script  string // $1 is the user, $2 its uid; runs in what it left
		refused bool
	}{
		"as it was left":           {script: ":"},
		"open to others":           {script: `chmod 777 .`},
		"keys that others write":   {script: `mkdir .ssh; : >.ssh/authorized_keys; chmod 666 .ssh/authorized_keys; chown -R "$2" .ssh`},
		"no mark":                  {`rm .terraform-provider-stitch`, true},
		"mark of somebody":         {`chown "$2" .terraform-provider-stitch`, true},
		"mark is a link":           {`mv .terraform-provider-stitch mark; ln -s mark .terraform-provider-stitch`, true},
		"mark of another user":     {`sed -i 's/: .* /: other /' .terraform-provider-stitch`, true},
		"mark of another uid":      {`sed -i 's/$/1/' .terraform-provider-stitch`, true},
		"of somebody else":         {`chown 54321 .`, true},
		"the uid is somebody's":    {`printf 'new%s:x:%s:100::/:/bin/sh\n' "$2" "$2" >>/etc/passwd`, true},
		"a link in its place":      {`cd ..; mv "$1" "$1.moved"; ln -s "$1.moved" "$1"`, true},
		"marked, and root's":       {`chown root .; sed -i 's/ [0-9]*$/ 0/' .terraform-provider-stitch`, true},
		"the group is there again": {`printf '%s:x:54399:\n' "$1" >>/etc/group`, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
			h := connect(t, sandboxed, sandbox.SudoNone)
			u := newUser(t, h, sandboxed.UserName())
			sandboxed.Exec(t, `su -s /bin/sh -c 'echo precious >"$HOME/file"' "$1"`, u.Name)
			uid := strings.TrimSpace(sandboxed.Exec(t, `id -u "$1"`, u.Name))
			if done, err := DeleteUser(ctx, h, u.Name, u.UID, DeleteOptions{}); err != nil || !strings.Contains(done.KeptHome, "holds files") {
				t.Fatalf("%+v, %v", done, err)
			}
			sandboxed.Exec(t, `cd "/home/$1"; `+tt.script, u.Name, uid)
			again, err := CreateUser(ctx, h, NewUser{Name: u.Name})
			if (err != nil) != tt.refused {
				t.Fatalf("%+v, %v", again, err)
			}
			if tt.refused {
				return
			}
			if again.UID != u.UID || again.Problems() != nil {
				t.Errorf("%+v, %q", again, again.Problems())
			}
			if got := sandboxed.Exec(t, `cd "/home/$1"; cat file; ls -A | grep -v '^.ssh$'`, u.Name); got != "precious\nfile\n" {
				t.Errorf("holds %q", got)
			}
		})
	}
}
