package provider

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// sshProviderBlock is providerBlock with entries of ssh_hosts next to those of servers.
func sshProviderBlock(hosts, servers map[string]string) string {
	var b strings.Builder
	b.WriteString("ssh_hosts = {\n")
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		fmt.Fprintf(&b, "    %s = %s\n", name, hosts[name])
	}
	b.WriteString("  }\n  servers = {")
	return strings.Replace(providerBlock(servers), "servers = {", b.String(), 1)
}

// rootOf returns an entry of ssh_hosts that logs in as root.
func rootOf(h *sandbox.Host) string { return sshLogin(h, "root", h.RootKey) }

// sshLogin returns an entry of ssh_hosts that logs in with a key.
func sshLogin(h *sandbox.Host, username, key string) string {
	return fmt.Sprintf("{ host = %q, port = %d, username = %q, private_key = %q, host_key = %q }", h.Host, h.Port, username, key, h.HostKeys[0])
}

// newSSHKey returns a private key in OpenSSH's form, and its public half.
func newSSHKey(t *testing.T) (private, public string) {
	t.Helper()
	public1, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	half, err := ssh.NewPublicKey(public1)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(half)))
}

// The plan reports mistakes in ssh_hosts, and where they are.
func TestAccSSHHosts_mistakes(t *testing.T) {
	t.Parallel()
	const user = `
		resource "stitch_ssh_user" "a" {
			host     = "a"
			username = "stitch"
		}`
	private, public := newSSHKey(t)
	rest := fmt.Sprintf(", private_key = %q, host_key = %q }", private, public)
	for entry, message := range map[string]string{
		`null`:                    "An SSH host needs a host",
		`{ username = "u"` + rest: "An SSH host needs a host",
		`{ host = "[::1]", username = "u"` + rest:                                                                                  `write "::1"`,
		`{ host = "", username = "u"`:                                                                                              "The provider does not fall back to localhost",
		`{ host = "h"` + rest:                                                                                                      "An SSH host needs a username",
		fmt.Sprintf(`{ host = "h", username = "u", private_key = %q }`, private):                                                   "An SSH host needs a host_key",
		fmt.Sprintf(`{ host = "h", username = "u", host_key = %q }`, public):                                                       "An SSH host needs a login",
		fmt.Sprintf(`{ host = "h", username = "u", agent = false, host_key = %q }`, public):                                        "An SSH host needs a login",
		fmt.Sprintf(`{ host = "h", username = "u", agent = true, host_key = %q }`, private):                                        "it is a private key",
		fmt.Sprintf(`{ host = "h", username = "u", agent = true, host_key = "h %s" }`, public):                                     "is not a public key such as",
		fmt.Sprintf(`{ host = "h", username = "u", agent = true, host_key = %q, known_hosts = "f" }`, public):                      "Set host_key or known_hosts, not both",
		fmt.Sprintf(`{ host = "h", username = "u", agent = true, host_key = %q, sudo_password = "p" }`, public):                    "sudo_password has an effect only together with sudo",
		fmt.Sprintf(`{ host = "h", username = "u", password = "p", host_key = %q, certificate = "c" }`, public):                    "certificate has an effect only together with private_key",
		fmt.Sprintf(`{ host = "h", username = "u", password = "p", host_key = %q, jump_host = "b" }`, public):                      `ssh_hosts of the provider block has no entry "b"`,
		fmt.Sprintf(`{ host = "h", username = "u", password = "p", host_key = %q, jump_host = "a" }`, public):                      `would be reached through itself: a -> a`,
		fmt.Sprintf(`{ host = "h", username = "u", password = "p", host_key = %q, private_key_passphrase = "something" }`, public): "private_key_passphrase has an effect only together with private_key",
	} {
		if !strings.HasSuffix(entry, "}") && entry != "null" {
			entry += rest
		}
		resource.Test(t, resource.TestCase{
			ProtoV6ProviderFactories: factories(),
			Steps: []resource.TestStep{{
				Config: sshProviderBlock(map[string]string{"a": entry}, nil) + user, PlanOnly: true, ExpectError: says(message),
			}},
		})
	}
	good := fmt.Sprintf(`{ host = "h", username = "u", agent = true, host_key = %q }`, public)
	for config, message := range map[string]string{
		sshProviderBlock(map[string]string{"b": good}, nil) + user:                                                                      `ssh_hosts of the provider block has no entry "a": it has b`,
		sshProviderBlock(map[string]string{"a": good}, map[string]string{"s": `{ host = "h", username = "u", ssh_host = "b" }`}) + user: `ssh_hosts of the provider block has no entry "b": it has a`,
	} {
		resource.Test(t, resource.TestCase{
			ProtoV6ProviderFactories: factories(),
			Steps:                    []resource.TestStep{{Config: config, PlanOnly: true, ExpectError: says(message)}},
		})
	}
}

// A host that another resource of the same apply makes reachable does not fail a plan: the user of
// the tunnel, its key, and what is reached through the tunnel come in one apply. No secret is in
// plan, state or log.
func TestAccTunnel(t *testing.T) {
	t.Parallel()
	bastion := sandbox.SSHHost(t, sandbox.HostConfig{Hosts: map[string]string{"db.internal": "127.0.0.1"}})
	s := sandbox.Shared(t, 0)
	role := s.RoleName(t)
	private, _ := newSSHKey(t)
	const password = "correct horse'\"\\ battery"
	config := requiredProviders + sshProviderBlock(
		map[string]string{
			"bastion": rootOf(bastion),
			"tunnel":  fmt.Sprintf("{ host = %q, port = %d, username = \"stitch\", private_key = var.key, host_key = %q }", bastion.Host, bastion.Port, bastion.HostKeys[0]),
		},
		map[string]string{
			"app": fmt.Sprintf("{ host = \"db.internal\", port = %d, username = %q, password = %q, sslmode = \"disable\", ssh_host = \"tunnel\" }", s.Port, s.Username, s.Password),
		}) + fmt.Sprintf(`
		variable "key" {
			type      = string
			sensitive = true
		}
		variable "password" {
			type      = string
			ephemeral = true
		}
		resource "stitch_ssh_user" "stitch" {
			host     = "bastion"
			username = "stitch"
			shell    = "/usr/sbin/nologin"
		}
		resource "stitch_ssh_authorized_key" "stitch" {
			host       = "bastion"
			username   = stitch_ssh_user.stitch.username
			public_key = nonsensitive(provider::stitch::ssh_public_key(var.key))
			options    = ["restrict", "port-forwarding", "permitopen=\"db.internal:%d\""]
		}
		resource "stitch_database_user" "u" {
			server              = "app"
			name                = %q
			password_wo         = var.password
			password_wo_version = 1
			depends_on          = [stitch_ssh_authorized_key.stitch]
		}
		data "stitch_connection_check" "app" {
			server     = "app"
			depends_on = [stitch_ssh_authorized_key.stitch]
		}
		output "pooling" { value = data.stitch_connection_check.app.pooling }`, s.Port, role)
	w := newWorkspace(t, config, "TF_VAR_key="+private, "TF_VAR_password="+password, "TF_LOG=trace", "TF_LOG_PATH=terraform.log")
	w.run(t, "plan", "-out=plan")
	w.run(t, "apply", "plan")
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("a second plan is not empty: exit code %d\n%s", code, output)
	}
	if s.Query(t, "postgres", "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1", role) == nil {
		t.Error("the database user is not there")
	}
	keyLine := strings.Split(private, "\n")[2]
	for _, name := range []string{"terraform.tfstate", "terraform.log"} {
		text, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{keyLine, strings.Split(bastion.RootKey, "\n")[2], password} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds a secret", name)
			}
		}
	}
	w.run(t, "destroy", "-auto-approve")
	if found := bastion.Exec(t, "getent passwd stitch || ls -d /home/stitch || true"); strings.Contains(found, "stitch:") {
		t.Errorf("left on the SSH host: %s", found)
	}
}
