package sshclient

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile is how long a file of keys, certificates or known hosts may be, in bytes.
const maxFile = 16 << 20

var errNoFile = errors.New("it is not a regular file")

// ReadFile reads a file that an attribute of the provider block names. A device may
// have no end, and a pipe no beginning: they are refused. Errors are *os.PathError.
func ReadFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: errNoFile}
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = &os.PathError{Op: "read", Path: name, Err: fmt.Errorf("it is longer than %d MiB", maxFile>>20)}
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}
