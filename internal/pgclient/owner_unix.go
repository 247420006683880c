//go:build unix

package pgclient

import (
	"io/fs"
	"os"
	"syscall"
)

// isOurs reports whether a file belongs to this user or to root.
func isOurs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}
