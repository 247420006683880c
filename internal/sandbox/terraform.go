package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// BuildProvider compiles a package of this module into a directory. [ProviderFrom] makes Terraform
// run it from there as the provider stitch.
func BuildProvider(ctx context.Context, path, dir string) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "terraform-provider-stitch"), path)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", path, err, out)
	}
	return nil
}

// ProviderFrom returns a CLI configuration with which Terraform takes the provider from a
// directory, and needs no init.
func ProviderFrom(dir string) string {
	return fmt.Sprintf(`provider_installation {
  dev_overrides {
    "registry.terraform.io/terraform-stitch/stitch" = %q
  }
}
`, dir)
}

// Environment returns the environment of this process, plus more, minus what would point Terraform
// or PostgreSQL's programs elsewhere.
func Environment(more ...string) []string {
	ours := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "PG") || strings.HasPrefix(entry, "TF_")
	})
	return append(ours, more...)
}

// Terraform runs the real program in a directory: the one that TF_ACC_TERRAFORM_PATH names, or the
// one on the PATH. It has its own process group: a Ctrl-C in the terminal reaches it once, through
// ctx, and it stops cleanly.
func Terraform(ctx context.Context, dir string, env []string, arguments ...string) *exec.Cmd {
	program := "terraform"
	if path := os.Getenv("TF_ACC_TERRAFORM_PATH"); path != "" {
		program = path
	}
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd
}
