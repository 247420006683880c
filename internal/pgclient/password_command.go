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
	passwordTime  = 20 * time.Second // for a password command, in addition to the time for the connection itself
	passwordBytes = 64 << 10         // longer than any token
)

// password returns the password to log in with: the configured one, or the one that the password
// command prints. The command's standard output is never part of an error; its standard error
// is, for people.
func (c Config) password(ctx context.Context) (string, error) {
	if len(c.PasswordCommand) == 0 {
		return c.Password, nil
	}
	timeout := c.ConnectTimeout + passwordTime
	late := fmt.Errorf("it did not finish within %s, and was stopped", timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	password, err := runPasswordCommand(ctx, c.PasswordCommand)
	if err != nil {
		return "", &settingError{"password_command", fmt.Errorf("run password_command %q: %w", c.PasswordCommand[0], err)}
	}
	return password, nil
}

// runPasswordCommand returns what the command prints, without the final newline. When ctx is
// done, it ends the command and the processes that the command started.
func runPasswordCommand(ctx context.Context, command []string) (string, error) {
	stdout, stderr := &boundedBuffer{limit: passwordBytes}, &boundedBuffer{limit: passwordBytes}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	endAsGroup(cmd)
	cmd.WaitDelay = time.Second // for processes that left the group and hold the output open
	err := cmd.Run()
	password := strings.TrimRight(stdout.String(), "\r\n")
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case stdout.full:
		return "", fmt.Errorf("it printed more than %d bytes, which cannot be a password", passwordBytes)
	case errors.Is(err, exec.ErrWaitDelay): // the command succeeded, and left a process behind
	case err != nil:
		return "", explainExit(err, stderr.String(), password)
	}
	if password == "" {
		return "", errors.New("it printed nothing, but must print the password")
	}
	return password, nil
}

// explainExit adds to err the command's standard error, without text that the command also
// printed on its standard output: a shell that traces its commands shows the password.
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

// A boundedBuffer keeps the first bytes that are written to it. It discards later bytes, so that
// the writer is not blocked.
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
