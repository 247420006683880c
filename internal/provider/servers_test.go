package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// The plan reports mistakes in the provider block.
func TestAccProvider_mistakes(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	schema := `
		resource "stitch_destination_schema" "a" {
			server   = "a"
			database = "postgres"
			name     = "acc"
		}`
	for config, message := range map[string]string{
		providerBlock(map[string]string{"a": `{ host = "", username = "u" }`}):                                            "The provider does not fall back to localhost",
		providerBlock(map[string]string{"a": `{ host = "[::1]", username = "u" }`}):                                       `in brackets, which are only needed together with a port: write "::1".`,
		providerBlock(map[string]string{"a": `{ username = "u" }`}):                                                       `A server needs a host`,
		providerBlock(map[string]string{"a": `{ host = "h" }`}):                                                           `A server needs a username`,
		providerBlock(map[string]string{"a": `null`}):                                                                     `A server needs a host`,
		providerBlock(map[string]string{"a": `{ host = "h", username = "u", ssh_host = "bastion" }`}):                     `ssh_hosts of the provider block has no entry "bastion": it has none`,
		providerBlock(map[string]string{"a": `{ host = "h", username = "u", password = "p", password_command = ["p"] }`}): "cannot be specified when",
		providerBlock(map[string]string{"a": `{ host = "h", username = "u", sslmode = "verify" }`}):                       `value must be one of: ["disable" "prefer" "require" "verify-ca" "verify-full"]`,
		providerBlock(map[string]string{"a": `{ host = "h", username = "u", sslmode = "verify-ca" }`}):                    `Set sslrootcert, or sslmode = "verify-full"`,
		providerBlock(map[string]string{"a": `{ host = "h", username = "u", sslcert = "c" }`}):                            "must be specified when",
	} {
		resource.Test(t, resource.TestCase{
			ProtoV6ProviderFactories: factories(),
			Steps:                    []resource.TestStep{{Config: config + schema, PlanOnly: true, ExpectError: says(message)}},
		})
	}
	// Only an operation can find these.
	for entries, message := range map[string]string{
		"b":     `servers of the provider block has no entry "a": it has b`,
		"wrong": "Check the username and password of servers.a",
	} {
		servers := map[string]string{entries: administrator(s)}
		if entries == "wrong" {
			servers = map[string]string{"a": login(s, s.Username, "no")}
		}
		resource.Test(t, resource.TestCase{
			ProtoV6ProviderFactories: factories(),
			Steps:                    []resource.TestStep{{Config: providerBlock(servers) + schema, ExpectError: says(message), PlanOnly: entries == "b"}},
		})
	}
}

// A host that is not known yet does not fail a plan, nor does it become another host: creations are
// planned from the configuration, and existing objects are not read.
func TestAccProvider_unknown(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	config := func(host string) string {
		return requiredProviders + fmt.Sprintf(`
			variable "again" { default = "1" }
			resource "terraform_data" "host" {
				input            = "127.0.0.1"
				triggers_replace = var.again
			}
			provider "stitch" {
				servers = { a = { host = %s, port = %d, username = %q, password = %q } }
			}
			resource "stitch_database_user" "u" {
				server = "a"
				name   = %q
			}`, host, s.Port, s.Username, s.Password, name)
	}
	w := newWorkspace(t, config("terraform_data.host.output"))
	if plan := w.run(t, "plan"); !strings.Contains(plan, "Plan: 2 to add") {
		t.Errorf("the first plan:\n%s", plan)
	}
	w.run(t, "apply", "-auto-approve")
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("the plan after is not empty:\n%s", output)
	}
	output, code := w.try(t, "plan", "-var", "again=2")
	if code != 1 || !strings.Contains(strings.Join(strings.Fields(output), " "), "servers.a.host in the provider block is not known yet") {
		t.Errorf("a host that is not known any more: exit code %d\n%s", code, output)
	}
	w.run(t, "destroy", "-auto-approve")
}

// An entry that is unknown as a whole does not either.
func TestAccProvider_unknownEntry(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name := s.RoleName(t)
	w := newWorkspace(t, requiredProviders+fmt.Sprintf(`
		variable "again" { default = "1" }
		resource "terraform_data" "app" {
			input            = %s
			triggers_replace = var.again
		}
		provider "stitch" {
			servers = { a = terraform_data.app.output }
		}
		resource "stitch_database_user" "u" {
			server = "a"
			name   = %q
		}`, administrator(s), name))
	w.run(t, "apply", "-auto-approve")
	if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
		t.Errorf("the plan after is not empty:\n%s", output)
	}
	output, code := w.try(t, "plan", "-var", "again=2")
	if code != 1 || !strings.Contains(strings.Join(strings.Fields(output), " "), "servers.a in the provider block is not known yet") {
		t.Errorf("an entry that is not known any more: exit code %d\n%s", code, output)
	}
	w.run(t, "destroy", "-auto-approve")
}

// The server stores the user's password as MD5. Where nothing proves that the server is the right
// one, the user can log in only if the entry allows it, and the error names the alternatives.
func TestAccProvider_allowMD5(t *testing.T) {
	s := sandbox.OwnServer(t, sandbox.Config{HBA: "host all all all md5"})
	config := func(more string) string {
		return providerBlock(map[string]string{
			"admin": administrator(s),
			"user":  fmt.Sprintf(`{ host = %q, port = %d, username = "by_md5", password = %q %s }`, s.Host, s.Port, s.Password, more),
		}) + fmt.Sprintf(`
			resource "stitch_database_user" "user" {
				server              = "admin"
				name                = "by_md5"
				password_wo         = %q
				password_wo_version = 1
				password_encryption = "md5"
			}
			data "stitch_connection_check" "user" {
				server     = "user"
				depends_on = [stitch_database_user.user]
			}`, s.Password)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{Config: config(""), ExpectError: says(`the server asked for an MD5 login`)},
			{Config: config(""), ExpectError: says(`password_encryption = 'scram-sha-256'`)},
			{Config: config(""), ExpectError: says(`set allow_md5 = true in servers.user`)},
			{Config: config(", allow_md5 = true")},
		},
	})
}
