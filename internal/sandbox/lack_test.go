package sandbox

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// summed runs a command under scripts/skipped.sh, and returns its output, the
// summary and the exit status.
func summed(t *testing.T, ci string, command ...string) (stdout, summary string, status int) {
	t.Helper()
	cmd := exec.Command("../../scripts/skipped.sh", command...)
	cmd.Env = append(os.Environ(), "STITCH_SANDBOX_LACK_HELPER=1", "CI="+ci, "TMPDIR="+t.TempDir())
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// A test that needs what this machine lacks is skipped, says why, and is counted; in CI, it fails.
func TestLack(t *testing.T) {
	helper := []string{os.Args[0], "-test.run=^TestLackHelper$", "-test.v"}
	stdout, summary, status := summed(t, "", helper...)
	for _, want := range []string{"--- SKIP: TestLackHelper/1 ", "--- SKIP: TestLackHelper/2 ", "this machine lacks a unicorn: catch one (of 2)"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("does not say %q:\n%s", want, stdout)
		}
	}
	want := "a dragon: hatch one|1|a unicorn: catch one|2"
	if got := counts(summary); status != 0 || got != want {
		t.Errorf("exit status %d, counts %q, want %q:\n%s", status, got, want, summary)
	}

	stdout, summary, status = summed(t, "true", helper...)
	for _, want := range []string{"--- FAIL: TestLackHelper/1 ", "--- FAIL: TestLackHelper/2 ", "--- FAIL: TestLackHelper/3 "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("in CI it does not say %q:\n%s", want, stdout)
		}
	}
	if status != 1 || summary != "" {
		t.Errorf("in CI, exit status %d, summary %q", status, summary)
	}
}

// counts returns the content of a summary's lines, without the blanks between.
func counts(summary string) string {
	var found []string
	for line := range strings.Lines(summary) {
		if count, what, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			found = append(found, what+"|"+count)
		}
	}
	slices.Sort(found)
	return strings.Join(found, "|")
}

// A run that fails is summarised, too, and keeps its own output and exit status.
func TestSummary(t *testing.T) {
	for script, want := range map[string]struct {
		stdout, counts string
		status         int
	}{
		`echo fine`: {"fine\n", "", 0},
		`echo "a: b" >>"$STITCH_SKIPPED"; echo bad; exit 3`: {"bad\n", "a: b|1", 3},
		`echo "a: b" >>"$STITCH_SKIPPED"; kill $$`:          {"", "a: b|1", 128 + 15},
	} {
		stdout, summary, status := summed(t, "", "/bin/sh", "-c", script)
		if stdout != want.stdout || counts(summary) != want.counts || status != want.status {
			t.Errorf("%s: printed %q, counted %q, exit status %d, want %+v", script, stdout, counts(summary), status, want)
		}
	}
}

// TestLackHelper is not a test: TestLack runs it.
func TestLackHelper(t *testing.T) {
	if os.Getenv("STITCH_SANDBOX_LACK_HELPER") == "" {
		return
	}
	t.Run("1", func(t *testing.T) { need(t, &lackError{"a unicorn: catch one", nil}) })
	t.Run("2", func(t *testing.T) { need(t, &lackError{"a unicorn: catch one", errors.New("of 2")}) })
	t.Run("3", func(t *testing.T) { need(t, &lackError{"a dragon: hatch one", nil}) })
}
