package provider

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func sshKeyConfig(h *sandbox.Host, username, publicKey, arguments string) string {
	return sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil) + fmt.Sprintf(`
		resource "stitch_ssh_authorized_key" "k" {
			host       = "bastion"
			username   = %q
			public_key = %q
			%s
		}`, username, publicKey, arguments)
}

func TestAccSSHAuthorizedKey(t *testing.T) {
	const address = "stitch_ssh_authorized_key.k"
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	name := h.UserName()
	_, public := newSSHKey(t)
	_, other := newSSHKey(t)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	// Existing lines stay, byte for byte; the last one only lacks its line end.
	before := "# by hand\r\n\n\tnot a key $(touch /root/injected)\ncommand=\"echo 'x'\" " + other + " somebody's \\ key"
	h.Exec(t, `useradd -m -p '*' "$1" && cd "/home/$1" && mkdir -m 700 .ssh && printf '%s' "$2" >.ssh/authorized_keys && chmod 640 .ssh/authorized_keys && chown -R "$1:" .ssh`, name, before)
	file := func(want string) resource.TestCheckFunc {
		return wantOnHost(t, h, strings.TrimSpace(want), `cat "/home/$1/.ssh/authorized_keys"`, name)
	}
	mode := wantOnHost(t, h, "640 "+name, `stat -c '%a %U' "/home/$1/.ssh/authorized_keys"`, name)
	fingerprint := ssh.FingerprintSHA256(key)
	const tunnel = `options = ["restrict", "port-forwarding", "permitopen=\"db.internal:5432\"", "from=\"10.0.0.0/8,!10.0.0.5\""]`
	const tunnelText = `restrict,port-forwarding,permitopen="db.internal:5432",from="10.0.0.0/8,!10.0.0.5" `
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             file(before),
		Steps: []resource.TestStep{
			{ // create minimal
				Config:           sshKeyConfig(h, name, public, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            resource.ComposeTestCheckFunc(file(before+"\n"+public), mode),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, tfjsonpath.New("fingerprint"), knownvalue.StringExact(fingerprint)),
				},
			},
			{ // import
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        joinID("bastion", name, fingerprint),
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "fingerprint",
			},
			{ // options and a comment, in place
				Config:           sshKeyConfig(h, name, public+" the tunnel", tunnel),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            resource.ComposeTestCheckFunc(file(before+"\n"+tunnelText+public+" the tunnel"), mode),
			},
			{ // drift of an option
				PreConfig:        func() { h.Exec(t, `sed -i 's/permitopen="[^"]*",//' "/home/$1/.ssh/authorized_keys"`, name) },
				Config:           sshKeyConfig(h, name, public+" the tunnel", tunnel),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            file(before + "\n" + tunnelText + public + " the tunnel"),
			},
			{ // gone
				PreConfig:        func() { h.Exec(t, `sed -i '/ the tunnel$/d' "/home/$1/.ssh/authorized_keys"`, name) },
				Config:           sshKeyConfig(h, name, public, tunnel),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            file(before + "\n" + tunnelText + public),
			},
		},
	})
	wantNone := wantOnHost(t, h, "", "ls /root/injected 2>/dev/null || true")
	if err := wantNone(nil); err != nil {
		t.Error(err)
	}
}

func TestAccSSHAuthorizedKey_mistakes(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	private, public := newSSHKey(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weakKey, err := ssh.NewPublicKey(&weak.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	login, err := ssh.ParsePrivateKey([]byte(h.RootKey))
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(login.PublicKey())))
	for config, message := range map[string]string{
		sshKeyConfig(h, "root", private, ""):                                                      "prints its public half",
		sshKeyConfig(h, "root", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(weakKey))), ""): "2048",
		sshKeyConfig(h, "root", "restrict "+public, ""):                                           "options",
		sshKeyConfig(h, "root", public+"\n"+public, ""):                                           "more than one line",
		sshKeyConfig(h, "root", public, `options = ["no-such-option"]`):                           "no-such-option",
		sshKeyConfig(h, "root", public, `options = ["from=\"127.0.0.1/8\""]`):                     "127.0.0.0/8",
		sshKeyConfig(h, "root", public, "options = [\"command=\\\"a\\nb\\\"\"]"):                  "command",
	} {
		resource.Test(t, resource.TestCase{
			ProtoV6ProviderFactories: factories(),
			Steps:                    []resource.TestStep{{Config: config, PlanOnly: true, ExpectError: says(message)}},
		})
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: sshKeyConfig(h, "nosuchuser", public, ""), ExpectError: says("stitch_ssh_user can create it")},
			{Config: sshKeyConfig(h, "root", own, ""), ExpectError: says("ssh_hosts.bastion logs in with this key")},
		},
	})
}

// Two Terraforms that add and remove keys of one user at the same time lose none, and leave what
// was there before.
func TestAccSSHAuthorizedKey_together(t *testing.T) {
	t.Parallel()
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	name := h.UserName()
	_, other := newSSHKey(t)
	h.Exec(t, `useradd -m -p '*' "$1" && cd "/home/$1" && mkdir -m 700 .ssh && echo "$2" >.ssh/authorized_keys && chmod 600 .ssh/authorized_keys && chown -R "$1:" .ssh`, name, other)
	const each = 8
	var spaces []*workspace
	for range 2 {
		var keys []string
		for range each {
			_, public := newSSHKey(t)
			keys = append(keys, fmt.Sprintf("%q", public))
		}
		spaces = append(spaces, newWorkspace(t, requiredProviders+sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil)+fmt.Sprintf(`
			resource "stitch_ssh_authorized_key" "k" {
				for_each   = toset([%s])
				host       = "bastion"
				username   = %q
				public_key = each.key
			}`, strings.Join(keys, ", "), name)))
	}
	together := func(arguments ...string) {
		t.Helper()
		var group sync.WaitGroup
		for _, w := range spaces {
			group.Go(func() {
				if output, code := w.try(t, arguments...); code != 0 {
					t.Errorf("exit code %d\n%s", code, output)
				}
			})
		}
		group.Wait()
	}
	lines := func() string { return strings.TrimSpace(h.Exec(t, `cat "/home/$1/.ssh/authorized_keys"`, name)) }
	together("apply", "-auto-approve")
	if got := strings.Count(lines(), "\n"); got != 2*each {
		t.Errorf("%d keys were added, want %d", got, 2*each)
	}
	together("destroy", "-auto-approve")
	if got := lines(); got != other {
		t.Errorf("left is %q, want %q", got, other)
	}
}
