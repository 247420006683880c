package pgclient

import (
	"os"
	"path/filepath"
	"testing"
)

// somebody is a user of this machine other than root and the one that runs the test.
const somebody = 59000

func TestIsPrivate(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	makeDir := func(name string, mode os.FileMode, owner int) string {
		t.Helper()
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(dir, owner, -1); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	link := func(target, name string, owner int) string {
		t.Helper()
		path := filepath.Join(base, name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(path, owner, -1); err != nil {
			t.Fatal(err)
		}
		return path
	}
	us := os.Geteuid()
	want := map[string]bool{
		makeDir("mine", 0o755, us):                       true,
		makeDir("of a group", 0o775, us):                 true,
		makeDir("of all", 0o777, us):                     false,
		makeDir("tmp", 0o777|os.ModeSticky, us):          false,
		makeDir("tmp/mine", 0o755, us):                   true,
		makeDir("of all/mine", 0o755, us):                false,
		makeDir("of all/mine/below", 0o755, us):          false,
		link("mine", "link", us):                         true,
		link("tmp/mine", "link into tmp", us):            true,
		link("of all/mine", "link into what is all", us): false,
		link("../mine", "tmp/link", us):                  true,
		link("../mine", "of all/link", us):               false,
		link(base+"/of all/link", "two links", us):       false,
		link("loop", "loop", us):                         false,
		base + "/mine/../of all/mine":                    false,
		base + "/of all/../mine":                         true,
		base + "/none":                                   false,
		base + "/mine/":                                  true,
	}
	if us == 0 {
		want[makeDir("of a server", 0o755, somebody)] = true
		want[makeDir("tmp/of somebody", 0o755, somebody)] = false
		want[makeDir("tmp of somebody", 0o777|os.ModeSticky, somebody)] = false
		want[makeDir("tmp of somebody/mine", 0o755, us)] = false
		want[link("../mine", "tmp/link of somebody", somebody)] = false
	}
	for dir, want := range want {
		if got := isPrivate(dir); got != want {
			t.Errorf("%s: %v", dir, got)
		}
	}
}
