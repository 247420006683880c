package sshclient

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile bounds the length of a file of keys, certificates or known hosts, in bytes.
const maxFile = 16 << 20

var errNoFile = errors.New("it is not a regular file")

// ReadFile reads a file that an attribute of the provider block names. It refuses a device, which
// may have no end, and a pipe, which may have no beginning. Its errors are *os.PathError.
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
