package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const modulePath = "github.com/terraform-stitch/terraform-provider-stitch"

//go:embed scale.tf
var scaleConfig string

// buildProviders compiles the provider and the idle one, each into a directory of its name.
func buildProviders(ctx context.Context, dir string) error {
	return errors.Join(
		sandbox.BuildProvider(ctx, modulePath, filepath.Join(dir, stitch)),
		sandbox.BuildProvider(ctx, modulePath+"/internal/bench/idle", filepath.Join(dir, idle)),
	)
}

// A workspace is a directory in which Terraform manages a scale.
type workspace struct {
	provider string // stitch or idle
	from     string // the directory of the provider's program
	dir      string
	env      []string
}

// newWorkspace makes a workspace in a directory that holds the providers.
func newWorkspace(in, provider string, s scale, at *server) (*workspace, error) {
	dir, err := os.MkdirTemp(in, "workspace-")
	if err != nil {
		return nil, err
	}
	from, err := filepath.EvalSymlinks(filepath.Join(in, provider)) // without links, as /proc shows it
	if err != nil {
		return nil, err
	}
	cli := filepath.Join(dir, "cli.tfrc")
	w := &workspace{provider: provider, from: from, dir: dir, env: sandbox.Environment(
		"CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+cli, "TF_CLI_ARGS=-no-color", "TF_INPUT=0",
		"TF_VAR_password="+at.Password, "TF_VAR_database="+s.database,
		fmt.Sprint("TF_VAR_users=", s.users), fmt.Sprint("TF_VAR_schemas=", s.schemas),
	)}
	return w.through(at.Port), errors.Join(
		os.WriteFile(cli, []byte(sandbox.ProviderFrom(from)), 0o600),
		os.WriteFile(filepath.Join(dir, "main.tf"), []byte(scaleConfig), 0o600),
	)
}

// through returns the workspace with its server at the given port.
func (w workspace) through(port int) *workspace {
	w.env = append(slices.Clip(w.env), fmt.Sprint("TF_VAR_port=", port))
	return &w
}

// plan fails if the plan is not empty.
func (w *workspace) plan(ctx context.Context) error {
	return w.run(ctx, "plan", "-detailed-exitcode")
}

func (w *workspace) apply(ctx context.Context) error {
	return w.run(ctx, "apply", "-auto-approve", "-parallelism=10")
}

func (w *workspace) destroy(ctx context.Context) error {
	return w.run(ctx, "destroy", "-auto-approve", "-parallelism=10")
}

func (w *workspace) run(ctx context.Context, arguments ...string) error {
	cmd := sandbox.Terraform(ctx, w.dir, w.env, arguments...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("terraform %s: %w\n%s", arguments[0], err, &output)
	}
	return nil
}

// An effort is what is counted of a plan, not timed: logging and watching take time themselves.
type effort struct {
	sessions       int
	statements     int
	onTables       int   // statements that read pg_class
	providerMemory int64 // peak memory of the provider
}

// effort counts what a plan takes.
func (w *workspace) effort(ctx context.Context, at *server) (effort, error) {
	// This applies to later sessions, not to this one.
	if err := at.execute(ctx, "ALTER ROLE CURRENT_USER SET log_statement = 'all'"); err != nil {
		return effort{}, err
	}
	before, err := at.Log()
	if err != nil {
		return effort{}, err
	}
	memory, err := w.watch(func() error { return w.plan(ctx) })
	if err != nil {
		return effort{}, err
	}
	log, err := at.Log()
	if err != nil {
		return effort{}, err
	}
	e := countLog(log[len(before):])
	e.providerMemory = memory
	return e, at.execute(ctx, "ALTER ROLE CURRENT_USER RESET log_statement")
}

var readsTables = regexp.MustCompile(`(FROM|JOIN) (pg_catalog\.)?pg_class\b`)

// countLog counts the statements in the log of a server.
func countLog(log string) (e effort) {
	for entry := range strings.SplitSeq(log, "LOG:  ") {
		switch {
		case strings.HasPrefix(entry, "connection authorized: "):
			e.sessions++
		case strings.HasPrefix(entry, "statement: "), strings.HasPrefix(entry, "execute "):
			e.statements++
			if readsTables.MatchString(entry) {
				e.onTables++
			}
		}
	}
	return e
}

// watch returns the peak memory of the provider while f runs. Terraform starts the provider several
// times.
func (w *workspace) watch(f func() error) (peak int64, err error) {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-tick.C:
			programs, err := filepath.Glob("/proc/[0-9]*/exe")
			if err != nil {
				return 0, err
			}
			for _, link := range programs {
				if program, _ := os.Readlink(link); filepath.Dir(program) == w.from {
					memory, _ := peakMemory(filepath.Base(filepath.Dir(link))) // fails if it has just ended
					peak = max(peak, memory)
				}
			}
		}
	}
}
