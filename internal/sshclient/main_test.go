package sshclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// moment is how long a busy machine may take for what normally takes hundredths
// of a second.
const moment = 30 * time.Second

// asRoot returns the configuration for logging in as root on a sandbox's host.
func asRoot(h *sandbox.Host) Config {
	return Config{Host: h.Host, Port: h.Port, Username: "root", PrivateKey: h.RootKey, HostKeys: h.HostKeys[:1]}
}

// asOperator returns the configuration for logging in as its ordinary user.
func asOperator(h *sandbox.Host) Config {
	return Config{Host: h.Host, Port: h.Port, Username: sandbox.OperatorName, PrivateKey: h.OperatorKey, HostKeys: h.HostKeys[:1]}
}

// through returns the same for a proxy in front of the host.
func through(p *sandbox.Proxy, c Config) Config {
	c.Host, c.Port = p.Host, p.Port
	return c
}

// proxyTo starts a proxy in front of a host.
func proxyTo(t *testing.T, h *sandbox.Host) *sandbox.Proxy {
	return sandbox.StartProxy(t, fmt.Sprintf("%s:%d", h.Host, h.Port))
}

// only returns the one host of a configuration. It is closed when the test ends.
func only(t *testing.T, c Config) *Host {
	t.Helper()
	return hosts(t, map[string]Config{"bastion": c}, "bastion")
}

func hosts(t *testing.T, configs map[string]Config, name string) *Host {
	t.Helper()
	all := NewHosts(configs)
	t.Cleanup(all.Close)
	h, ok := all.Host(name)
	if !ok {
		t.Fatalf("there is no host %s", name)
	}
	return h
}

// run runs a command as root and returns what it wrote.
func run(t *testing.T, h *Host, script string) string {
	t.Helper()
	output, err := h.Run(t.Context(), Command{Script: script})
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

func wantText(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("there is no error, want one that says %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
}

// as fails the test unless err is an E, and returns the E.
func as[E error](t *testing.T, err error) (target E) {
	t.Helper()
	if !errors.As(err, &target) {
		t.Fatalf("%T %v is no %T", err, err, target)
	}
	return target
}

// wantA is as for callers that need only the type.
func wantA[E error](t *testing.T, err error) {
	t.Helper()
	_ = as[E](t, err)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(moment); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", moment, what)
		}
	}
}

// noGoroutine fails the test if a goroutine of product code is left.
func noGoroutine(t *testing.T) {
	t.Helper()
	var stacks string
	for deadline := time.Now().Add(moment); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		buffer := make([]byte, 4<<20)
		stacks = string(buffer[:runtime.Stack(buffer, true)])
		ours := 0
		for _, stack := range strings.Split(stacks, "\n\n") {
			if !strings.Contains(stack, "_test.go") && (strings.Contains(stack, "internal/sshclient.") || strings.Contains(stack, "x/crypto/ssh.")) {
				ours++
			}
		}
		if ours == 0 {
			return
		}
	}
	t.Errorf("goroutines are left:\n%s", stacks)
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func fingerprint(t *testing.T, publicKey string) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(publicKey))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(key)
}

func within10(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
