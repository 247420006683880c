package pgclient

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	passwordTime  = 20 * time.Second // for a password command, beside the time for the connection itself
	passwordBytes = 64 << 10         // more than any token
)

// password returns what to log in with: the password, or what the password
// command prints. What it prints is never part of an error; what it writes to
// its standard error is, for people.
func (c Config) password(ctx context.Context) (string, error) {
	if len(c.PasswordCommand) == 0 {
		return c.Password, nil
	}
	timeout := c.ConnectTimeout + passwordTime
	late := fmt.Errorf("it did not end within %s, and was ended", timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	password, err := runPasswordCommand(ctx, c.PasswordCommand)
	if err != nil {
		return "", &settingError{"password_command", fmt.Errorf("run password_command %q: %w", c.PasswordCommand[0], err)}
	}
	return password, nil
}

// runPasswordCommand returns what the command prints, without the line's end.
// When ctx is done it ends the command, and what that has started.
func runPasswordCommand(ctx context.Context, command []string) (string, error) {
	stdout, stderr := &boundedBuffer{limit: passwordBytes}, &boundedBuffer{limit: passwordBytes}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	endAsGroup(cmd)
	cmd.WaitDelay = time.Second // for those who left the group and hold the output open
	err := cmd.Run()
	password := strings.TrimRight(stdout.String(), "\r\n")
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case stdout.full:
		return "", fmt.Errorf("it printed more than %d bytes, which is no password", passwordBytes)
	case errors.Is(err, exec.ErrWaitDelay): // it succeeded, and left somebody behind
	case err != nil:
		return "", explainExit(err, stderr.String(), password)
	}
	if password == "" {
		return "", errors.New("it printed nothing, and is to print the password")
	}
	return password, nil
}

// explainExit adds to err what the command said on its standard error, but for
// what it also printed: a shell that traces its commands shows the password.
func explainExit(err error, said, printed string) error {
	for line := range strings.Lines(printed) {
		if line = strings.TrimSpace(line); line != "" {
			said = strings.ReplaceAll(said, line, "...")
		}
	}
	if said = strings.TrimSpace(said); said == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, said)
}

// A boundedBuffer keeps the first bytes that are written to it. What comes
// after them is thrown away, so that whoever writes is not held up.
type boundedBuffer struct {
	kept  []byte
	limit int
	full  bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	fits := min(len(p), b.limit-len(b.kept))
	b.full = b.full || fits < len(p)
	b.kept = append(b.kept, p[:fits]...)
	return len(p), nil
}

func (b *boundedBuffer) String() string { return string(b.kept) }
