package linux

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// A host has one identity for each login and each path to it, and another host has another.
func TestIdentify(t *testing.T) {
	eachRoot(t, func(t *testing.T, root string) {
		h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
		identify := func(of *sshclient.Host) string {
			identity, err := Identify(t.Context(), of)
			if err != nil {
				t.Fatal(err)
			}
			return identity
		}
		want := identify(connect(t, h, sandbox.SudoNone))
		operator := sshclient.Config{Host: "localhost", Port: h.Port, Username: sandbox.OperatorName, PrivateKey: h.OperatorKey, HostKeys: h.HostKeys}
		if got := identify(connectAs(t, operator)); got != want {
			t.Errorf("the same host is %q and %q", got, want)
		}
		if got := identify(connect(t, sandbox.SSHHost(t, sandbox.HostConfig{Root: root}), sandbox.SudoNone)); got == want {
			t.Errorf("two hosts are %q", got)
		}
	})
}
