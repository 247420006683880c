package provider

import (
	"fmt"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
)

func TestAccSSHPublicKey(t *testing.T) {
	private, public := newSSHKey(t)
	config := func(arguments string) string {
		return providerBlock(nil) + `output "key" { value = provider::stitch::ssh_public_key(` + arguments + `) }`
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps: []resource.TestStep{
			{
				Config:            config(fmt.Sprintf("%q", private)),
				ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownOutputValue("key", knownvalue.StringExact(public))},
			},
			{Config: config(fmt.Sprintf("%q", public)), ExpectError: says("it is a public key")},
			{Config: config(`"~/.ssh/id_ed25519"`), ExpectError: says("begins with -----BEGIN")},
			{Config: config(fmt.Sprintf("%q, \"a\", \"b\"", private)), ExpectError: says("Give at most one passphrase")},
		},
	})
}
