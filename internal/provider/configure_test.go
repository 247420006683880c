package provider

import (
	"slices"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// A host is unknown as long as one of the hosts that lead to it is.
func TestUnknownOnTheWay(t *testing.T) {
	e := entries{unknown: map[string][]string{"unknown": {"ssh_hosts.unknown.host"}}}
	configs := map[string]sshclient.Config{
		"direct": {},
		"next":   {JumpHost: "unknown"},
		"far":    {JumpHost: "next"},
		"near":   {JumpHost: "direct"},
	}
	for name, want := range map[string][]string{
		"direct": nil, "near": nil, "next": {"ssh_hosts.unknown.host"}, "far": {"ssh_hosts.unknown.host"},
	} {
		if got := e.unknownOnTheWay(configs, name); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	// Unknown hosts have no Config.
	alone := map[string]sshclient.Config{"next": {JumpHost: "unknown"}}
	if got := e.unknownOnTheWay(alone, "next"); got == nil {
		t.Error("a jump host that is not known yet was overlooked")
	}
}
