package provider

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// usersWithKeys returns a configuration of users, by labels, with one key each.
func usersWithKeys(h *sandbox.Host, names map[string]string, public string) string {
	var labels []string
	for _, label := range slices.Sorted(maps.Keys(names)) {
		labels = append(labels, fmt.Sprintf("%s = %q", label, names[label]))
	}
	return requiredProviders + sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil) + fmt.Sprintf(`
		resource "stitch_ssh_user" "u" {
			for_each = { %s }
			host     = "bastion"
			username = each.value
		}
		resource "stitch_ssh_authorized_key" "k" {
			for_each   = stitch_ssh_user.u
			host       = "bastion"
			username   = each.value.username
			public_key = %q
		}`, strings.Join(labels, ", "), public)
}

// words returns text without Terraform's line breaks and margins.
func words(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n│╷╵", r) }), " ")
}

// A user is repaired although its key cannot be read at that time, and an obstacle to the key alone
// is a warning.
func TestAccSSHUser_unreadable(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{UsePAM: true})
	_, public := newSSHKey(t)
	cases := map[string]struct{ script, repaired string }{ // $1 is the user
		"expired":    {`usermod -e 1 "$1"`, `getent shadow "$1" | cut -d: -f8`},
		"aged":       {`chage -d 0 "$1"`, `chage -l "$1" | grep -c 'must be changed' || :`},
		"foreign":    {`chown 54321 "/home/$1"`, `stat -c %U "/home/$1"`},
		"foreignssh": {`chown 54321 "/home/$1/.ssh"`, `stat -c %U "/home/$1/.ssh"`},
		"homeless":   {`rm -r "/home/$1"`, `wc -l <"/home/$1/.ssh/authorized_keys"`},
		"open":       {`chmod 666 "/home/$1/.ssh/authorized_keys"`, `stat -c %a "/home/$1/.ssh/authorized_keys"`},
		"moved":      {`usermod -d /nowhere "$1"`, `getent passwd "$1" | cut -d: -f6`},
		"regrouped":  {`usermod -g daemon "$1"`, `id -gn "$1"`},
		"reshelled":  {`usermod -s /bin/bash "$1"`, `getent passwd "$1" | cut -d: -f7`},
	}
	want := func(label, name string) string {
		return map[string]string{
			"expired": "", "aged": "0", "foreign": name, "foreignssh": name, "homeless": "1", "open": "644", "moved": "/home/" + name, "regrouped": name, "reshelled": "/bin/sh",
		}[label]
	}
	names := map[string]string{}
	for label := range cases {
		names[label] = h.UserName()
	}
	w := newWorkspace(t, usersWithKeys(h, names, public))
	w.run(t, "apply", "-auto-approve")
	for label, tt := range cases {
		h.Exec(t, tt.script, names[label])
	}
	output, code := w.try(t, "plan", "-detailed-exitcode")
	if code != 2 {
		t.Fatalf("plan: exit code %d\n%s", code, output)
	}
	for label := range cases {
		if !strings.Contains(output, fmt.Sprintf(`stitch_ssh_user.u["%s"] will be updated in-place`, label)) {
			t.Errorf("%s: not in the plan", label)
		}
	}
	if !strings.Contains(output, `stitch_ssh_authorized_key.k["homeless"] will be created`) {
		t.Errorf("the key of who has no home is there:\n%s", output)
	}
	for _, label := range []string{"expired", "aged"} {
		if strings.Contains(words(output), "of user "+names[label]+" was not read") {
			t.Errorf("%s: the key was not read:\n%s", label, output)
		}
	}
	if !strings.Contains(words(output), "of user "+names["foreign"]+" was not read") {
		t.Errorf("no warning of what was not read:\n%s", output)
	}
	w.run(t, "apply", "-auto-approve")
	for label, tt := range cases {
		if got := strings.TrimSpace(h.Exec(t, tt.repaired, names[label])); got != want(label, names[label]) {
			t.Errorf("%s: %q, want %q", label, got, want(label, names[label]))
		}
	}
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("the plan after is not empty: exit code %d\n%s", code, output)
	}
	w.run(t, "destroy", "-auto-approve")
}

// A key can be changed and removed although its user has expired.
func TestAccSSHAuthorizedKey_expired(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{UsePAM: true})
	_, public := newSSHKey(t)
	name := h.UserName()
	config := usersWithKeys(h, map[string]string{"u": name}, public)
	w := newWorkspace(t, config)
	w.run(t, "apply", "-auto-approve")
	for what, script := range map[string]string{"expired": `usermod -e 1 "$1"`, "aged": `usermod -e '' "$1"; chage -d 0 "$1"`} {
		h.Exec(t, script, name)
		w.write(t, "main.tf", strings.Replace(config, "public_key =", "options = [\"restrict\"]\n\t\t\tpublic_key =", 1))
		w.run(t, "apply", "-auto-approve", "-target=stitch_ssh_authorized_key.k", "-refresh=false")
		if got := h.Exec(t, `cat "/home/$1/.ssh/authorized_keys"`, name); !strings.HasPrefix(got, "restrict ") {
			t.Errorf("%s: %q", what, got)
		}
		w.write(t, "main.tf", config)
		h.Exec(t, script, name)
		w.run(t, "destroy", "-auto-approve", "-target=stitch_ssh_authorized_key.k")
		if got := h.Exec(t, `cat "/home/$1/.ssh/authorized_keys"`, name); got != "" {
			t.Errorf("%s: %q is left", what, got)
		}
		w.run(t, "apply", "-auto-approve")
	}
	h.Exec(t, `usermod -e 1 "$1"`, name)
	w.run(t, "destroy", "-auto-approve")
}

// A warning names a file of keys that the provider does not edit, in plans that do not concern it.
func TestAccSSHAuthorizedKey_unreadable(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	_, public := newSSHKey(t)
	cases := map[string]struct{ script, says string }{ // $1 is the user; in its .ssh
		"twice":  {`cat authorized_keys authorized_keys >both; cat both >authorized_keys`, "in lines 1 and 2"},
		"linked": {`mv authorized_keys other; ln -s other authorized_keys`, "is a symbolic link"},
		"rooted": {`chown root: authorized_keys; chmod 644 authorized_keys`, ""},
		"hidden": {`chown root: authorized_keys; chmod 600 authorized_keys`, "cannot read"},
	}
	names := map[string]string{}
	var quoted []string
	for label := range cases {
		names[label] = h.UserName()
		quoted = append(quoted, fmt.Sprintf("%q", names[label]))
		h.Exec(t, `useradd -m -p '*' "$1"`, names[label])
	}
	w := newWorkspace(t, requiredProviders+sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil)+fmt.Sprintf(`
		resource "stitch_ssh_authorized_key" "k" {
			for_each   = toset([%s])
			host       = "bastion"
			username   = each.key
			public_key = %q
		}`, strings.Join(quoted, ", "), public))
	w.run(t, "apply", "-auto-approve")
	for label, tt := range cases {
		h.Exec(t, `cd "/home/$1/.ssh"; `+tt.script, names[label])
	}
	output, code := w.try(t, "plan", "-detailed-exitcode")
	if code != 0 {
		t.Errorf("plan: exit code %d\n%s", code, output)
	}
	for label, tt := range cases {
		if warns := strings.Contains(words(output), "of user "+names[label]+" was not read"); warns != (tt.says != "") || !strings.Contains(words(output), tt.says) {
			t.Errorf("%s: want %q in\n%s", label, tt.says, output)
		}
	}
	for _, name := range names {
		h.Exec(t, `cd "/home/$1/.ssh"; [ ! -L authorized_keys ] || mv other authorized_keys; chown "$1:" authorized_keys; head -n 1 authorized_keys >one; cat one >authorized_keys`, name)
	}
	w.run(t, "destroy", "-auto-approve")
}

// Write permission of others on a file of keys is drift of the key, wherever sshd reads the file
// and whatever manages the user.
func TestAccSSHAuthorizedKey_problems(t *testing.T) {
	t.Parallel()
	h := sandbox.SSHHost(t, sandbox.HostConfig{Settings: []string{"Match User elsewhere", "AuthorizedKeysFile .config/keys"}})
	_, public := newSSHKey(t)
	h.Exec(t, `for user in elsewhere plain; do useradd -m -p '*' $user; done`)
	w := newWorkspace(t, requiredProviders+sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil)+fmt.Sprintf(`
		resource "stitch_ssh_authorized_key" "k" {
			for_each   = toset(["elsewhere", "plain"])
			host       = "bastion"
			username   = each.key
			public_key = %q
		}`, public))
	w.run(t, "apply", "-auto-approve")
	h.Exec(t, `chmod 666 /home/elsewhere/.config/keys; chmod 620 /home/plain/.ssh/authorized_keys`)
	output, code := w.try(t, "plan", "-detailed-exitcode")
	if code != 2 || !strings.Contains(output, "0 to add, 2 to change") || !strings.Contains(output, "other users can write to /home/elsewhere/.config/keys (mode 0666)") {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	w.run(t, "apply", "-auto-approve")
	if got := h.Exec(t, `stat -c %a /home/elsewhere/.config/keys /home/plain/.ssh/authorized_keys`); got != "644\n600\n" {
		t.Errorf("modes: %q", got)
	}
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("the plan after is not empty:\n%s", output)
	}
	w.run(t, "destroy", "-auto-approve")
}

// A host that is down keeps what is known of it, and a host that proves to be another is refused.
func TestAccSSHUser_hostDown(t *testing.T) {
	t.Parallel()
	h := sandbox.SSHHost(t, sandbox.HostConfig{})
	proxy := sandbox.StartProxy(t, net.JoinHostPort(h.Host, fmt.Sprint(h.Port)))
	_, public := newSSHKey(t)
	entry := fmt.Sprintf("{ host = %q, port = %d, username = \"root\", private_key = %q, host_key = %q, connect_timeout = 2 }", proxy.Host, proxy.Port, h.RootKey, h.HostKeys[0])
	w := newWorkspace(t, strings.Replace(usersWithKeys(h, map[string]string{"u": "tunnel"}, public), rootOf(h), entry, 1))
	w.run(t, "apply", "-auto-approve")
	state := w.state(t)
	proxy.Refuse()
	output, code := w.try(t, "plan", "-detailed-exitcode")
	if code != 0 || !strings.Contains(words(output), `Could not connect to SSH host "bastion"`) || !strings.Contains(words(output), `SSH user "tunnel" was not read`) {
		t.Errorf("exit code %d\n%s", code, output)
	}
	w.run(t, "apply", "-auto-approve", "-refresh-only")
	if w.state(t) != state {
		t.Errorf("the state became\n%s", w.state(t))
	}
	proxy.Accept()
	if err := h.ReplaceHostKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if output, code := w.try(t, "plan"); code != 1 || !strings.Contains(words(output), "another machine answers in its place") {
		t.Errorf("another key: exit code %d\n%s", code, output)
	}
}
