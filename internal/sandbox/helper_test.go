package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slowTimeout is how long a busy machine may take for what normally takes
// hundredths of a second.
const slowTimeout = time.Minute

// A process that uses the package must leave nothing behind, however it ends. The process is this
// test binary, which runs TestHelper.
func TestNothingIsLeft(t *testing.T) {
	NeedMajors(t)
	started := func(t *testing.T, _ string, said *bufio.Reader) {
		if line, _ := said.ReadString('\n'); line != "started\n" {
			rest, _ := io.ReadAll(said)
			t.Errorf("the process says %s%s", line, rest)
		}
	}
	initialising := func(t *testing.T, dir string, _ *bufio.Reader) {
		if !eventually(func() bool {
			files, _ := filepath.Glob(filepath.Join(dir, "stitch-sandbox-*/*/data/base"))
			return files != nil
		}) {
			t.Error("initdb does not start")
		}
	}
	signal := func(s syscall.Signal) func(*os.Process, io.Closer) {
		return func(p *os.Process, _ io.Closer) { _ = syscall.Kill(-p.Pid, s) } // its process group, as a terminal does
	}

	for name, tt := range map[string]struct {
		until func(t *testing.T, dir string, said *bufio.Reader)
		end   func(*os.Process, io.Closer)
	}{
		"it exits":                 {started, func(_ *os.Process, stdin io.Closer) { stdin.Close() }},
		"it is killed":             {started, signal(syscall.SIGKILL)},
		"it is interrupted":        {started, signal(syscall.SIGINT)},
		"it is killed in initdb":   {initialising, signal(syscall.SIGKILL)},
		"it is interrupted, early": {initialising, signal(syscall.SIGINT)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // root's servers run as another user
				t.Fatal(err)
			}
			helper := exec.Command(os.Args[0], "-test.run=^TestHelper$")
			helper.Env = append(os.Environ(), "STITCH_SANDBOX_HELPER=1", "TMPDIR="+dir)
			helper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			stdin, _ := helper.StdinPipe()
			stdout, _ := helper.StdoutPipe()
			if err := helper.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = helper.Wait() }()

			tt.until(t, dir, bufio.NewReader(stdout))
			if len(processes(dir)) == 0 {
				t.Error("there is no process before the end, so none can be seen to go")
			}
			tt.end(helper.Process, stdin)
			assertGone(t, filepath.Join(dir, "stitch-sandbox-*", "*"), dir)
		})
	}
}

// TestHelper is not a test, but the process of TestNothingIsLeft.
func TestHelper(t *testing.T) {
	if os.Getenv("STITCH_SANDBOX_HELPER") == "" {
		return
	}
	if _, err := Start(t.Context(), Config{TLS: true}); err != nil {
		t.Fatal(err)
	}
	Shared(t, 0)
	fmt.Println("started")
	_, _ = io.ReadAll(os.Stdin)
}

// assertGone waits until no file matches and no process works below dir.
func assertGone(t *testing.T, pattern, dir string) {
	t.Helper()
	var files []string
	if !eventually(func() bool {
		files, _ = filepath.Glob(pattern)
		return len(files)+len(processes(dir)) == 0
	}) {
		t.Errorf("left: files %q, processes %q", files, processes(dir))
	}
}

func eventually(condition func() bool) bool {
	for deadline := time.Now().Add(slowTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return true
		}
	}
	return false
}

// processes returns the command lines of the processes that work below dir, whether or not dir
// still exists.
func processes(dir string) []string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, _ := os.Readlink(link); strings.HasPrefix(cwd, dir+"/") {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
