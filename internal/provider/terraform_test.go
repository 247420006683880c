package provider

import (
	"bytes"
	"context"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A workspace is a directory in which the real terraform runs the real, compiled provider, as a
// user would: each command is a separate process.
type workspace struct {
	dir string
	env []string
}

// built is the compiled provider, which all workspaces share.
var built struct {
	dir  string // made by TestMain
	once sync.Once
	err  error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "stitch-provider-")
	if err != nil {
		log.Fatal(err)
	}
	built.dir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

func buildProvider(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		built.err = sandbox.BuildProvider(context.Background(), "../..", built.dir)
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

func newWorkspace(t *testing.T, config string, env ...string) *workspace {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("set TF_ACC to run acceptance tests")
	}
	provider := buildProvider(t)
	w := &workspace{dir: t.TempDir()}
	w.write(t, "main.tf", config)
	w.write(t, "cli.tfrc", sandbox.ProviderFrom(provider))
	w.env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_CLI_ARGS=-no-color", "TF_CLI_CONFIG_FILE="+filepath.Join(w.dir, "cli.tfrc"))
	w.env = append(w.env, "GOGC=400") // Terraform and provider end before collecting garbage pays
	w.env = append(w.env, env...)
	return w
}

const requiredProviders = `terraform {
	required_providers { stitch = { source = "terraform-stitch/stitch" } }
}
`

func (w *workspace) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// state returns Terraform's state.
func (w *workspace) state(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "terraform.tfstate"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// try runs terraform and returns its output and exit code.
func (w *workspace) try(t *testing.T, arguments ...string) (string, int) {
	t.Helper()
	cmd, output := w.start(t, arguments...)
	_ = cmd.Wait()
	return output.String(), cmd.ProcessState.ExitCode()
}

// run is try for a command that must succeed.
func (w *workspace) run(t *testing.T, arguments ...string) string {
	t.Helper()
	output, code := w.try(t, arguments...)
	if code != 0 {
		t.Fatalf("terraform %s: exit code %d\n%s", strings.Join(arguments, " "), code, output)
	}
	return output
}

// start starts terraform.
func (w *workspace) start(t *testing.T, arguments ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := sandbox.Terraform(ctx, w.dir, w.env, arguments...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &output
}
