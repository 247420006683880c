package sshclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestRunAs(t *testing.T) {
	nobody := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	free := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	asks := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoPassword})
	sudo := func(h *sandbox.Host, password string) Config {
		c := asOperator(h)
		c.Sudo, c.SudoPassword = true, password
		return c
	}
	for name, tt := range map[string]struct {
		config Config
		user   string
		want   string
		fails  []string
	}{
		"root":                            {asRoot(nobody), "", "root", nil},
		"root by name":                    {asRoot(nobody), "root", "root", nil},
		"root, another":                   {asRoot(nobody), "operator", "operator", nil},
		"root, one without a shell":       {asRoot(nobody), "nobody", "nobody", nil},
		"root, one that is not there":     {asRoot(nobody), "gone", "", []string{"gone"}},
		"root, an option":                 {asRoot(nobody), "-c", "", []string{"is not a user name"}},
		"itself":                          {asOperator(nobody), "operator", "operator", nil},
		"no sudo":                         {asOperator(nobody), "", "", []string{"cannot become root", "sudo = true", "ssh_hosts.bastion"}},
		"no sudo, another":                {asOperator(nobody), "nobody", "", []string{`cannot become "nobody"`, "sudo = true"}},
		"sudo that does not let":          {sudo(nobody, ""), "", "", []string{"cannot become root by sudo", "sudo_password"}},
		"sudo that does not let, asks":    {sudo(nobody, nobody.OperatorPassword), "", "", []string{"sudoers"}},
		"sudo":                            {sudo(free, ""), "", "root", nil},
		"sudo, another":                   {sudo(free, ""), "nobody", "nobody", nil},
		"sudo, itself":                    {sudo(free, ""), "operator", "operator", nil},
		"a password that is not asked":    {sudo(free, "touch /tmp/password-ran"), "", "root", nil},
		"sudo with a password":            {sudo(asks, asks.OperatorPassword), "", "root", nil},
		"sudo with a password, another":   {sudo(asks, asks.OperatorPassword), "nobody", "nobody", nil},
		"sudo without its password":       {sudo(asks, ""), "", "", []string{"password is required", "sudo_password of ssh_hosts.bastion"}},
		"sudo with a password, the wrong": {sudo(asks, "wr0ng"), "", "", []string{"did not accept sudo_password"}},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := only(t, tt.config).Run(within10(t), Command{Script: `id -un; pwd >/dev/null`, User: tt.user})
			if tt.fails != nil {
				wantText(t, err, tt.fails...)
				if strings.Contains(err.Error(), "wr0ng") {
					t.Error("the error shows the password")
				}
				return
			}
			if strings.TrimSpace(string(output)) != tt.want || err != nil {
				t.Errorf("%q %v, want %q", output, err, tt.want)
			}
		})
	}
	if left := free.Exec(t, "ls /tmp"); strings.Contains(left, "password-ran") || strings.Contains(left, "pwned") {
		t.Error("a password that sudo did not ask for was run by the shell")
	}
}

// The shells, su and sudo of other systems behave alike.
func TestRunOnOtherSystems(t *testing.T) {
	t.Parallel()
	sandbox.EachHostRoot(t, func(t *testing.T, root string) {
		for name, sudo := range map[string]sandbox.Sudo{"root": sandbox.SudoNone, "sudo": sandbox.SudoNoPassword, "sudo with a password": sandbox.SudoPassword} {
			if _, err := os.Stat(filepath.Join("/", root, "usr/bin/sudo")); err != nil && sudo != sandbox.SudoNone {
				continue // busybox has none
			}
			t.Run(name, func(t *testing.T) {
				h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root, Sudo: sudo})
				c := asOperator(h)
				c.Sudo, c.SudoPassword = true, h.OperatorPassword
				if sudo == sandbox.SudoNone {
					c = asRoot(h)
				}
				client := only(t, c)
				for user, want := range map[string]string{"": "root", "operator": "operator", "nobody": "nobody"} {
					for _, text := range hostile {
						output, err := client.Run(within10(t), Command{Script: `id -un; printf '%s' "$text"`, Data: map[string]string{"text": text}, User: user})
						if string(output) != want+"\n"+text || err != nil {
							t.Fatalf("as %q: %.50q comes back as %.50q (%v)", user, text, output, err)
						}
					}
				}
			})
		}
	})
}

func TestSudoWantsATerminal(t *testing.T) {
	h := sandbox.SSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	h.Exec(t, `echo 'Defaults requiretty' >>/etc/sudoers`)
	c := asOperator(h)
	c.Sudo = true
	_, err := only(t, c).Run(within10(t), Command{Script: "true"})
	wantText(t, err, "requiretty", "Defaults:operator !requiretty")
}

// sudo-rs, the sudo of newer systems, has its own messages.
func TestSudoRS(t *testing.T) {
	for name, tt := range map[string]struct{ says, password, want string }{
		"asks for a password": {"sudo: interactive authentication is required", "", "Set sudo_password of ssh_hosts."},
		"does not let":        {"sudo: I'm sorry operator. I'm afraid I can't do that", "", `Allow "operator" to use sudo on that host`},
		"wrong password":      {"sudo: Authentication failed, try again.", "wrong", "did not accept sudo_password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := sandbox.SSHHost(t, sandbox.HostConfig{})
			h.Exec(t, `cat >/usr/bin/sudo <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in
	-p) prompt=$2; shift ;;
	--) break ;;
	esac
	shift
done
if [ -n "$prompt" ]; then
	printf '[sudo: %s] Password: ' "$prompt" >&2
	read -r ignored
fi
printf '%s\n' "$SAYS" >&2
[ -z "$prompt" ] || printf '[sudo: %s] Password: ' "$prompt" >&2
[ -z "$prompt" ] || read -r ignored
exit 1
END
sed -i "s|^while|SAYS=\"$1\"\nwhile|" /usr/bin/sudo
chmod 755 /usr/bin/sudo`, tt.says)
			c := asOperator(h)
			c.Sudo, c.SudoPassword = true, tt.password
			_, err := only(t, c).Run(within10(t), Command{Script: "true"})
			wantText(t, err, tt.want)
		})
	}
}

// While a command runs, none of its data is in a command line or an environment that other users
// can read.
func TestRunShowsNoData(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoPassword})
	c := asOperator(h)
	c.Sudo, c.SudoPassword = true, h.OperatorPassword
	output, err := only(t, c).Run(t.Context(), Command{
		Script: `cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n'`,
		Data:   map[string]string{"secret": "hidden-data"},
		User:   "root",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hidden-data", h.OperatorPassword} {
		if strings.Contains(string(output), secret) {
			t.Errorf("%s is there for all to see", secret)
		}
	}
	if !strings.Contains(string(output), "sshd") {
		t.Error("nothing was seen, so nothing can be")
	}
}

func TestRunEnvironment(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	output := run(t, only(t, asRoot(h)), `umask; echo "$LC_ALL $PATH"; cat; echo end`)
	if want := "0077\nC /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nend\n"; output != want {
		t.Errorf("%q, want %q", output, want)
	}
}

func TestRunWithANoisyLogin(t *testing.T) {
	h := sandbox.SSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoPassword})
	h.Exec(t, `
		usermod -s /bin/bash operator
		printf 'echo Welcome; echo "trouble ahead" >&2; printf "begin x\nend x 0"\n' >/home/operator/.bashrc
		echo 'Have a nice day' >/etc/motd`)
	c := asOperator(h)
	c.Sudo, c.SudoPassword = true, h.OperatorPassword
	for _, user := range []string{"", "operator", "nobody"} {
		output, err := only(t, c).Run(within10(t), Command{Script: "echo clean", User: user})
		if string(output) != "clean\n" || err != nil {
			t.Errorf("as %q: %q %v", user, output, err)
		}
	}
	h.Exec(t, `usermod -s /usr/sbin/nologin operator`)
	_, err := only(t, c).Run(within10(t), Command{Script: "echo clean"})
	wantText(t, err, "did not start a shell", "not available")
}

func TestRunFails(t *testing.T) {
	client := only(t, asRoot(sandbox.SharedSSHHost(t, sandbox.HostConfig{})))
	_, err := client.Run(t.Context(), Command{Script: "echo sorry >&2; exit 3"})
	if exit := as[*ExitError](t, err); exit.Status != 3 || exit.Stderr != "sorry\n" {
		t.Errorf("%+v", exit)
	}
	_, err = client.Run(t.Context(), Command{Script: "set -eu; false; echo never"})
	if exit := as[*ExitError](t, err); exit.Status != 1 {
		t.Errorf("%+v", exit)
	}
	_, err = client.Run(t.Context(), Command{Script: "echo unfinished; ("})
	wantA[*ShellError](t, err) // which did not begin to run it

	_, err = client.Run(t.Context(), Command{Script: "kill -9 $$; sleep 1"})
	wantA[*OutcomeError](t, err)

	_, err = client.Run(t.Context(), Command{Script: "sleep 60", Limit: 100 * time.Millisecond})
	wantA[*OutcomeError](t, err)
	wantText(t, err, "more than 100ms")

	_, err = client.Run(t.Context(), Command{Script: "yes"})
	wantA[*OutcomeError](t, err)
	wantText(t, err, "8 MiB")
	if output := run(t, client, "head -c 8000000 /dev/zero"); len(output) != 8_000_000 {
		t.Errorf("%d bytes", len(output))
	}
	if output := run(t, client, "head -c 3000000 /dev/zero >&2; echo said"); output != "said\n" {
		t.Errorf("%q", output)
	}
}

func TestRunCancelled(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	client := only(t, asRoot(h))
	run(t, client, "true")
	for range 2 * maxSessions { // the sessions are released
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		start := time.Now()
		_, err := client.Run(ctx, Command{Script: "sleep 60"})
		cancel()
		wantA[*OutcomeError](t, err)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Run(ctx, Command{Script: "true"})
	var unknown *OutcomeError
	if !errors.Is(err, context.Canceled) || errors.As(err, &unknown) {
		t.Errorf("before it began: %v", err)
	}
	run(t, client, "true")
}

func TestRunMany(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"MaxSessions 10", "MaxSessions 2", "MaxSessions 1"} {
		t.Run(settings, func(t *testing.T) {
			h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Settings: []string{settings}})
			proxy := proxyTo(t, h)
			client := only(t, through(proxy, asRoot(h)))
			var all sync.WaitGroup
			for i := range 12 {
				all.Go(func() {
					want := fmt.Sprint(i)
					output, err := client.Run(t.Context(), Command{Script: `sleep 0.02; printf %s "$i"`, Data: map[string]string{"i": want}})
					if string(output) != want || err != nil {
						t.Errorf("%d: %q %v", i, output, err)
					}
				})
			}
			all.Wait()
			if proxy.Connections() != 1 {
				t.Errorf("%d connections", proxy.Connections())
			}
		})
	}
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Settings: []string{"MaxSessions 0"}})
	client := only(t, asRoot(h))
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			_, err := client.Run(t.Context(), Command{Script: "true"})
			wantText(t, err, "MaxSessions")
		})
	}
	all.Wait()
}

// An answer that repeats a password is dropped: its contents may end up in a state.
func TestRunDropsSecrets(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoPassword})
	c := asOperator(h)
	c.Sudo, c.SudoPassword = true, h.OperatorPassword
	told := map[string]string{"secret": h.OperatorPassword}
	output, err := only(t, c).Run(within10(t), Command{Script: `printf 'origin %s\n' "$secret"`, Data: told})
	wantA[*OutcomeError](t, err)
	wantText(t, err, "contains password or sudo_password of ssh_hosts.bastion")
	if strings.Contains(string(output)+err.Error(), h.OperatorPassword) {
		t.Errorf("%q %v", output, err)
	}
	if output, err := only(t, c).Run(within10(t), Command{Script: `printf '%.7s' "$secret"`, Data: told}); string(output) != h.OperatorPassword[:7] || err != nil {
		t.Errorf("a part of it: %q %v", output, err)
	}
	for config, repeats := range map[*Config]bool{
		{Password: "correct horse"}: true, {SudoPassword: "correct horse"}: true, {Password: "root"}: false, {}: false,
	} {
		if s := (&shared{config: *config}); s.repeats([]byte("root: correct horse battery")) != repeats {
			t.Errorf("%+v: %t", *config, !repeats)
		}
	}
}
