package sshclient

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A file that an attribute names is read to its end only if it has one.
func TestReadFile(t *testing.T) {
	t.Parallel()
	at := func(name string) string { return filepath.Join(t.TempDir(), name) }
	pipe, long, link := at("pipe"), at("long"), at("link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(long, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(long, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		pipe: "not a regular file", link: "not a regular file", "/dev/zero": "not a regular file",
		"/": "not a regular file", long: "longer than 16 MiB", at("missing"): "no such file",
	} {
		if text, err := ReadFile(name); text != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	if err := os.Truncate(long, maxFile); err != nil {
		t.Fatal(err)
	}
	if text, err := ReadFile(long); err != nil || len(text) != maxFile {
		t.Errorf("the longest: %d bytes, %v", len(text), err)
	}
	_, _, err := (&Host{shared: &shared{name: "bastion", config: Config{Host: "h", Port: 22, KnownHosts: pipe}}}).verification()
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("known_hosts: %v", err)
	}
}
