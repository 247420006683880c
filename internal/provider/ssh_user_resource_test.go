package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func sshUserConfig(h *sandbox.Host, username, arguments string) string {
	return sshProviderBlock(map[string]string{"bastion": rootOf(h)}, nil) + fmt.Sprintf(`
		resource "stitch_ssh_user" "u" {
			host     = "bastion"
			username = %q
			%s
		}`, username, arguments)
}

// wantOnHost fails unless a script prints the wanted text.
func wantOnHost(t *testing.T, h *sandbox.Host, want, script string, args ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		if got := strings.TrimSpace(h.Exec(t, script, args...)); got != want {
			return fmt.Errorf("%s %q\n got %q\nwant %q", script, args, got, want)
		}
		return nil
	}
}

func TestAccSSHUser(t *testing.T) {
	const address = "stitch_ssh_user.u"
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	name := h.UserName()
	shell := func(want string) resource.TestCheckFunc {
		return wantOnHost(t, h, want, `getent passwd "$1" | cut -d: -f7`, name)
	}
	comment := `O'Brien; "$(touch /root/injected)" ü %s`
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantOnHost(t, h, "", `getent passwd "$1" || true; ls -d "/home/$1" 2>/dev/null || true`, name),
		Steps: []resource.TestStep{
			{ // create minimal
				Config:           sshUserConfig(h, name, ""),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check: resource.ComposeTestCheckFunc(shell("/bin/sh"),
					wantOnHost(t, h, "*", `getent shadow "$1" | cut -d: -f2`, name),
					wantOnHost(t, h, "700 "+name+" "+name, `stat -c '%a %U %G' "/home/$1"`, name)),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, tfjsonpath.New("home"), knownvalue.StringExact("/home/"+name)),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("group"), knownvalue.StringExact(name)),
					statecheck.ExpectKnownValue(address, tfjsonpath.New("uid"), knownvalue.NotNull()),
				},
			},
			{ // import
				ResourceName:                         address,
				ImportState:                          true,
				ImportStateId:                        "bastion/" + name,
				ImportStateVerify:                    true,
				ImportStateVerifyIdentifierAttribute: "username",
			},
			{ // update in place
				Config:           sshUserConfig(h, name, fmt.Sprintf("shell = \"/usr/sbin/nologin\"\ncomment = %q", strings.ReplaceAll(comment, "%", "%%"))),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check: resource.ComposeTestCheckFunc(shell("/usr/sbin/nologin"),
					wantOnHost(t, h, "", "ls /root/injected 2>/dev/null || true")),
			},
			{ // drift of a setting
				PreConfig:        func() { h.Exec(t, `usermod -s /bin/bash "$1"`, name) },
				Config:           sshUserConfig(h, name, `shell = "/usr/sbin/nologin"`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate),
				Check:            shell("/usr/sbin/nologin"),
			},
			{ // drift that makes sshd refuse keys
				PreConfig: func() {
					h.Exec(t, `chmod 777 "/home/$1"; mkdir "/home/$1/.ssh"; chmod 770 "/home/$1/.ssh"; chown root: "/home/$1/.ssh"; usermod -L "$1"`, name)
				},
				Config: sshUserConfig(h, name, `shell = "/usr/sbin/nologin"`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionUpdate, foundDrift{address, "problems", []any{
					"the password is locked with !, and sshd without PAM then refuses keys as well",
					"other users can write to /home/" + name + " (mode 0777)",
					"other users can write to /home/" + name + "/.ssh (mode 0770)",
				}}),
				Check: resource.ComposeTestCheckFunc(
					wantOnHost(t, h, "*", `getent shadow "$1" | cut -d: -f2`, name),
					wantOnHost(t, h, "755 "+name+"\n750 "+name, `stat -c '%a %U' "/home/$1" "/home/$1/.ssh"`, name)),
			},
			{ // gone
				PreConfig:        func() { h.Exec(t, `userdel -r "$1" 2>/dev/null`, name) },
				Config:           sshUserConfig(h, name, `remove_home = true`),
				ConfigPlanChecks: planned(address, plancheck.ResourceActionCreate),
				Check:            shell("/bin/sh"),
			},
			{ // busy, then forced; with files in the home directory
				PreConfig: func() {
					h.Exec(t, `su -s /bin/sh -c 'touch ~/file; sleep 600 >/dev/null 2>&1 </dev/null &' "$1"`, name)
				},
				Config:      sshUserConfig(h, name, `remove_home = true`),
				Destroy:     true,
				ExpectError: says("(sleep). End them"),
			},
			{Config: sshUserConfig(h, name, "remove_home = true\nterminate_processes = true")},
		},
	})
}

// A host with two entries is one host: a user that gets the other entry stays unchanged.
func TestAccSSHUser_entries(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	name := h.UserName()
	_, public := newSSHKey(t)
	config := func(entry string) string {
		return sshProviderBlock(map[string]string{
			"a": rootOf(h), "b": fmt.Sprintf("{ host = \"localhost\", port = %d, username = \"operator\", private_key = %q, host_key = %q, sudo = true }", h.Port, h.OperatorKey, h.HostKeys[0]),
		}, nil) + fmt.Sprintf(`
		resource "stitch_ssh_user" "u" {
			host     = %q
			username = %q
			lifecycle { create_before_destroy = true }
		}
		resource "stitch_ssh_authorized_key" "k" {
			host       = %q
			username   = "operator"
			public_key = %q
			lifecycle { create_before_destroy = true }
		}`, entry, name, entry, public)
	}
	isThere := resource.ComposeTestCheckFunc(
		wantOnHost(t, h, name, `getent passwd "$1" | cut -d: -f1`, name),
		wantOnHost(t, h, "1", `grep -cF "$1" /home/operator/.ssh/authorized_keys`, public))
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantOnHost(t, h, "", `getent passwd "$1" || true; grep -F "$2" /home/operator/.ssh/authorized_keys || true`, name, public),
		Steps: []resource.TestStep{
			{Config: config("a"), Check: isThere},
			{Config: config("b"), ConfigPlanChecks: planned("stitch_ssh_user.u", plancheck.ResourceActionUpdate), Check: isThere},
			{Config: config("b"), ConfigPlanChecks: planned("stitch_ssh_user.u", plancheck.ResourceActionNoop)},
		},
	})
}

// An existing user is not taken over, and an imported one is not removed.
func TestAccSSHUser_others(t *testing.T) {
	const address = "stitch_ssh_user.u"
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	name := h.UserName()
	h.Exec(t, `useradd -m -p '*' "$1" && touch "/home/$1/precious"`, name)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		CheckDestroy:             wantOnHost(t, h, "/home/"+name+"/precious", `getent passwd "$1" >/dev/null; ls "/home/$1/precious"`, name),
		Steps: []resource.TestStep{
			{Config: sshUserConfig(h, name, ""), ExpectError: says("lacks the provider's mark")},
			{Config: sshUserConfig(h, "bad;name", ""), ExpectError: says("is not valid: use at most 32 lower-case letters"), PlanOnly: true},
			{
				Config:             sshUserConfig(h, name, ""),
				ResourceName:       address,
				ImportState:        true,
				ImportStateId:      "bastion/" + name,
				ImportStatePersist: true,
			},
			{Config: sshUserConfig(h, name, ""), ConfigPlanChecks: planned(address, plancheck.ResourceActionNoop)},
		},
	})
}
