package linux

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// Wherever the connection breaks, a user exists whole or not at all, and the file holds a key once
// or not at all; what was reported as done was done.
func TestCut(t *testing.T) {
	t.Parallel()
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	direct := connect(t, sandboxed, sandbox.SudoNone)
	proxy := sandbox.StartProxy(t, net.JoinHostPort(sandboxed.Host, strconv.Itoa(sandboxed.Port)))
	through := connectAs(t, sshclient.Config{Host: proxy.Host, Port: proxy.Port, Username: "root", PrivateKey: sandboxed.RootKey, HostKeys: sandboxed.HostKeys})
	made, cut := 0, 0
	for bytes := int64(200); bytes < 24_000; bytes += 3000 {
		name := sandboxed.UserName()
		proxy.CutAfter(bytes)
		_, err := CreateUser(ctx, through, NewUser{Name: name})
		if err != nil {
			cut++
		} else {
			made++
		}
		sandboxed.Exec(t, `for i in $(seq 100); do cat /proc/[0-9]*/comm 2>/dev/null | grep -qx useradd || break; sleep 0.05; done; sleep 0.2`)
		u, readErr := ReadUser(ctx, direct, name)
		switch {
		case errors.Is(readErr, ErrNotFound):
			if err == nil {
				t.Errorf("%d: it was said that the user was made", bytes)
			}
			if got := sandboxed.Exec(t, `grep "^$1:" /etc/group; ls -d "/home/$1" 2>/dev/null; :`, name); got != "" {
				t.Errorf("%d: left %q", bytes, got)
			}
			newUser(t, direct, name)
		case readErr != nil || !u.Created || u.Problems() != nil || u.Password != PasswordNone:
			t.Errorf("%d: a half user: %+v, %v", bytes, u, readErr)
		}
		key, _ := newKey(t, "")
		k := AuthorizedKey{Username: name, PublicKey: key}
		proxy.CutAfter(bytes)
		err = AddAuthorizedKey(ctx, through, k)
		if err != nil {
			cut++
		} else {
			made++
		}
		sandboxed.Exec(t, `sleep 0.3`)
		if _, readErr := ReadAuthorizedKey(ctx, direct, name, key); err == nil && readErr != nil || readErr != nil && !errors.Is(readErr, ErrNotFound) {
			t.Errorf("%d: added: %v, read: %v", bytes, err, readErr)
		}
		if got := sandboxed.Exec(t, `ls -A "/home/$1/.ssh" 2>/dev/null; :`, name); got != "" && got != "authorized_keys\n" {
			t.Errorf("%d: left %q", bytes, got)
		}
	}
	if made == 0 || cut == 0 {
		t.Errorf("%d were made, %d cut: this says nothing", made, cut)
	}
}

// Where the outcome of a script is unknown, each error says what that means for the script.
func TestOutcomeUnknown(t *testing.T) {
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h := connect(t, sandboxed, sandbox.SudoNone)
	u := newUser(t, h, sandboxed.UserName())
	sandboxed.Exec(t, `
		printf '#!/bin/sh\nread -r _ _ _ shell _ <"/proc/$PPID/stat"\nkill -9 "$shell" "$PPID"\n' >/usr/local/sbin/useradd
		chmod 755 /usr/local/sbin/useradd && cp /usr/local/sbin/useradd /usr/local/sbin/usermod`)
	_, created := CreateUser(ctx, h, NewUser{Name: "new"})
	_, updated := UpdateUser(ctx, h, u.UID, NewUser{Name: u.Name, Shell: "/bin/cat"})
	_, deleted := DeleteUser(ctx, h, u.Name, u.UID, DeleteOptions{})
	for name, err := range map[string]error{"created": created, "updated": updated, "deleted": deleted} {
		var unknown *sshclient.OutcomeError
		if !errors.As(err, &unknown) || strings.Contains(err.Error(), "import it") || strings.Contains(err.Error(), "Apply again: if the user was created, the provider adopts it") != (name == "created") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
