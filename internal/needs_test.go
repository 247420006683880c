package internal

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unaccounted are ways to require something of a machine that would fail on a machine without
// it, or skip a test without counting it, each with a replacement that avoids both.
var unaccounted = []struct{ code, instead string }{
	{`sandbox\.Start\(`, "sandbox.Shared or sandbox.OwnServer"},
	{`sandbox\.StartHost\(`, "sandbox.SharedSSHHost or sandbox.SSHHost"},
	{`sandbox\.StartPgBouncer\(`, "sandbox.OwnPgBouncer"},
	{`sandbox\.Majors\(`, "sandbox.NeedMajors, sandbox.SharedFrom or sandbox.SharedBefore"},
	{`exec\.LookPath\(`, "sandbox.NeedProgram"},
	{`\b[tb]\.Skip(f|Now)?\(`, "a function of the sandbox that skips"},
}

// A test requests what it needs of a machine from the sandbox. If that is missing, the sandbox
// skips the test, fails it in CI, and notes it for the summary of make test.
func TestNeeds(t *testing.T) {
	files, err := filepath.Glob("*/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests (%v)", err)
	}
	for _, name := range files {
		if strings.HasPrefix(name, "sandbox/") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			for _, rule := range unaccounted {
				if regexp.MustCompile(rule.code).MatchString(line) && !strings.Contains(line, "set TF_ACC") {
					t.Errorf("%s: %s\nuse %s", name, strings.TrimSpace(line), rule.instead)
				}
			}
		}
	}
}
