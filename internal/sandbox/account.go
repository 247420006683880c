package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An account is the user that servers run as.
type account struct {
	name       string
	credential *syscall.Credential // nil: the user of this process
}

// unprivileged returns the user of this process or, because PostgreSQL refuses to run as root, the
// user that stands in for root.
func unprivileged() (account, error) {
	if os.Geteuid() != 0 {
		return account{name: "this user"}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return account{}, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return account{}, err
		}
		return account{name, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

// makeDir makes a private directory. It belongs to this process until the caller gives it to the
// account: nothing is written where another user may put links.
func (a account) makeDir() (string, error) {
	parent, err := a.sandboxDir()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, "")
}

// writeFile writes a file that only the account can read.
func (a account) writeFile(name, text string) error {
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return err
	}
	return a.own(name)
}

func (a account) own(name string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(name, int(a.credential.Uid), int(a.credential.Gid))
}

// sandboxDir returns the parent of all private directories of this user, in which the account can
// remove its own. No other user may have made it or may write to it: such a user could replace a
// directory by another one, or by a link.
func (a account) sandboxDir() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("stitch-sandbox-%d", os.Geteuid()))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() || ownerOf(info) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a directory of this user: remove it, or set TMPDIR to another directory", dir)
	}
	if a.credential == nil {
		return dir, nil
	}
	if err := os.Chown(dir, -1, int(a.credential.Gid)); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o775|os.ModeSticky)
}

// ownerOf returns the uid of a file's owner.
func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
