package linux

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A home directory is not made where other users could replace it before root gives it to the user:
// root would give away what a link leads to.
func TestHomeOfOthers(t *testing.T) {
	eachRoot(t, testHomeOfOthers)
}

func testHomeOfOthers(t *testing.T, root string) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	// The owner of the directory replaces what root makes in it, at the worst moment.
	sandboxed.Exec(t, `
		mkdir -p /srv/app /srv/shared /srv/ours /srv/way/in
		chown operator /srv/app /srv/way; chmod 775 /srv/shared
		real=$(command -v mkdir)
		mkdir -p /usr/local/sbin
		cat >/usr/local/sbin/mkdir <<END
#!/bin/sh
for last; do :; done
if [ "\$last" = ./way ]; then mv /srv/way/in /srv/way/moved; ln -s /etc /srv/way/in; fi
$real "\$@" || exit
for home in /srv/app/app /srv/shared/shared; do
	if [ -d "\$home" ] && [ ! -L "\$home" ]; then mv "\$home" "\$home.moved"; ln -s /etc "\$home"; fi
done
END
		chmod 755 /usr/local/sbin/mkdir`)
	etc := func() string { return sandboxed.Exec(t, `stat -c '%a %u %g' /etc; ls -d /etc/way 2>/dev/null; :`) }
	before := etc()
	for name, home := range map[string]string{"app": "/srv/app/app", "shared": "/srv/shared/shared"} {
		if _, err := CreateUser(ctx, h, NewUser{Name: name, Home: home}); err == nil || !strings.Contains(err.Error(), "users other than root can write to /srv/"+name) {
			t.Errorf("made in %s: %v", home, err)
		}
		if got := etc(); got != before {
			t.Fatalf("making %s gave /etc away: %s", home, got)
		}
		u := newUser(t, h, sandboxed.UserName())
		if _, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Home: home}); err == nil || !strings.Contains(err.Error(), "users other than root can write to /srv/"+name) {
			t.Errorf("moved to %s: %v", home, err)
		}
		if _, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Home: u.Home + "/inside"}); err == nil || !strings.Contains(err.Error(), "users other than root can write to "+u.Home) {
			t.Errorf("moved into its own: %v", err)
		}
		if got := etc(); got != before {
			t.Fatalf("moving to %s gave /etc away: %s", home, got)
		}
	}
	// The path may be replaced at any time: the directory, once entered, stays the same.
	if _, err := CreateUser(ctx, h, NewUser{Name: "way", Home: "/srv/way/in/way"}); err != nil {
		t.Errorf("made by another way: %v", err)
	}
	if got := etc(); got != before {
		t.Errorf("what a link leads to was changed: %s", got)
	}
	if u, err := CreateUser(ctx, h, NewUser{Name: "ours", Home: "/srv/ours/stitch"}); err != nil || u.Problems() != nil {
		t.Errorf("made in a directory of root's: %+v, %v", u, err)
	}
}
