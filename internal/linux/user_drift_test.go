package linux

import (
	"errors"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What others change is detected, named, and repaired, so that a key opens a tunnel again.
func TestUserDrift(t *testing.T) {
	eachRoot(t, testUserDrift)
}

// change changes a field of an entry, as a person who knows the files would.
const change = `
	change() {
		user=$1 field=$3 value=$4 awk 'BEGIN { FS = OFS = ":" } $1 == ENVIRON["user"] { $(ENVIRON["field"] + 0) = ENVIRON["value"] } { print }' "$2" >/tmp/"$1"
		cat /tmp/"$1" >"$2"
		rm /tmp/"$1"
	}
	`

func testUserDrift(t *testing.T, root string) {
	for name, tt := range map[string]struct {
		script  string // $1 is the user
		pam     bool
		problem string // a part of Problems; "" if an attribute shows it
		opens   bool   // a tunnel can be opened nevertheless
	}{
		"shell":                    {script: `change "$1" /etc/passwd 7 /bin/cat`, opens: true},
		"comment":                  {script: `change "$1" /etc/passwd 5 "other,,,,terraform-provider-stitch"`, opens: true},
		"group":                    {script: `change "$1" /etc/passwd 4 59000`, opens: true},
		"home":                     {script: `change "$1" /etc/passwd 6 /nowhere`},
		"locked":                   {script: `change "$1" /etc/shadow 2 "!*"`, problem: "locked"},
		"locked by passwd":         {script: `change "$1" /etc/shadow 2 "!!"`, problem: "locked"},
		"locked for PAM":           {script: `change "$1" /etc/shadow 2 "!"`, pam: true, problem: "locked", opens: true},
		"empty password":           {script: `change "$1" /etc/shadow 2 ""`, problem: "empty", opens: true},
		"expired":                  {script: `change "$1" /etc/shadow 8 1`, problem: "expired on 1970-01-02"},
		"password of old":          {script: `change "$1" /etc/shadow 3 11323; change "$1" /etc/shadow 5 90`, pam: true, problem: "too old"},
		"password to be changed":   {script: `change "$1" /etc/shadow 3 0`, pam: true, problem: "too old"},
		"others may write to home": {script: `chmod 777 "/home/$1"`, problem: "other users can write to /home/"},
		"group may write to .ssh":  {script: `chmod 770 "/home/$1/.ssh"`, problem: "other users can write to /home/", opens: true}, // Debian's sshd trusts the user's own group
		"others may write to .ssh": {script: `chmod 702 "/home/$1/.ssh"`, problem: "other users can write to /home/"},
		"home is nobody's":         {script: `chown 54321 "/home/$1"`, problem: "belongs to uid 54321"},
		".ssh is nobody's":         {script: `chown 54321 "/home/$1/.ssh"`, problem: "belongs to uid 54321"},
		".ssh is root's":           {script: `chown root "/home/$1/.ssh"`, problem: "is not allowed to read"},
		"others may write to keys": {script: `chmod 666 "/home/$1/.ssh/authorized_keys"`, problem: ".ssh/authorized_keys (mode 0666)"},
		"keys are nobody's":        {script: `chown 54321 "/home/$1/.ssh/authorized_keys"`, problem: ".ssh/authorized_keys belongs to uid 54321"},
		"all is nobody's":          {script: `chown -R 54321 "/home/$1"`, problem: ".ssh/authorized_keys belongs to uid 54321"},
		"keys cannot be read":      {script: `chmod 200 "/home/$1/.ssh/authorized_keys"`, problem: "is not allowed to read"},
		".ssh cannot be entered":   {script: `chmod 600 "/home/$1/.ssh"`, problem: "is not allowed to read"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.pam && !hasPAM(root) {
				return
			}
			ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root, UsePAM: tt.pam})
			h := connect(t, sandboxed, sandbox.SudoNone)
			u := newUser(t, h, sandboxed.UserName())
			key, signer := newKey(t, "")
			if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: u.Name, PublicKey: key}); err != nil {
				t.Fatal(err)
			}
			whole, err := ReadUser(ctx, h, u.Name)
			if err != nil {
				t.Fatal(err)
			}
			sandboxed.Exec(t, change+tt.script, u.Name)
			if err := tunnel(sandboxed, u.Name, signer); (err == nil) != tt.opens {
				t.Errorf("tunnel: %v", err)
			}
			drifted, err := ReadUser(ctx, h, u.Name)
			if err != nil || drifted == whole {
				t.Fatalf("read: %+v, %v", drifted, err)
			}
			if got := strings.Join(drifted.Problems(), "\n"); tt.problem == "" && name != "home" && got != "" || !strings.Contains(got, tt.problem) {
				t.Errorf("problems: %q", got)
			}
			repaired, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Group: u.Group, Home: u.Home, Shell: u.Shell, Comment: &u.Comment})
			if err != nil || repaired.Problems() != nil || repaired.Home != whole.Home || repaired.Shell != whole.Shell || repaired.Group != whole.Group || repaired.Comment != whole.Comment || !repaired.Created {
				t.Errorf("repaired: %+v, %v", repaired, err)
			}
			if repaired.Password != PasswordNone || repaired.Expires != "" {
				t.Errorf("repaired: %+v", repaired)
			}
			if err := tunnel(sandboxed, u.Name, signer); err != nil {
				t.Errorf("tunnel after the repair: %v", err)
			}
		})
	}
}

// A home directory that is gone comes back, empty. One that belongs to another user, or to root, is
// not taken from its owner.
func TestUserHomeRepair(t *testing.T) {
	eachRoot(t, testUserHomeRepair)
}

func testUserHomeRepair(t *testing.T, root string) {
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	u := newUser(t, h, sandboxed.UserName())
	sandboxed.Exec(t, `rm -r "/home/$1"`, u.Name)
	gone, err := ReadUser(ctx, h, u.Name)
	if err != nil || !strings.Contains(strings.Join(gone.Problems(), "\n"), "is missing") {
		t.Errorf("gone: %q, %v", gone.Problems(), err)
	}
	if back, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name}); err != nil || back != u {
		t.Errorf("back: %+v, %v", back, err)
	}
	elsewhere := "/home/elsewhere of " + u.Name
	if moved, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Home: elsewhere}); err != nil || moved.Home != elsewhere || moved.Problems() != nil {
		t.Errorf("moved: %+v, %v", moved, err)
	}
	other := newUser(t, h, sandboxed.UserName())
	for home, problem := range map[string]string{other.Home: "belongs to another user", "/tmp": "belongs to root", "/etc/passwd": "is not a directory", "/a/b/c": "create it first"} {
		before := sandboxed.Exec(t, `stat -c '%a %U' /tmp /etc/passwd "$1"; grep "^$2:" /etc/passwd`, other.Home, u.Name)
		if _, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Home: home}); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("home %s: %v", home, err)
		}
		if after := sandboxed.Exec(t, `stat -c '%a %U' /tmp /etc/passwd "$1"; grep "^$2:" /etc/passwd`, other.Home, u.Name); after != before {
			t.Errorf("home %s: was %s, is %s", home, before, after)
		}
	}
	// A link does not lead the repair to other users' files either.
	sandboxed.Exec(t, `cd "$1" && mkdir /etc/open && chmod 777 /etc/open && ln -s /etc/open .ssh`, elsewhere)
	if linked, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Shell: "/bin/cat"}); err != nil || linked.Shell != "/bin/cat" {
		t.Errorf("linked: %+v, %v", linked, err)
	}
	if got := sandboxed.Exec(t, `stat -c '%a %U' /etc/open`); got != "777 root\n" {
		t.Errorf("the repair followed a link: %s", got)
	}
}

// A password in use stays, and so does a user with another uid.
func TestUpdateUserRefused(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	h := connect(t, sandboxed, sandbox.SudoNone)
	u := newUser(t, h, sandboxed.UserName())
	sandboxed.Exec(t, `echo "$1:secret" | chpasswd`, u.Name)
	hash := sandboxed.Exec(t, `grep "^$1:" /etc/shadow`, u.Name)
	have, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Shell: "/bin/cat"})
	if err != nil || have.Password != PasswordSet || sandboxed.Exec(t, `grep "^$1:" /etc/shadow`, u.Name) != hash {
		t.Errorf("password: %+v, %v", have, err)
	}
	if _, err := UpdateUser(ctx, h, u.UID+1, NewUser{Name: u.Name}); err == nil || !strings.Contains(err.Error(), "has a different uid") {
		t.Errorf("another uid: %v", err)
	}
	if _, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Group: "nobody-has"}); err == nil || !strings.Contains(err.Error(), `group "nobody-has" does not exist`) {
		t.Errorf("missing group: %v", err)
	}
	if _, err := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Shell: "/etc/passwd"}); err == nil || !strings.Contains(err.Error(), "cannot be run") {
		t.Errorf("no shell: %v", err)
	}
	if _, err := UpdateUser(ctx, h, u.UID, NewUser{Name: sandboxed.UserName()}); !errors.Is(err, ErrNotFound) {
		t.Errorf("gone: %v", err)
	}
}
