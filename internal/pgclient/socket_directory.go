package pgclient

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links may lead to a directory, as in the kernel.
const maxLinks = 40

// isPrivate reports whether only the owner and the group of a directory can create a socket in
// it, and no other user can have created the directory, or a link on the way to it. That is not
// so for /tmp, nor for a directory that another user made in /tmp.
func isPrivate(directory string) bool {
	if !filepath.IsAbs(directory) {
		return false
	}
	root := filepath.VolumeName(directory) + string(filepath.Separator)
	at, links := root, 0
	for rest := split(directory[len(root):]); len(rest) > 0; {
		next := filepath.Join(at, rest[0]) // "" and "." lead nowhere, ".." leads up: at holds no link
		parent, err := os.Stat(at)
		if err != nil {
			return false
		}
		info, err := os.Lstat(next)
		if err != nil || rest[0] != ".." && next != at && !isKept(info, parent) {
			return false
		}
		rest = rest[1:]
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return false
		}
		if filepath.IsAbs(target) {
			at = root
		}
		rest = append(split(target), rest...)
	}
	info, err := os.Stat(at)
	return err == nil && info.IsDir() && !isWritableByAll(info)
}

func split(path string) []string { return strings.Split(filepath.ToSlash(path), "/") }

// isKept reports whether other users can neither have created the entry of the parent directory,
// nor replace it.
func isKept(info, parent fs.FileInfo) bool {
	return !isWritableByAll(parent) || parent.Mode()&fs.ModeSticky != 0 && isOurs(info) && isOurs(parent)
}

func isWritableByAll(directory fs.FileInfo) bool { return directory.Mode().Perm()&0o002 != 0 }
