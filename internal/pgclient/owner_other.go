//go:build !unix

package pgclient

import "io/fs"

// isOurs reports false: the owner of a file is not known on this system.
func isOurs(fs.FileInfo) bool { return false }
