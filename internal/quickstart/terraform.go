package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const (
	modulePath      = "github.com/terraform-stitch/terraform-provider-stitch"
	providerSource  = "registry.terraform.io/terraform-stitch/stitch"
	providerVersion = "0.1.0" // satisfies examples/quickstart
)

// A terraform runs the real Terraform in a directory.
type terraform struct {
	dir string
	env []string
}

// build makes a mirror of the registry that holds the provider, a terraform that installs only from
// there, and a copy of the example.
func (q *quickstart) build(ctx context.Context) error {
	if _, err := exec.LookPath("terraform"); err != nil {
		return errors.New("terraform is not on the PATH: install version 1.11 or later, see https://developer.hashicorp.com/terraform/install")
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", modulePath).Output()
	if err != nil {
		return fmt.Errorf("find the source of the provider: %w", err)
	}
	q.module = strings.TrimSpace(string(out))

	binary := filepath.Join(q.dir, "mirror", providerSource, providerVersion, runtime.GOOS+"_"+runtime.GOARCH,
		"terraform-provider-stitch_v"+providerVersion)
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-X main.version="+providerVersion, "-o", binary, ".")
	build.Dir = q.module
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	q.terraform = terraform{dir: filepath.Join(q.dir, "quickstart"), env: sandbox.Environment(
		"CHECKPOINT_DISABLE=1",
		"TF_CLI_CONFIG_FILE="+q.path("terraform.rc"),
		"TF_CLI_ARGS=-no-color",
		"TF_IN_AUTOMATION=1",
		"TF_INPUT=0",
	)}
	fmt.Printf("  %s %s\n", providerSource, providerVersion)
	return errors.Join(
		os.WriteFile(q.path("terraform.rc"), fmt.Appendf(nil, installFrom, q.path("mirror"), providerSource), 0o600),
		os.CopyFS(q.terraform.dir, os.DirFS(filepath.Join(q.module, "examples", "quickstart"))),
	)
}

const installFrom = `provider_installation {
  filesystem_mirror {
    path    = %q
    include = [%q]
  }
}
`

func (q *quickstart) path(name string) string { return filepath.Join(q.dir, name) }

func (q *quickstart) init(ctx context.Context) error {
	return q.terraform.run(ctx, "init")
}

func (q *quickstart) plan(ctx context.Context) error {
	said, err := q.terraform.runQuietly(ctx, "plan", "-out=tfplan")
	if strings.Contains(said, "were not checked") {
		fmt.Println("  The warnings are expected: the checks log in as database users that this plan is about to create.")
	}
	return err
}

func (q *quickstart) apply(ctx context.Context) error {
	return q.terraform.run(ctx, "apply", "tfplan")
}

func (q *quickstart) applyAgain(ctx context.Context) error {
	return q.terraform.run(ctx, "apply", "-auto-approve", "-var", "run=2")
}

func (q *quickstart) planNothing(ctx context.Context) error {
	return q.terraform.run(ctx, "plan", "-detailed-exitcode", "-var", "run=2") // exits with 2 if the plan has changes
}

func (q *quickstart) destroy(ctx context.Context) error {
	return q.terraform.run(ctx, "destroy", "-auto-approve")
}

func (t terraform) run(ctx context.Context, args ...string) error {
	_, err := t.runQuietly(ctx, args...)
	return err
}

// runQuietly runs a command and returns its whole output. It shows the important lines, or all of
// them if the command fails.
func (t terraform) runQuietly(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("  $ terraform %s\n", strings.Join(args, " "))
	said := &transcript{}
	cmd := sandbox.Terraform(ctx, t.dir, t.env, args...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("terraform %s: %w\n\nIts whole output:\n\n%s", args[0], err, said.all.String())
	}
	return said.all.String(), nil
}

// output returns the JSON of an output value.
func (t terraform) output(ctx context.Context, name string) ([]byte, error) {
	cmd := sandbox.Terraform(ctx, t.dir, t.env, "output", "-json", name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("terraform output %s: %w\n%s", name, err, &stderr)
	}
	return out, nil
}

// A transcript shows important lines as they are written to it, and keeps all.
type transcript struct {
	all   bytes.Buffer
	shown int // how much of all was checked
}

var (
	important = regexp.MustCompile(`^(  # stitch_|stitch_\S+: |- Installed |Plan: |No changes|Apply complete|Destroy complete|Warning: )`)
	noise     = regexp.MustCompile(`: Refreshing state\.\.\.|Incomplete lock file`) // the latter appears with every mirror
)

func (t *transcript) Write(p []byte) (int, error) {
	t.all.Write(p)
	for {
		line, _, whole := bytes.Cut(t.all.Bytes()[t.shown:], []byte("\n"))
		if !whole {
			return len(p), nil
		}
		t.shown += len(line) + 1
		if important.Match(line) && !noise.Match(line) {
			fmt.Printf("  %s\n", bytes.TrimSpace(line))
		}
	}
}
