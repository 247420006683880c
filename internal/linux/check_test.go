package linux

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// What the check says about a tunnel agrees with what happens to one, setting by setting.
func TestCheckUserTunnels(t *testing.T) {
	for name, tt := range map[string]struct {
		pam      bool
		settings []string
		options  string // of the key; TARGET is the tunnel's address
		script   string // $1 is the user
		finding  string // a part of the one that blocks; "": the tunnel opens
	}{
		"nothing":                  {},
		"permitted":                {options: `restrict,port-forwarding,permitopen="TARGET",from="127.0.0.0/8"`},
		"no forwarding":            {settings: []string{"AllowTcpForwarding no"}, finding: "AllowTcpForwarding is no"},
		"only remote":              {settings: []string{"AllowTcpForwarding remote"}, finding: "AllowTcpForwarding is remote"},
		"local":                    {settings: []string{"AllowTcpForwarding local"}},
		"disabled":                 {settings: []string{"DisableForwarding yes"}, finding: "DisableForwarding is yes"},
		"permits others":           {settings: []string{"PermitOpen localhost:5432 127.0.0.1:1"}, finding: "compares hosts literally"},
		"permits any port":         {settings: []string{"PermitOpen 127.0.0.1:*"}},
		"permits none":             {settings: []string{"PermitOpen none"}, finding: "PermitOpen is none"},
		"for another user":         {settings: []string{"Match User another", "AllowTcpForwarding no"}},
		"for this user":            {settings: []string{"Match User check", "AllowTcpForwarding no"}, finding: "AllowTcpForwarding is no"},
		"for this address":         {settings: []string{"Match Address 127.0.0.0/8", "AllowTcpForwarding no"}, finding: "AllowTcpForwarding is no"},
		"no keys":                  {settings: []string{"Match User check", "PubkeyAuthentication no"}, finding: "PubkeyAuthentication is no"},
		"denied":                   {settings: []string{"DenyUsers other ch?ck"}, finding: "DenyUsers lists it"},
		"not allowed":              {settings: []string{"AllowUsers root other"}, finding: "AllowUsers does not list it"},
		"allowed from here":        {settings: []string{"AllowUsers root check@127.0.0.0/8"}},
		"allowed from elsewhere":   {settings: []string{"AllowUsers root check@10.0.0.0/8"}, finding: "AllowUsers does not list it"},
		"group denied":             {settings: []string{"DenyGroups other check"}, finding: "DenyGroups lists one"},
		"group not allowed":        {settings: []string{"AllowGroups root"}, finding: "AllowGroups lists none"},
		"more than a key":          {settings: []string{"Match User check", "AuthenticationMethods publickey,password"}, finding: "A key is not enough"},
		"a key or more":            {settings: []string{"Match User check", "AuthenticationMethods publickey,password publickey"}},
		"key of another type":      {settings: []string{"Match User check", "PubkeyAcceptedAlgorithms rsa-sha2-512"}, finding: "no keys of type ssh-ed25519"},
		"keys elsewhere":           {settings: []string{"Match User check", "AuthorizedKeysFile /etc/keys"}, finding: "not below the home directory"},
		"forced command":           {settings: []string{"Match User check", "ForceCommand /bin/false"}},
		"restrict":                 {options: "restrict", finding: "forbid tunnels"},
		"restrict after all":       {options: "port-forwarding,restrict", finding: "forbid tunnels"},
		"no-port-forwarding":       {options: "no-port-forwarding", finding: "forbid tunnels"},
		"permitopen of others":     {options: `permitopen="localhost:1"`, finding: "do not allow a tunnel"},
		"from elsewhere":           {options: `from="10.0.0.0/8"`, finding: "not accept it from this machine"},
		"from anywhere but here":   {options: `from="*,!127.0.0.1"`, finding: "not accept it from this machine"},
		"expired key":              {options: `expiry-time="20010101"`, finding: "The key has expired"},
		"bad option":               {options: `nonsense`, finding: "ignores the line"},
		"authority":                {options: `cert-authority`, finding: "of a certificate authority"},
		"no such key":              {script: `: >"/home/$1/.ssh/authorized_keys"`, finding: "is not in"},
		"locked":                   {script: `usermod -L "$1"`, finding: "is locked"},
		"locked, with PAM":         {pam: true, script: `usermod -L "$1"`},
		"expired":                  {script: `usermod -e 1 "$1"`, finding: "expired on"},
		"password of old, PAM":     {pam: true, script: `chage -d 0 "$1"`, finding: "is too old"},
		"password of old":          {script: `chage -d 0 "$1"`},
		"others may write":         {script: `chmod 602 "/home/$1/.ssh/authorized_keys"`, finding: "StrictModes refuses"},
		"others may write to home": {script: `chmod 702 "/home/$1"`, finding: "StrictModes refuses"},
		"modes do not matter":      {settings: []string{"StrictModes no"}, script: `chmod 702 "/home/$1"`},
		"no shell":                 {script: `usermod -s /bin/nothing "$1"`, finding: "cannot be run"},
		"nologin for a shell":      {script: `usermod -s /usr/sbin/nologin "$1"`},
		"no logins, with PAM":      {pam: true, script: `echo later >/etc/nologin`, finding: "Only root can log in"},
		"no logins":                {script: `echo later >/etc/nologin`},
		"no home":                  {script: `rm -r "/home/$1"`, finding: "home directory is missing"},
		"no user":                  {script: `userdel "$1"`, finding: "Nothing else was checked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sandboxed := sandbox.SSHHost(t, sandbox.HostConfig{UsePAM: tt.pam, Settings: tt.settings})
			h := connect(t, sandboxed, sandbox.SudoNone)
			newUser(t, h, "check")
			key, signer := newKey(t, "")
			target := net.JoinHostPort(sandboxed.Host, strconv.Itoa(sandboxed.Port))
			line := strings.TrimSpace(strings.ReplaceAll(tt.options, "TARGET", target) + " " + key.String())
			sandboxed.Exec(t, `cd /home/check; mkdir -m 700 .ssh; printf '%s\n' "$1" >.ssh/authorized_keys; chown -R check:check .ssh`, line)
			sandboxed.Exec(t, tt.script, "check")
			checked, err := CheckUser(t.Context(), h, Check{Username: "check", PublicKey: &key, Host: sandboxed.Host, Port: sandboxed.Port})
			if err != nil {
				t.Fatal(err)
			}
			text := findingsText(checked.Findings)
			unknown := tt.finding == "not below the home directory" // and so the check does not say that it blocks
			if !strings.Contains(text, tt.finding) || checked.Blocked() != (tt.finding != "" && !unknown) {
				t.Errorf("found %s", text)
			}
			if err := tunnel(sandboxed, "check", signer); (err == nil) != (tt.finding == "") {
				t.Errorf("a tunnel: %v", err)
			}
			if checked.User != nil && (!checked.SSHD.Known || checked.Peer != "127.0.0.1") {
				t.Errorf("checked %+v", checked)
			}
		})
	}
}

func findingsText(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		if f.Summary == "" || f.Detail == "" || f.Remedy == "" {
			b.WriteString("incomplete: ")
		}
		b.WriteString(f.Summary + ": " + f.Detail + " " + f.Remedy + "\n")
	}
	return b.String()
}

// A login that may not ask sshd reports that, and checks the rest.
func TestCheckUserWithoutRoot(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	h := connectAs(t, sshclient.Config{Host: sandboxed.Host, Port: sandboxed.Port, Username: sandbox.OperatorName, PrivateKey: sandboxed.OperatorKey, HostKeys: sandboxed.HostKeys})
	text, err := sshclient.PublicKey(sandboxed.OperatorKey, "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := CheckUser(ctx, h, Check{PublicKey: &key})
	if err != nil || checked.Username != sandbox.OperatorName || checked.SSHD.Known || checked.Blocked() || len(checked.Findings) != 1 || !strings.Contains(findingsText(checked.Findings), "only root can ask sshd") {
		t.Errorf("itself: %+v, %v", checked, err)
	}
	checked, err = CheckUser(ctx, h, Check{Username: "root", PublicKey: &key})
	if text := findingsText(checked.Findings); err != nil || checked.Blocked() || !strings.Contains(text, "The keys of the user were not checked") {
		t.Errorf("root: %s, %v", text, err)
	}
	checked, err = CheckUser(ctx, h, Check{Username: "nobody-has"})
	if text := findingsText(checked.Findings); err != nil || !checked.Blocked() || !strings.Contains(text, `The user "nobody-has" does not exist`) {
		t.Errorf("nobody: %s, %v", text, err)
	}
}

func TestMatchAddresses(t *testing.T) {
	for _, tt := range []struct {
		list, address string
		want          bool
	}{
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "11.1.2.3", false},
		{"10.*,!10.1.*", "10.2.3.4", true},
		{"10.*,!10.1.*", "10.1.3.4", false},
		{"fd00::/8", "fd00::1", true},
		{"FD00::1", "fd00::1", true},
		{"10.0.0.?", "10.0.0.12", false},
		{"*.example.com", "10.0.0.1", false},
	} {
		if got := matchAddresses(tt.list, tt.address); got != tt.want {
			t.Errorf("%s of %s: %t", tt.address, tt.list, got)
		}
	}
	for pattern, want := range map[string]bool{"": false, "*": true, "st*": true, "*ch": true, "s**h": true, "st?tch": true, "st?ch": false, "stitch?": false, "*x*": false} {
		if got := matchPattern(pattern, "stitch"); got != want {
			t.Errorf("%q: %t", pattern, got)
		}
	}
	names := []string{"10.0.0.1", "10.*", "fd00::/8", "*.example.com", "!host.example.org"}
	if got := slices.DeleteFunc(names, func(item string) bool { return !hasHostNames(item) }); !slices.Equal(got, []string{"*.example.com", "!host.example.org"}) {
		t.Errorf("names: %q", got)
	}
}

func TestExpired(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]bool{"": false, "20260308": true, "20260310": false, "202603081159": true, "20260310115959Z": true, "20260310120001Z": false, "nonsense": false} {
		if got := expired(text, now); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
