//go:build unix

package pgclient

import (
	"os/exec"
	"syscall"
)

// endAsGroup makes the end of cmd also end the processes that it started.
func endAsGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
