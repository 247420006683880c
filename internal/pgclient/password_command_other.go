//go:build !unix

package pgclient

import "os/exec"

// endAsGroup does nothing: this system has no process groups, so only the command itself is
// ended.
func endAsGroup(*exec.Cmd) {}
