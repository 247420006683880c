package provider

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// After "make install", "terraform init" finds the provider as the README says: without any
// settings in Terraform, in modules, and in place of an earlier build.
func TestAccInstall(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("set TF_ACC to run acceptance tests")
	}
	t.Parallel()
	h := newHome(t)
	said := h.install(t, "one")
	w := &workspace{dir: t.TempDir(), env: h.env}
	w.write(t, "main.tf", readmeConfig(t)+`
		module "more" { source = "./more" }`)
	if err := os.Mkdir(filepath.Join(w.dir, "more"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(t, "more/main.tf", `
		terraform {
			required_providers {
				stitch = {
					source  = "terraform-stitch/stitch"
					version = "~> 0.1"
				}
			}
		}
		data "stitch_ip_addresses" "hosted" { region = "eu" }`)
	w.run(t, "init")
	w.run(t, "validate")

	h.install(t, "another")
	if output, code := w.try(t, "init"); code == 0 || !strings.Contains(output, "checksums") {
		t.Errorf("the lock file accepts another build: exit code %d\n%s", code, output)
	}
	w.initAnew(t)

	_, block, ok := strings.Cut(said, "provider_installation {")
	if !ok {
		t.Fatalf("make install shows no provider_installation block:\n%s", said)
	}
	settings := "provider_installation {" + block
	if err := os.WriteFile(filepath.Join(h.dir, ".terraformrc"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	w.initAnew(t)
}

// initAnew runs terraform init without a lock file.
func (w *workspace) initAnew(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(w.dir, ".terraform.lock.hcl")); err != nil {
		t.Fatal(err)
	}
	w.run(t, "init")
	w.run(t, "validate")
}

// A home is an empty home directory, like that of a user who has just cloned the repository.
type home struct {
	dir string
	env []string
}

func newHome(t *testing.T) home {
	t.Helper()
	sandbox.NeedProgram(t, "make", "make")
	names := []string{"GOCACHE", "GOENV", "GOMODCACHE", "GOPATH"} // these depend on HOME
	output, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	h := home{dir: t.TempDir()}
	h.env = sandbox.Environment("HOME="+h.dir, "XDG_DATA_HOME="+filepath.Join(h.dir, "share"),
		"MAKEFLAGS=", "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_CLI_ARGS=-no-color")
	for i, value := range strings.Split(strings.TrimSuffix(string(output), "\n"), "\n") {
		h.env = append(h.env, names[i]+"="+value)
	}
	return h
}

// install runs make install with the given version of the provider, and returns its output.
func (h home) install(t *testing.T, version string) string {
	t.Helper()
	// Without -trimpath, which would compile all packages again.
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", "../..", "install",
		"BUILDFLAGS=-ldflags '-X main.version="+version+"'")
	cmd.Env = h.env
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make install: %v\n%s", err, output)
	}
	return string(output)
}

// readmeConfig is the configuration that the README shows.
func readmeConfig(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```terraform\n")
	config, _, ok := strings.Cut(after, "```\n")
	if !ok {
		t.Fatal("README.md shows no configuration")
	}
	return config
}
