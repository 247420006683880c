package linux

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A user goes through everything that can be done to it, with each login.
func TestUserLife(t *testing.T) {
	eachRoot(t, func(t *testing.T, root string) {
		for name, sudo := range loginsOf(root) {
			for _, pam := range []bool{false, true} {
				if pam && !hasPAM(root) {
					continue
				}
				t.Run(name+" pam="+strconv.FormatBool(pam), func(t *testing.T) {
					t.Parallel()
					testUserLife(t, sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root, Sudo: sudo, UsePAM: pam}), sudo)
				})
			}
		}
	})
}

func testUserLife(t *testing.T, sandboxed *sandbox.Host, sudo sandbox.Sudo) {
	ctx, h := t.Context(), connect(t, sandboxed, sudo)
	name := sandboxed.UserName()
	if _, err := ReadUser(ctx, h, name); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before: %v", err)
	}
	comment := `Stitch; "it's" $(touch /tmp/x) %s é\`
	made, err := CreateUser(ctx, h, NewUser{Name: name, Comment: &comment})
	if err != nil {
		t.Fatal(err)
	}
	if made.Name != name || made.Group != name || made.Home != "/home/"+name || made.Shell != "/bin/sh" || made.Comment != comment ||
		!made.Created || !made.Local || made.Password != PasswordNone || made.Expires != "" || made.UID == 0 {
		t.Errorf("made: %+v", made)
	}
	if problems := made.Problems(); problems != nil {
		t.Errorf("problems: %q", problems)
	}
	read, err := ReadUser(ctx, h, name)
	if err != nil || read != made {
		t.Errorf("read: %+v, %v", read, err)
	}
	if got := sandboxed.Exec(t, `stat -c '%a %U %G' "/home/$1"`, name); got != "700 "+name+" "+name+"\n" {
		t.Errorf("home: %q", got)
	}
	if _, err := CreateUser(ctx, h, NewUser{Name: name}); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}

	key, signer := newKey(t, "laptop")
	if err := AddAuthorizedKey(ctx, h, AuthorizedKey{Username: name, PublicKey: key, Options: []string{"restrict", "port-forwarding"}}); err != nil {
		t.Fatal(err)
	}
	if err := tunnel(sandboxed, name, signer); err != nil {
		t.Errorf("tunnel: %v", err)
	}

	shell, none := "/bin/false", ""
	changed, err := UpdateUser(ctx, h, made.UID, NewUser{Name: name, Shell: shell, Group: sandbox.OperatorName, Comment: &none})
	if err != nil || changed.Shell != shell || changed.Group != sandbox.OperatorName || changed.Comment != "" || !changed.Created || changed.Problems() != nil {
		t.Errorf("changed: %+v, %v", changed, err)
	}
	if err := tunnel(sandboxed, name, signer); err != nil {
		t.Errorf("tunnel with another shell: %v", err)
	}
	if err := RemoveAuthorizedKey(ctx, h, name, key); err != nil {
		t.Error(err)
	}
	if err := tunnel(sandboxed, name, signer); err == nil {
		t.Error("a removed key opens a tunnel")
	}
	if d, err := DeleteUser(ctx, h, name, made.UID, DeleteOptions{}); err != nil || d != (Deletion{Deleted: true}) {
		t.Errorf("deleted: %+v, %v", d, err)
	}
	if got := sandboxed.Exec(t, `grep "^$1:" /etc/passwd /etc/shadow; ls -d "/home/$1" 2>/dev/null; :`, name); got != "" {
		t.Errorf("left: %q", got)
	}
	if d, err := DeleteUser(ctx, h, name, made.UID, DeleteOptions{}); err != nil || d != (Deletion{}) {
		t.Errorf("deleted again: %+v, %v", d, err)
	}
	if got := sandboxed.Exec(t, "ls /tmp/x 2>/dev/null; :"); got != "" {
		t.Error("a comment was run")
	}
}

// dial logs in as a user.
func dial(h *sandbox.Host, user string, signer ssh.Signer) (*ssh.Client, error) {
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKeys[0]))
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", net.JoinHostPort(h.Host, strconv.Itoa(h.Port)), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(hostKey), HostKeyAlgorithms: []string{hostKey.Type()},
	})
}

// tunnel opens a tunnel to the host's own sshd as a user, and reads its banner.
func tunnel(h *sandbox.Host, user string, signer ssh.Signer) error {
	client, err := dial(h, user, signer)
	if err != nil {
		return err
	}
	defer client.Close()
	conn, err := client.DialContext(context.Background(), "tcp", net.JoinHostPort(h.Host, strconv.Itoa(h.Port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	banner := make([]byte, 4)
	if _, err := conn.Read(banner); err != nil || string(banner) != "SSH-" {
		return errors.Join(err, errors.New("read "+string(banner)))
	}
	return nil
}
