package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// Another user of the machine may be the first to create a well-known name in /tmp.
func TestSandboxDirOfAnother(t *testing.T) {
	as, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(t *testing.T, target, dir string) error{
		"a link": func(_ *testing.T, target, dir string) error { return os.Symlink(target, dir) },
		"a file": func(_ *testing.T, _, dir string) error { return os.WriteFile(dir, nil, 0o666) },
		"a directory": func(t *testing.T, _, dir string) error {
			if os.Geteuid() != 0 {
				need(t, &lackError{"root, who alone can give a directory away: run the tests as root", nil})
			}
			if err := os.Mkdir(dir, 0o777); err != nil {
				return err
			}
			return os.Chown(dir, operatorID, operatorID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			target := t.TempDir()
			dir, err := as.sandboxDir()
			if err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(target)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			if err := plant(t, target, dir); err != nil {
				t.Fatal(err)
			}
			if dir, err := as.sandboxDir(); err == nil {
				t.Errorf("%s is used", dir)
			}
			if after, err := os.Stat(target); err != nil || after.Mode() != before.Mode() {
				t.Errorf("the mode of what a link leads to is %v now (%v)", after.Mode(), err)
			}
		})
	}
}

// What is written for the account is written before the account owns the directory and could put
// links there.
func TestFilesBeforeOwner(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if err := os.Chmod(filepath.Dir(os.TempDir()), 0o755); err != nil {
		t.Fatal(err)
	}
	as, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	w, err := watch(as, func(dir string) ([]string, error) {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, err
		}
		if owner := ownerOf(info); owner != os.Geteuid() || info.Mode().Perm() != 0o700 {
			t.Errorf("the directory belongs to %d, mode %v, while files are written to it", owner, info.Mode())
		}
		return []string{"true"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-w.ended
	if err := w.stop(); err != nil || w.exit != "0" {
		t.Errorf("exit %q, %v", w.exit, err)
	}
}
