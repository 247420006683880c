package provider

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestAccSSHCheck(t *testing.T) {
	const address = "data.stitch_ssh_check.bastion"
	s := sandbox.Shared(t, 0)
	_, public := newSSHKey(t)
	forwarding := sandbox.SSHHost(t, sandbox.HostConfig{Hosts: map[string]string{"db.internal": "127.0.0.1"}})
	forbidding := sandbox.SSHHost(t, sandbox.HostConfig{Settings: []string{"AllowTcpForwarding no", "MaxSessions 3"}})
	for _, h := range []*sandbox.Host{forwarding, forbidding} {
		h.Exec(t, `
			useradd -m -p '*' stitch
			mkdir -m 700 /home/stitch/.ssh
			printf 'restrict,port-forwarding,permitopen="db.internal:%s" %s\n' "$1" "$2" >/home/stitch/.ssh/authorized_keys
			chmod 600 /home/stitch/.ssh/authorized_keys
			chown -R stitch: /home/stitch/.ssh
			usermod -s /usr/sbin/nologin operator`, fmt.Sprint(s.Port), public)
	}
	config := func(host, database string, port int, arguments string) string {
		return sshProviderBlock(
			map[string]string{
				"forwarding": rootOf(forwarding),
				"forbidding": rootOf(forbidding),
				"tunnel":     sshLogin(forwarding, sandbox.OperatorName, forwarding.OperatorKey),
			},
			map[string]string{"app": fmt.Sprintf(`{ host = %q, port = %d, username = "nobody" }`, database, port)},
		) + fmt.Sprintf(`data "stitch_ssh_check" "bastion" {
			host = %q
			%s
		}`, host, arguments)
	}
	state := func(attribute string, want knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(address, tfjsonpath.New(attribute), want)
	}
	text := func(part string) knownvalue.Check {
		return knownvalue.ListPartial(map[int]knownvalue.Check{0: knownvalue.StringRegexp(regexp.MustCompile(regexp.QuoteMeta(part)))})
	}
	whole := fmt.Sprintf("username = \"stitch\"\npublic_key = %q\nserver = \"app\"", public)
	_, unknown := newSSHKey(t)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config: config("forwarding", "db.internal", s.Port, whole),
				ConfigStateChecks: []statecheck.StateCheck{
					state("ready", knownvalue.Bool(true)), state("advice", knownvalue.ListExact(nil)), state("sshd_read", knownvalue.Bool(true)),
					state("allow_tcp_forwarding", knownvalue.StringExact("yes")), state("max_sessions", knownvalue.Int64Exact(10)),
					state("permit_open", knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact("any")})),
					state("client_address", knownvalue.StringExact("127.0.0.1")), state("forwarded", knownvalue.Bool(true)),
				},
			},
			{ // the key's permitopen compares names literally
				Config: config("forwarding", "127.0.0.1", s.Port, whole),
				ConfigStateChecks: []statecheck.StateCheck{
					state("ready", knownvalue.Bool(false)), state("advice", text("permitopen")), state("forwarded", knownvalue.Bool(true)),
				},
			},
			{ // an absent key
				Config:            config("forwarding", "db.internal", s.Port, strings.Replace(whole, public, unknown, 1)),
				ConfigStateChecks: []statecheck.StateCheck{state("ready", knownvalue.Bool(false)), state("advice", text("authorized_keys"))},
			},
			{ // nothing listens there
				Config:            config("forwarding", "db.internal", 1, `server = "app"`),
				ConfigStateChecks: []statecheck.StateCheck{state("ready", knownvalue.Bool(false)), state("forwarded", knownvalue.Bool(false)), state("advice", text("The server cannot be reached through the host"))},
			},
			{ // a login that may only forward
				Config: config("tunnel", "db.internal", s.Port, `server = "app"`),
				ConfigStateChecks: []statecheck.StateCheck{
					state("ready", knownvalue.Bool(true)), state("forwarded", knownvalue.Bool(true)),
					state("sshd_read", knownvalue.Bool(false)), state("advice", text("The host was not checked")),
				},
			},
			{
				Config: config("forbidding", "db.internal", s.Port, "username = \"stitch\"\nserver = \"app\""),
				ConfigStateChecks: []statecheck.StateCheck{
					state("ready", knownvalue.Bool(false)), state("forwarded", knownvalue.Bool(false)),
					state("allow_tcp_forwarding", knownvalue.StringExact("no")), state("max_sessions", knownvalue.Int64Exact(3)),
					state("advice", text("AllowTcpForwarding")),
				},
			},
			{Config: config("elsewhere", "db.internal", s.Port, ""), ExpectError: says(`ssh_hosts of the provider block has no entry "elsewhere"`)},
		},
	})
}
