package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// A lackError says what this machine lacks, and what to do. The line is the same for all tests that
// need it: `make test` counts the tests by that line.
type lackError struct {
	line  string
	cause error // or nil
}

func (e *lackError) Error() string {
	if e.cause == nil {
		return "this machine lacks " + e.line
	}
	return fmt.Sprintf("this machine lacks %s (%v)", e.line, e.cause)
}

func (e *lackError) Unwrap() error { return e.cause }

// need ends a test whose preparation failed. If this machine lacks something, the test is skipped
// and says why; in CI, which must have everything, it fails.
func need(t testing.TB, err error) {
	t.Helper()
	if lacks(t, err) {
		t.Skip(err)
	}
}

// lacks reports whether a preparation failed because this machine lacks something, and notes it.
// Any other failure ends the test; in CI, every failure does.
func lacks(t testing.TB, err error) bool {
	t.Helper()
	if err == nil {
		return false
	}
	lack, ok := errors.AsType[*lackError](err)
	if !ok || os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	if err := note(lack.line); err != nil {
		t.Fatalf("take a note of a skipped test: %v", err)
	}
	return true
}

// note appends a line to the file that scripts/skipped.sh summarises when the tests of all packages
// have ended. Their processes write at the same time, each line in one write.
func note(line string) error {
	name := os.Getenv("STITCH_SKIPPED")
	if name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line + "\n")
	return errors.Join(err, file.Close())
}

// NeedMajors is [Majors] for a test. The test is skipped where none is installed.
func NeedMajors(t testing.TB) []int {
	t.Helper()
	majors := Majors()
	if len(majors) == 0 {
		need(t, errNone)
	}
	return majors
}

// NeedProgram returns the path of a program of a Debian package. The test is skipped without that
// program. NeedProgram asks the program for its version, because psql may be a wrapper of programs
// that are not installed.
func NeedProgram(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		err = exec.Command(path, "--version").Run()
	}
	if err != nil {
		need(t, &lackError{fmt.Sprintf("%s: install the Debian package %s", name, debianPackage), err})
	}
	return path
}
