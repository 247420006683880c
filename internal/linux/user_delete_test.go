package linux

import (
	"errors"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A user with running processes is not deleted, unless Force is set.
func TestDeleteUserBusy(t *testing.T) {
	eachRoot(t, testDeleteUserBusy)
}

func testDeleteUserBusy(t *testing.T, root string) {
	for name, sudo := range loginsOf(root) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root, Sudo: sudo})
			h := connect(t, sandboxed, sudo)
			u := newUser(t, h, sandboxed.UserName())
			key, signer := newKey(t, "")
			if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: u.Name, PublicKey: key}); err != nil {
				t.Fatal(err)
			}
			client, err := dial(sandboxed, u.Name, signer)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			// A process that ignores TERM, and whose name is meant to confuse.
			sandboxed.Exec(t, `cd "/home/$1"
				printf '#!/bin/sh\ntrap "" TERM; while :; do sleep 1; done' >"a b)(c"
				chmod 755 "a b)(c"
				su -s /bin/sh -c '"./a b)(c" >/dev/null 2>&1 &' "$1"
				until grep -q "a b" /proc/[0-9]*/comm; do :; done`, u.Name)
			_, err = DeleteUser(ctx, h, u.Name, u.UID, DeleteOptions{})
			var busy *BusyError
			if !errors.As(err, &busy) || len(busy.Processes) < 2 || !strings.Contains(err.Error(), "(a b)(c)") || !strings.Contains(err.Error(), "(sshd") {
				t.Fatalf("busy: %v", err)
			}
			again, err := dial(sandboxed, u.Name, signer)
			if err != nil {
				t.Fatalf("a user that was not deleted cannot log in: %v", err)
			}
			again.Close()
			d, err := DeleteUser(ctx, h, u.Name, u.UID, DeleteOptions{Force: true})
			if err != nil || !d.Deleted || !strings.Contains(d.KeptHome, "holds files") {
				t.Errorf("forced: %+v, %v", d, err)
			}
			if err := client.Wait(); err == nil {
				t.Error("the session ended by itself")
			}
			if got := sandboxed.Exec(t, `grep "^$1:" /etc/passwd /etc/group; stat -c %u "/home/$1"; ls -A "/home/$1"`, u.Name); !strings.Contains(got, "a b)(c") || strings.Contains(got, "passwd") {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// Only a user that CreateUser made is deleted, and only what it left in its own home directory.
func TestDeleteUserOnlyOurs(t *testing.T) {
	eachRoot(t, testDeleteUserOnlyOurs)
}

func testDeleteUserOnlyOurs(t *testing.T, root string) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	remove := DeleteOptions{RemoveHome: true, Force: true}
	t.Run("another uid", func(t *testing.T) {
		u := newUser(t, h, sandboxed.UserName())
		if _, err := DeleteUser(ctx, h, u.Name, u.UID+1, remove); err == nil || !strings.Contains(err.Error(), "has a different uid") {
			t.Errorf("got %v", err)
		}
		if now, err := ReadUser(ctx, h, u.Name); err != nil || now != u {
			t.Errorf("now %+v, %v", now, err)
		}
	})
	t.Run("imported", func(t *testing.T) {
		name := sandboxed.UserName()
		sandboxed.Exec(t, `echo "$1:x:4321:59000:terraform-provider-stitch:/home/$1:/bin/sh" >>/etc/passwd`, name)
		u, err := ReadUser(ctx, h, name)
		if err != nil || u.Created {
			t.Fatalf("%+v, %v", u, err)
		}
		if d, err := DeleteUser(ctx, h, name, u.UID, remove); err != nil || d.Deleted || !strings.Contains(d.Kept, "imported") {
			t.Errorf("got %+v, %v", d, err)
		}
		if now, err := ReadUser(ctx, h, name); err != nil || now != u {
			t.Errorf("now %+v, %v", now, err)
		}
	})
	t.Run("root", func(t *testing.T) {
		if _, err := DeleteUser(ctx, h, "root", 0, remove); err == nil || !strings.Contains(err.Error(), "logs in as") {
			t.Errorf("got %v", err)
		}
	})
	for name, tt := range map[string]struct{ script, why, left string }{
		"home":           {`echo x >"/home/$1/x"; chown 54321 "/home/$1/x"`, "", ""},
		"empty home":     {`:`, "", ""},
		"home of root":   {`chown root "/home/$1"`, "belongs to another user", "/home/"},
		"linked home":    {`mv "/home/$1" "/home/$1.real"; ln -s "$1.real" "/home/$1"`, "is not a directory", "/home/"},
		"mounted home":   {`mount -t tmpfs -o uid=$(id -u "$1") tmpfs "/home/$1"`, "has something mounted", "/home/"},
		"mounted below":  {`mkdir "/home/$1/a b"; mount -t tmpfs tmpfs "/home/$1/a b"`, "has something mounted", "/home/"},
		"home elsewhere": {change + `change "$1" /etc/passwd 6 /srv`, "is not below another", "/home/"},
		"home gone":      {`rmdir "/home/$1"`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, h, sandboxed.UserName())
			sandboxed.Exec(t, tt.script, u.Name)
			d, err := DeleteUser(ctx, h, u.Name, u.UID, remove)
			if err != nil || !d.Deleted || tt.why == "" && d.KeptHome != "" || !strings.Contains(d.KeptHome, tt.why) {
				t.Errorf("got %+v, %v", d, err)
			}
			if got := sandboxed.Exec(t, `ls -d "/home/$1" 2>/dev/null; :`, u.Name); !strings.HasPrefix(got, tt.left) || tt.left == "" && got != "" {
				t.Errorf("left %q", got)
			}
		})
	}
}

// The group that was made with a user goes with it, unless others need it.
func TestDeleteUserGroup(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h := connect(t, sandboxed, sandbox.SudoNone)
	for _, usergroups := range []string{"yes", "no"} {
		sandboxed.Exec(t, `sed -i '/^USERGROUPS_ENAB/d' /etc/login.defs; echo "USERGROUPS_ENAB $1" >>/etc/login.defs`, usergroups)
		alone, shared := newUser(t, h, sandboxed.UserName()), newUser(t, h, sandboxed.UserName())
		sandboxed.Exec(t, `usermod -a -G "$1" operator`, shared.Name)
		for _, u := range []User{alone, shared} {
			if d, err := DeleteUser(ctx, h, u.Name, u.UID, DeleteOptions{}); err != nil || d != (Deletion{Deleted: true}) {
				t.Errorf("got %+v, %v", d, err)
			}
		}
		if got := sandboxed.Exec(t, `cut -d: -f1 /etc/group | grep -xe "$1" -e "$2"`, alone.Name, shared.Name); got != shared.Name+"\n" {
			t.Errorf("USERGROUPS_ENAB %s: left %q", usergroups, got)
		}
	}
}

// A user that cannot be deleted can log in as before.
func TestDeleteUserUndone(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h := connect(t, sandboxed, sandbox.SudoNone)
	for _, expires := range []string{"", "2099-12-31"} {
		u := newUser(t, h, sandboxed.UserName())
		sandboxed.Exec(t, `usermod -e "$2" "$1"; printf '#!/bin/sh\necho "there is something" >&2; exit 8\n' >/usr/local/sbin/userdel; chmod 755 /usr/local/sbin/userdel`, u.Name, expires)
		if d, err := DeleteUser(ctx, h, u.Name, u.UID, DeleteOptions{Force: true}); err == nil || !strings.Contains(err.Error(), "there is something") {
			t.Errorf("deleted: %+v, %v", d, err)
		}
		if now, err := ReadUser(ctx, h, u.Name); err != nil || now.Expires != expires || now.Expired {
			t.Errorf("now %+v, %v", now, err)
		}
		sandboxed.Exec(t, `rm /usr/local/sbin/userdel`)
	}
}

// Another user may own a directory on the path to a home directory, and replace what is below it at
// the worst moment: root removes nothing that a link leads to.
func TestDeleteHomeByAnotherWay(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h := connect(t, sandboxed, sandbox.SudoNone)
	sandboxed.Exec(t, `
		mkdir -p /srv/way/in /srv/precious/way
		echo data >/srv/precious/way/data
		chown operator /srv/way`)
	u, err := CreateUser(ctx, h, NewUser{Name: "way", Home: "/srv/way/in/way"})
	if err != nil {
		t.Fatal(err)
	}
	sandboxed.Exec(t, `
		real=$(command -v rm)
		mkdir -p /usr/local/sbin
		cat >/usr/local/sbin/rm <<END
#!/bin/sh
if [ -d /srv/way/in/way ] && [ ! -L /srv/way/in ]; then mv /srv/way/in /srv/way/moved; ln -s /srv/precious /srv/way/in; fi
exec $real "\$@"
END
		chmod 755 /usr/local/sbin/rm`)
	d, err := DeleteUser(ctx, h, u.Name, u.UID, DeleteOptions{RemoveHome: true})
	if err != nil || !d.Deleted {
		t.Errorf("%+v, %v", d, err)
	}
	if left := sandboxed.Exec(t, "cat /srv/precious/way/data; ls -A /srv/way/moved"); left != "data\n" {
		t.Errorf("left: %q", left)
	}
}
