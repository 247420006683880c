package linux

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// newUser creates a user for a test.
func newUser(t testing.TB, h *sshclient.Host, name string) User {
	t.Helper()
	u, err := CreateUser(t.Context(), h, NewUser{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAuthorizedKeyLife(t *testing.T) {
	eachRoot(t, testAuthorizedKeyLife)
}

func testAuthorizedKeyLife(t *testing.T, root string) {
	for name, sudo := range loginsOf(root) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root, Sudo: sudo})
			h := connect(t, sandboxed, sudo)
			name := sandboxed.UserName()
			key, signer := newKey(t, `laptop; $(touch /tmp/x) 'é" %s`)
			k := AuthorizedKey{Username: name, PublicKey: key, Options: []string{"port-forwarding", "restrict", `command="echo \"it's\" $(id); exit"`}}
			if err := AddAuthorizedKey(ctx, h, k); !errors.Is(err, ErrNotFound) {
				t.Errorf("without a user: %v", err)
			}
			if _, err := ReadAuthorizedKey(ctx, h, name, key); !errors.Is(err, ErrNotFound) {
				t.Errorf("read without a user: %v", err)
			}
			newUser(t, h, name)
			if _, err := ReadAuthorizedKey(ctx, h, name, key); !errors.Is(err, ErrNotFound) {
				t.Errorf("read without a file: %v", err)
			}
			if err := RemoveAuthorizedKey(ctx, h, name, key); err != nil {
				t.Errorf("remove without a file: %v", err)
			}
			if got := sandboxed.Exec(t, `ls -A "/home/$1"`, name); got != "" {
				t.Errorf("reading made %q", got)
			}
			if err := AddAuthorizedKey(ctx, h, k); err != nil {
				t.Fatal(err)
			}
			want := `restrict,port-forwarding,command="echo \"it's\" $(id); exit" ` + key.String() + "\n"
			if got := sandboxed.Exec(t, `cat "/home/$1/.ssh/authorized_keys"`, name); got != want {
				t.Errorf("file: %q", got)
			}
			if got := sandboxed.Exec(t, `cd "/home/$1"; stat -c '%a %U %G %n' .ssh .ssh/*; ls -A .ssh`, name); got != fmt.Sprintf("700 %[1]s %[1]s .ssh\n600 %[1]s %[1]s .ssh/authorized_keys\nauthorized_keys\n", name) {
				t.Errorf("files: %q", got)
			}
			read, err := ReadAuthorizedKey(ctx, h, name, key)
			if err != nil || read.PublicKey != key || !SameOptions(k.Options, read.Options) {
				t.Errorf("read: %+v, %v", read, err)
			}
			if err := tunnel(sandboxed, name, signer); err != nil {
				t.Error(err)
			}
			if err := AddAuthorizedKey(ctx, h, k); !errors.Is(err, ErrExists) {
				t.Errorf("add again: %v", err)
			}
			k.Options = []string{"restrict"}
			if err := ChangeAuthorizedKey(ctx, h, k); err != nil {
				t.Error(err)
			}
			if err := tunnel(sandboxed, name, signer); err == nil {
				t.Error("restrict lets a tunnel through")
			}
			for range 2 {
				if err := RemoveAuthorizedKey(ctx, h, name, key); err != nil {
					t.Error(err)
				}
			}
			if err := ChangeAuthorizedKey(ctx, h, k); !errors.Is(err, ErrNotFound) {
				t.Errorf("change of what is gone: %v", err)
			}
			if got := sandboxed.Exec(t, `cat "/home/$1/.ssh/authorized_keys"; ls /tmp/x 2>/dev/null; :`, name); got != "" {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// No key is lost, whatever edits the file at the same time: several connections, several processes,
// or a person.
func TestAuthorizedKeysAtOnce(t *testing.T) {
	eachRoot(t, testAuthorizedKeysAtOnce)
}

func testAuthorizedKeysAtOnce(t *testing.T, root string) {
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
	hosts := []*sshclient.Host{connect(t, sandboxed, sandbox.SudoNone), connect(t, sandboxed, sandbox.SudoNone)}
	name := sandboxed.UserName()
	newUser(t, hosts[0], name)
	const writers = 24
	var keys [writers]PublicKey
	for i := range keys {
		keys[i], _ = newKey(t, fmt.Sprint("key ", i))
	}
	leaving, _ := newKey(t, "leaving")
	if err := AddAuthorizedKey(ctx, hosts[0], AuthorizedKey{Username: name, PublicKey: leaving}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i, key := range keys {
		all.Go(func() {
			if err := AddAuthorizedKey(ctx, hosts[i%2], AuthorizedKey{Username: name, PublicKey: key}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() {
		if err := RemoveAuthorizedKey(ctx, hosts[1], name, leaving); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	content := sandboxed.Exec(t, `cat "/home/$1/.ssh/authorized_keys"`, name)
	lines := keyLines(content)
	for _, key := range keys {
		if !slices.ContainsFunc(lines, func(line keyLine) bool { return line.key.Same(key) }) {
			t.Errorf("lost: %s", key.Comment)
		}
	}
	if len(lines) != writers || strings.Count(content, "\n") != writers {
		t.Errorf("%d keys in %q", len(lines), content)
	}
	if got := sandboxed.Exec(t, `ls -A "/home/$1/.ssh"`, name); got != "authorized_keys\n" {
		t.Errorf("left: %q", got)
	}
}

// A file that is not the user's own is not touched, least of all one of root's.
func TestAuthorizedKeyRefusals(t *testing.T) {
	eachRoot(t, testAuthorizedKeyRefusals)
}

func testAuthorizedKeyRefusals(t *testing.T, root string) {
	sandboxed := sandbox.SSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	for name, tt := range map[string]struct{ script, problem string }{
		"directory that leads to root's": {`ln -s /root/.ssh .ssh`, "symbolic link"},
		"file that leads to root's":      {`mkdir .ssh; chown "$1" .ssh; ln -s /root/.ssh/authorized_keys .ssh/authorized_keys`, "symbolic link"},
		"link to nowhere":                {`ln -s /nowhere .ssh`, "symbolic link"},
		"directory of root":              {`mkdir -m 755 .ssh`, "belongs to another user"},
		"file of root":                   {`mkdir .ssh; chown "$1" .ssh; echo x >.ssh/authorized_keys; chmod 644 .ssh/authorized_keys`, "belongs to another user"},
		"fifo":                           {`mkdir .ssh; mkfifo .ssh/authorized_keys; chown -R "$1" .ssh`, "not a regular file"},
		"directory instead of a file":    {`mkdir -p .ssh/authorized_keys; chown -R "$1" .ssh`, "not a regular file"},
		"file instead of a directory":    {`echo x >.ssh`, "not a directory"},
		"home of root":                   {`chown root .; chmod 755 .`, "the home directory must belong to the user"},
		"no home":                        {`cd /; rmdir "/home/$1"`, "cannot enter the home directory"},
		"large file":                     {`mkdir .ssh; dd if=/dev/zero of=.ssh/authorized_keys bs=1024 count=1025; chown -R "$1" .ssh`, "larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, name := t.Context(), sandboxed.UserName()
			newUser(t, h, name)
			state := func() string {
				return sandboxed.Exec(t, `cd "/home/$1" 2>/dev/null && find . -exec stat -c '%a %U %s %n' {} +; sha256sum /root/.ssh/*; stat -c '%a %U %i' /root/.ssh /root/.ssh/*`, name)
			}
			sandboxed.Exec(t, `cd "/home/$1"; `+tt.script, name)
			before := state()
			key, _ := newKey(t, "")
			if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: name, PublicKey: key}); err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("add: %v", err)
			}
			if after := state(); after != before {
				t.Errorf("was\n%s, is\n%s", before, after)
			}
		})
	}
}

// The properties of the file stay: mode, group, extended attributes, other bytes.
func TestAuthorizedKeysKept(t *testing.T) {
	eachRoot(t, testAuthorizedKeysKept)
}

func testAuthorizedKeysKept(t *testing.T, root string) {
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	for mode, content := range map[string]string{"400": "\x00\xff\r\nno end", "640": "", "444": "#\n\n\n"} {
		name := sandboxed.UserName()
		newUser(t, h, name)
		sandboxed.Exec(t, `cd "/home/$1"; mkdir .ssh; printf %b "$2" >.ssh/authorized_keys; chmod "$3" .ssh/authorized_keys; chown -R "$1:$1" .ssh`,
			name, strings.NewReplacer("\x00", `\0000`, "\xff", `\0377`, "\r", `\r`, "\n", `\n`).Replace(content), mode)
		key, _ := newKey(t, "")
		k := AuthorizedKey{Username: name, PublicKey: key}
		if err := AddAuthorizedKey(ctx, h, k); err != nil {
			t.Fatal(err)
		}
		want, err := withKey(content, "", k)
		if err != nil {
			t.Fatal(err)
		}
		if got := sandboxed.Exec(t, `cat "/home/$1/.ssh/authorized_keys"`, name); got != want {
			t.Errorf("%s: %q", mode, got)
		}
		if got := sandboxed.Exec(t, `stat -c '%a %U %G' "/home/$1/.ssh/authorized_keys"`, name); got != mode+" "+name+" "+name+"\n" {
			t.Errorf("%s: %q", mode, got)
		}
	}
}

// A full disk leaves the file unchanged.
func TestAuthorizedKeysFullDisk(t *testing.T) {
	eachRoot(t, testAuthorizedKeysFullDisk)
}

func testAuthorizedKeysFullDisk(t *testing.T, root string) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	name := sandboxed.UserName()
	newUser(t, h, name)
	sandboxed.Exec(t, `
		mount -t tmpfs -o size=64k,mode=700,uid="$(id -u "$1")" tmpfs "/home/$1"
		cd "/home/$1"; mkdir -m 700 .ssh; echo "# precious" >.ssh/authorized_keys; chown -R "$1" .ssh
		dd if=/dev/zero of=full 2>/dev/null; :`, name)
	key, _ := newKey(t, "")
	k := AuthorizedKey{Username: name, PublicKey: key}
	if err := AddAuthorizedKey(ctx, h, k); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("full: %v", err)
	}
	if got := sandboxed.Exec(t, `cd "/home/$1/.ssh"; ls -A; cat *; cd /; rm "/home/$1/full"; mount -o remount,ro "/home/$1"`, name); got != "authorized_keys\n# precious\n" {
		t.Errorf("left: %q", got)
	}
	if err := AddAuthorizedKey(ctx, h, k); err == nil || !strings.Contains(err.Error(), "Read-only") {
		t.Errorf("read-only: %v", err)
	}
	sandboxed.Exec(t, `mount -o remount,rw "/home/$1"`, name)
	if err := AddAuthorizedKey(ctx, h, k); err != nil {
		t.Error(err)
	}
}

// The key of the login itself is neither removed nor confined. Without root, its other keys can
// still be edited.
func TestAuthorizedKeyOfLogin(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h := connectAs(t, sshclient.Config{Host: sandboxed.Host, Port: sandboxed.Port, Username: sandbox.OperatorName, PrivateKey: sandboxed.OperatorKey, HostKeys: sandboxed.HostKeys})
	text, err := sshclient.PublicKey(sandboxed.OperatorKey, "")
	if err != nil {
		t.Fatal(err)
	}
	login, err := ParsePublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := RemoveAuthorizedKey(ctx, h, sandbox.OperatorName, login); err == nil || !strings.Contains(err.Error(), "lock Terraform out") {
		t.Errorf("remove: %v", err)
	}
	if err := ChangeAuthorizedKey(ctx, h, AuthorizedKey{Username: sandbox.OperatorName, PublicKey: login, Options: []string{`command="false"`}}); err == nil || !strings.Contains(err.Error(), "lock Terraform out") {
		t.Errorf("confine: %v", err)
	}
	other, _ := newKey(t, "")
	if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: sandbox.OperatorName, PublicKey: other}); err != nil {
		t.Error(err)
	}
	if err := RemoveAuthorizedKey(ctx, h, sandbox.OperatorName, other); err != nil {
		t.Error(err)
	}
	if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: "root", PublicKey: other}); err == nil || !strings.Contains(err.Error(), "sudo = true") {
		t.Errorf("of root: %v", err)
	}
	if _, err := ReadAuthorizedKey(ctx, h, sandbox.OperatorName, login); err != nil {
		t.Error(err)
	}
}

// sshd decides where keys are.
func TestAuthorizedKeysFileSetting(t *testing.T) {
	ctx := t.Context()
	sandboxed := sandbox.SSHHost(t, sandbox.HostConfig{Settings: []string{
		"AuthorizedKeysFile .ssh/authorized_keys", "Match User elsewhere", "AuthorizedKeysFile %h/.config/ssh/keys.%u", "Match User outside", "AuthorizedKeysFile /etc/ssh/keys/%u"}})
	h := connect(t, sandboxed, sandbox.SudoNone)
	key, signer := newKey(t, "")
	for _, name := range []string{"elsewhere", "outside"} {
		newUser(t, h, name)
		err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: name, PublicKey: key})
		if name == "outside" {
			if err == nil || !strings.Contains(err.Error(), "/etc/ssh/keys/%u (AuthorizedKeysFile") {
				t.Errorf("outside: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := tunnel(sandboxed, name, signer); err != nil {
			t.Error(err)
		}
		if err := RemoveAuthorizedKey(ctx, h, name, key); err != nil {
			t.Error(err)
		}
	}
}

// sshd accepts what CheckOptions accepts, and what CheckOptions refuses would have made sshd ignore
// the line, unless the option is merely useless.
func TestOptionsAsSSHD(t *testing.T) {
	eachRoot(t, testOptionsAsSSHD)
}

func testOptionsAsSSHD(t *testing.T, root string) {
	useless := []string{`permitopen="*.example.com:5432"`, `permitopen=":5432"`, `permitopen="[db]:5432"`, `from="!10.0.0.1"`, `restrict,pty`, `permitopen="127.0.0.1:5432",pty`, `permitopen="fd00::1:5432"`,
		`permitopen="a b:5432"`}
	sandboxed := sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
	h := connect(t, sandboxed, sandbox.SudoNone)
	name := sandboxed.UserName()
	newUser(t, h, name)
	for option, problem := range optionCases {
		if option == "" || !isText(option) || slices.Contains(useless, option) || strings.HasPrefix(option, `restrict pty`) || strings.HasPrefix(option, " ") {
			continue
		}
		key, signer := newKey(t, "")
		sandboxed.Exec(t, `cd "/home/$1"; mkdir -p .ssh; printf '%s\n' "$2" >.ssh/authorized_keys; chmod 700 .ssh; chown -R "$1:$1" .ssh`, name, option+" "+key.String())
		client, err := dial(sandboxed, name, signer)
		if err == nil {
			client.Close()
		}
		if (err == nil) != (problem == "") {
			t.Errorf("%q: sshd says %v, CheckOptions says %q", option, err, problem)
		}
	}
}
