package sandbox

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// sharedHosts live as long as the test process.
var sharedHosts perKey[string, *Host]

// SSHHost starts a host for this test alone, and stops it when the test ends. Where this machine
// does not allow that, the test is skipped; in CI, it fails.
func SSHHost(t testing.TB, cfg HostConfig) *Host {
	t.Helper()
	h, err := StartHost(t.Context(), cfg)
	need(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the host's log:\n%s", h.Log())
		}
		_ = h.Stop()
	})
	return h
}

// SSHHostIfAny is [SSHHost] for a test that has enough to do without a host: it returns nil where
// this machine does not allow one. In CI, the test fails.
func SSHHostIfAny(t testing.TB, cfg HostConfig) *Host {
	t.Helper()
	h, err := StartHost(t.Context(), cfg)
	if lacks(t, err) {
		t.Logf("without an SSH host: %v", err)
		return nil
	}
	t.Cleanup(func() { _ = h.Stop() })
	return h
}

// SharedSSHHost returns the one host of this configuration that the tests of this process share.
// They must not stop it, nor change it as a whole. What they make on it needs unique names, such as
// those of [Host.UserName].
func SharedSSHHost(t testing.TB, cfg HostConfig) *Host {
	t.Helper()
	h, err := sharedHosts.get(t.Context(), fmt.Sprintf("%#v", cfg), func() (*Host, error) {
		return StartHost(t.Context(), cfg)
	})
	need(t, err)
	return h
}

// UserName returns a unique name for a user that the test creates on a host.
func (h *Host) UserName() string { return uniqueName("u_") }

// Exec runs a shell script on the host as root, with args as $1 and so on, and
// returns what it writes to standard output.
func (h *Host) Exec(t testing.TB, script string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	output, err := h.Run(ctx, script, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, script)
	}
	return output
}

// EachHostRoot runs f as a sub-test for the root filesystem of this machine
// ("machine") and for each of [HostRoots] ("bullseye", ...).
func EachHostRoot(t *testing.T, f func(t *testing.T, root string)) {
	t.Helper()
	t.Run("machine", func(t *testing.T) { f(t, "") })
	for _, root := range HostRoots() {
		t.Run(filepath.Base(root), func(t *testing.T) { f(t, root) })
	}
}
