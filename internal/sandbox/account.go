package sandbox

import (
	"errors"
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

// unprivileged returns the user of this process or, as PostgreSQL refuses to
// run as root, the one that stands in for root.
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

// makeDir makes a private directory.
func (a account) makeDir() (string, error) {
	parent, err := sandboxDir()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return "", err
	}
	if err := a.own(dir); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
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

// sandboxDir returns the parent of all private directories. It has the mode of
// /tmp, so that every account can remove its own wherever TMPDIR is.
func sandboxDir() (string, error) {
	dir := filepath.Join(os.TempDir(), "stitch-sandbox")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	_ = os.Chmod(dir, 0o777|os.ModeSticky) // refused when it is another user's, who then did the same
	return dir, nil
}
