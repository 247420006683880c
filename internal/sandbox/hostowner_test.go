package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A host must leave nothing behind, however the process that started it ends. The process is this
// test binary, which runs TestHostHelper.
func TestHostGoesWithItsOwner(t *testing.T) {
	SharedSSHHost(t, HostConfig{}) // or skip
	signal := func(s syscall.Signal) func(*os.Process, io.Closer) {
		return func(p *os.Process, _ io.Closer) { _ = syscall.Kill(-p.Pid, s) } // its group, as a terminal does
	}
	for name, tt := range map[string]struct {
		early bool // before the host accepts connections
		end   func(*os.Process, io.Closer)
	}{
		"it exits":               {false, func(_ *os.Process, stdin io.Closer) { stdin.Close() }},
		"it is killed":           {false, signal(syscall.SIGKILL)},
		"it is interrupted":      {false, signal(syscall.SIGINT)},
		"it is killed, early: 1": {true, signal(syscall.SIGKILL)},
		"it is interrupted soon": {true, signal(syscall.SIGINT)},
	} {
		t.Run(name, func(t *testing.T) {
			before := machine(t)
			dir := t.TempDir()
			helper := exec.Command(os.Args[0], "-test.run=^TestHostHelper$")
			helper.Env = append(os.Environ(), "STITCH_SANDBOX_HOST_HELPER=1", "TMPDIR="+dir)
			helper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			stdin, _ := helper.StdinPipe()
			stdout, _ := helper.StdoutPipe()
			if err := helper.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = helper.Wait() }()

			var address, namespace string
			if tt.early {
				namespace = namespaceOfChild(t, helper.Process.Pid)
			} else if _, err := fmt.Fscan(bufio.NewReader(stdout), &address, &namespace); err != nil {
				t.Fatal(err)
			}
			if len(inNamespace(namespace)) == 0 {
				t.Error("there is no process before the end, so none can be seen to go")
			}
			tt.end(helper.Process, stdin)
			if !eventually(func() bool { return inNamespace(namespace) == nil }) {
				t.Errorf("left: %q", inNamespace(namespace))
			}
			if c, err := net.Dial("tcp", address); address != "" && err == nil {
				c.Close()
				t.Error("the port is still open")
			}
			if files, _ := filepath.Glob(dir + "/stitch-sandbox-*/*"); files != nil {
				t.Errorf("left: %q", files)
			}
			if diff := cmp.Diff(before, machine(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Without the privilege to make namespaces, a test is skipped and says why; in CI, it fails.
func TestHostUnavailable(t *testing.T) {
	SharedSSHHost(t, HostConfig{}) // or skip
	setpriv := NeedProgram(t, "setpriv", "util-linux")
	for ci, want := range map[string]string{"": "--- SKIP", "true": "--- FAIL"} {
		helper := exec.Command(setpriv, "--bounding-set=-sys_admin", "--inh-caps=-sys_admin",
			os.Args[0], "-test.run=^TestHostHelper$", "-test.v")
		helper.Env = append(os.Environ(), "STITCH_SANDBOX_HOST_HELPER=1", "STITCH_SKIPPED=", "CI="+ci)
		output, _ := helper.CombinedOutput() // the exit status is in the output, too
		for _, text := range []string{want, lackNamespaces(nil).Error(), "new namespaces: "} {
			if !strings.Contains(string(output), text) {
				t.Errorf("with CI=%q it does not say %q:\n%s", ci, text, output)
			}
		}
	}
}

// TestHostHelper is not a test, but the process of TestHostGoesWithItsOwner.
func TestHostHelper(t *testing.T) {
	if os.Getenv("STITCH_SANDBOX_HOST_HELPER") == "" {
		return
	}
	h := SharedSSHHost(t, HostConfig{}) // not stopped: it ends with the process
	h.Exec(t, `setsid sleep 600 </dev/null >/dev/null 2>&1 &`)
	fmt.Printf("%s:%d %s\n", h.Host, h.Port, h.namespace(t))
	_, _ = io.ReadAll(os.Stdin)
}

// namespaceOfChild waits for a child in a new PID namespace.
func namespaceOfChild(t *testing.T, pid int) string {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	var namespace string
	if !eventually(func() bool {
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, stat := range stats {
			text, _ := os.ReadFile(stat)
			_, after, _ := strings.Cut(string(text), ") ")
			fields := strings.Fields(after)
			if len(fields) < 2 || fields[1] != fmt.Sprint(pid) {
				continue
			}
			namespace, err = os.Readlink(filepath.Join(filepath.Dir(stat), "ns/pid"))
			if err == nil && namespace != own {
				return true
			}
		}
		return false
	}) {
		t.Fatal("the host does not start")
	}
	return namespace
}
