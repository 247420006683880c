package linux

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// logins are the ways to become root.
var logins = map[string]sandbox.Sudo{"root": sandbox.SudoNone, "sudo": sandbox.SudoNoPassword, "sudo with password": sandbox.SudoPassword}

// eachRoot runs f for this machine's root filesystem and, in make torture, for those of other
// systems.
func eachRoot(t *testing.T, f func(t *testing.T, root string)) {
	t.Helper()
	if os.Getenv("STITCH_TORTURE") != "" {
		sandbox.EachHostRoot(t, f)
		return
	}
	f(t, "")
}

func hasPAM(root string) bool {
	_, err := os.Stat(filepath.Join("/", root, "etc/pam.d/sshd"))
	return err == nil
}

// loginsOf returns the logins that work with a root filesystem: busybox has no sudo.
func loginsOf(root string) map[string]sandbox.Sudo {
	if _, err := os.Stat(filepath.Join("/", root, "usr/bin/sudo")); err != nil {
		return map[string]sandbox.Sudo{"root": sandbox.SudoNone}
	}
	return logins
}

// connect returns h for one login: root without sudo, else the operator.
func connect(t testing.TB, h *sandbox.Host, sudo sandbox.Sudo) *sshclient.Host {
	config := sshclient.Config{Host: h.Host, Port: h.Port, Username: "root", PrivateKey: h.RootKey, HostKeys: h.HostKeys}
	if sudo != sandbox.SudoNone {
		config.Username, config.PrivateKey, config.Sudo = sandbox.OperatorName, h.OperatorKey, true
	}
	if sudo == sandbox.SudoPassword {
		config.SudoPassword = h.OperatorPassword
	}
	return connectAs(t, config)
}

func connectAs(t testing.TB, config sshclient.Config) *sshclient.Host {
	hosts := sshclient.NewHosts(map[string]sshclient.Config{"bastion": config})
	t.Cleanup(hosts.Close)
	host, _ := hosts.Host("bastion")
	return host
}

// newKey returns a key pair.
func newKey(t testing.TB, comment string) (PublicKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePublicKey(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " " + comment)
	if err != nil {
		t.Fatal(err)
	}
	return key, signer
}
