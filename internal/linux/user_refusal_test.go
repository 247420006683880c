package linux

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestCheckNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"stitch": true, "_a-b_9": true, strings.Repeat("a", 32): true,
		"": false, strings.Repeat("a", 33): false, "Stitch": false, "9a": false, "-a": false, "a b": false, "a;b": false, "a\nb": false, "a:b": false, "a$": false, "é": false, "a/b": false, "$(id)": false,
	} {
		if err := CheckUserName(name); (err == nil) != ok {
			t.Errorf("user %q: %v", name, err)
		}
	}
	for path, ok := range map[string]bool{
		"/home/stitch": true, "/home/a b'$(id)": true, "/é": true, "/a*": false, "/a?": false, "/[a": false, "/a\\b": false,
		"": false, "/": false, "home": false, "/a/": false, "/a/../b": false, "/a//b": false, "/a:b": false, "/a\nb": false, "/\xff": false,
	} {
		if err := CheckHome(path); (err == nil) != ok {
			t.Errorf("path %q: %v", path, err)
		}
	}
	for comment, ok := range map[string]bool{
		"": true, "Stitch": true, "a,b,c,d": true, `"$(id)"; é %s \n`: true,
		"a:b": false, "a\nb": false, "a,": false, "a,b,c,d,e": false, "\xff": false, strings.Repeat("a", 257): false,
	} {
		if err := CheckComment(comment); (err == nil) != ok {
			t.Errorf("comment %q: %v", comment, err)
		}
	}
}

func TestGECOS(t *testing.T) {
	for _, comment := range []string{"", "Stitch", "a,b", "a,b,c,d"} {
		for _, created := range []bool{false, true} {
			if c, m := splitGECOS(gecos(comment, created)); c != comment || m != created {
				t.Errorf("%q, %t became %q, %t", comment, created, c, m)
			}
		}
	}
	for field, created := range map[string]bool{"Stitch,,,": false, "a,12,,," + mark: true, mark: false, "a,,," + mark: false, "a,,,," + mark + ",": false, "a,,,," + mark + "x": false} {
		if _, m := splitGECOS(field); m != created {
			t.Errorf("%q is ours: %t", field, m)
		}
	}
}

// What cannot be made as requested is not made at all.
func TestCreateUserRefused(t *testing.T) {
	eachRoot(t, testCreateUserRefused)
}

func testCreateUserRefused(t *testing.T, root string) {
	sandboxed := sandbox.SSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	sandboxed.Exec(t, `echo taken:x:4321: >>/etc/group; mkdir /home/left; ln -s /nowhere /home/link; ln -s / /home/root`)
	text := func(s string) *string { return &s }
	accounts := func() string {
		return sandboxed.Exec(t, `cat /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/subuid 2>/dev/null | sort; find /home -exec stat -c '%a %U %N' {} +; ls /etc/*.lock /etc/*+ /var/mail 2>/dev/null; :`)
	}
	before := accounts()
	for name, tt := range map[string]struct {
		user    NewUser
		problem string
	}{
		"user":               {NewUser{Name: sandbox.OperatorName}, "import it"},
		"group":              {NewUser{Name: "taken"}, "set group"},
		"missing group":      {NewUser{Name: "new", Group: "nobody-has"}, `the group "nobody-has" does not exist`},
		"missing shell":      {NewUser{Name: "new", Shell: "/bin/fish-of-nobody"}, "does not exist or cannot be run"},
		"shell directory":    {NewUser{Name: "new", Shell: "/bin"}, "does not exist or cannot be run"},
		"file for a shell":   {NewUser{Name: "new", Shell: "/etc/passwd"}, "cannot be run"},
		"home of another":    {NewUser{Name: "new", Home: "/home/left"}, "/home/left already exists"},
		"home that leads":    {NewUser{Name: "new", Home: "/home/link"}, "/home/link already exists"},
		"home nowhere":       {NewUser{Name: "new", Home: "/home/a/b/c"}, "create it first"},
		"home where no file": {NewUser{Name: "new", Home: "/proc/new"}, "home directory"},
		"name":               {NewUser{Name: "new; touch /tmp/x"}, "is not valid: use at most 32"},
		"option for a name":  {NewUser{Name: "-r"}, "is not valid: use at most 32"},
		"relative shell":     {NewUser{Name: "new", Shell: "sh"}, "absolute path"},
		"two lines":          {NewUser{Name: "new", Comment: text("a\nroot")}, "control character"},
		"another field":      {NewUser{Name: "new", Comment: text("a:/root:/bin/sh")}, "colon"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CreateUser(t.Context(), h, tt.user)
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("got %v", err)
			}
			if name == "user" != errors.Is(err, ErrExists) {
				t.Errorf("exists: %v", err)
			}
		})
	}
	if diff := cmp.Diff(before, accounts()); diff != "" {
		t.Error(diff)
	}
}

// Names and paths that a shell would split arrive whole.
func TestCreateUserHostile(t *testing.T) {
	eachRoot(t, testCreateUserHostile)
}

func testCreateUserHostile(t *testing.T, root string) {
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	name := sandboxed.UserName()
	comment := `-r '"$(touch /tmp/x)` + "`id`" + `, é \n, %s, &;|<>*?[]{}~!#`
	want := NewUser{Name: name, Home: "/home/ '\"$(touch x)`id`n%s;é-" + name, Comment: &comment, Group: sandbox.OperatorName}
	u, err := CreateUser(ctx, h, want)
	if err != nil {
		t.Fatal(err)
	}
	if u.Home != want.Home || u.Comment != comment || u.Group != sandbox.OperatorName || u.Problems() != nil {
		t.Errorf("made %+v", u)
	}
	key, signer := newKey(t, "")
	if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: name, PublicKey: key}); err != nil {
		t.Fatal(err)
	}
	if err := tunnel(sandboxed, name, signer); err != nil {
		t.Error(err)
	}
	again, err := UpdateUser(ctx, h, u.UID, want)
	if err != nil || again != func() User { u.ssh, u.keys = again.ssh, again.keys; return u }() {
		t.Errorf("updated to the same: %+v, %v", again, err)
	}
	if d, err := DeleteUser(ctx, h, name, u.UID, DeleteOptions{RemoveHome: true, Force: true}); err != nil || d != (Deletion{Deleted: true}) {
		t.Errorf("deleted: %+v, %v", d, err)
	}
	if got := sandboxed.Exec(t, `ls -d "$1"* /tmp/x 2>/dev/null; grep ^operator: /etc/group`, want.Home); got != "operator:x:59000:\n" {
		t.Errorf("left: %q", got)
	}
}

// A user that could not be made completely is not left behind.
func TestCreateUserUndone(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h := connect(t, sandboxed, sandbox.SudoNone)
	accounts := func() string {
		return sandboxed.Exec(t, `sort /etc/passwd /etc/shadow /etc/group /etc/gshadow; find /home -exec stat -c '%a %U %N' {} +`)
	}
	before := accounts()
	for name, script := range map[string]string{
		"it fails after all":    `printf '#!/bin/sh\n/usr/sbin/useradd "$@"\nexit 1\n' >/usr/local/sbin/useradd`,
		"it locks the password": `printf '#!/bin/sh\n/usr/sbin/useradd "$@"; for last; do :; done; usermod -L "$last"\n' >/usr/local/sbin/useradd`,
		"it takes another home": `printf '#!/bin/sh\n/usr/sbin/useradd "$@"; for last; do :; done; usermod -d /tmp "$last"\n' >/usr/local/sbin/useradd`,
		"there is no chown":     `printf '#!/bin/sh\nexit 1\n' >/usr/local/sbin/chown`,
		"there is no useradd":   `mv /usr/sbin/useradd /usr/sbin/useradd.gone; mv /usr/sbin/adduser /usr/sbin/adduser.gone`,
	} {
		t.Run(name, func(t *testing.T) {
			sandboxed.Exec(t, script+"; chmod 755 /usr/local/sbin/* 2>/dev/null; :")
			if u, err := CreateUser(ctx, h, NewUser{Name: "new"}); err == nil {
				t.Errorf("made %+v", u)
			}
			sandboxed.Exec(t, `rm -f /usr/local/sbin/*; for each in useradd adduser; do [ ! -e /usr/sbin/$each.gone ] || mv /usr/sbin/$each.gone /usr/sbin/$each; done`)
			if diff := cmp.Diff(before, accounts()); diff != "" {
				t.Error(diff)
			}
		})
	}
	newUser(t, h, "new")
}

// A user from a directory such as LDAP is found, and not changed. A directory that does not answer
// says nothing about its users.
func TestUserOfDirectory(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h := connect(t, sandboxed, sandbox.SudoNone)
	sandboxed.Exec(t, `cat >/usr/local/sbin/getent <<'END'
#!/bin/sh
case "$1 $2" in
"passwd Jo.Doe") echo "Jo.Doe:*:70000:70000:Jo,,,,terraform-provider-stitch:/home/jo:/bin/sh" ;;
"passwd broken") exit 3 ;;
*) exit 2 ;;
esac
END
chmod 755 /usr/local/sbin/getent`)
	u, err := ReadUser(ctx, h, "Jo.Doe")
	if err != nil || u.Local || u.UID != 70000 || u.Password != PasswordNone {
		t.Errorf("read: %+v, %v", u, err)
	}
	if _, err := UpdateUser(ctx, h, 70000, NewUser{Name: "Jo.Doe", Shell: "/bin/cat"}); err == nil || !strings.Contains(err.Error(), "LDAP") {
		t.Errorf("update: %v", err)
	}
	if d, err := DeleteUser(ctx, h, "Jo.Doe", 70000, DeleteOptions{Force: true, RemoveHome: true}); err != nil || d.Deleted || d.Kept == "" {
		t.Errorf("delete: %+v, %v", d, err)
	}
	if _, err := ReadUser(ctx, h, "broken"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a directory that does not answer: %v", err)
	}
	if _, err := CreateUser(ctx, h, NewUser{Name: "broken"}); err == nil || errors.Is(err, ErrExists) {
		t.Errorf("created although nobody knows: %v", err)
	}
}
