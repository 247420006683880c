package provider

import (
	"net/netip"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

func TestAccIPAddresses(t *testing.T) {
	const address = "data.stitch_ip_addresses.hosted"
	config := func(region string) string {
		return `data "stitch_ip_addresses" "hosted" { region = "` + region + `" }`
	}
	texts := func(suffix string, items ...string) knownvalue.Check {
		checks := make([]knownvalue.Check, len(items))
		for i, item := range items {
			checks[i] = knownvalue.StringExact(item + suffix)
		}
		return knownvalue.ListExact(checks)
	}
	steps := []resource.TestStep{{Config: config("us"), ExpectError: says(`value must be one of: ["na" "eu"]`)}}
	for region, addresses := range map[string][]string{
		"na": {"52.23.137.21", "52.204.223.208", "52.204.228.32", "52.204.230.227"},
		"eu": {"3.126.102.29", "18.158.16.164", "18.158.251.55", "52.57.235.168"},
	} {
		steps = append(steps, resource.TestStep{
			Config: config(region),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("addresses"), texts("", addresses...)),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("cidr_blocks"), texts("/32", addresses...)),
			},
		})
		for _, a := range addresses {
			if _, err := netip.ParseAddr(a); err != nil {
				t.Error(err)
			}
		}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories(),
		Steps:                    steps,
	})
}
