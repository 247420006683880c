package pgclient

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// The standard output of a password command is a password; its standard error is for people.
func TestPasswordCommand(t *testing.T) {
	s := sandbox.Shared(t, 0)
	for name, tt := range map[string]struct {
		command []string
		err     string
	}{
		"printed":             {[]string{"sh", "-c", "echo '" + s.Password + "'"}, ""},
		"printed, with notes": {[]string{"sh", "-c", "echo expires soon >&2; printf %s '" + s.Password + "'"}, ""},
		"leaves a daemon":     {[]string{"sh", "-c", "sleep 3 & echo '" + s.Password + "'"}, ""},
		"failing":             {[]string{"sh", "-c", "echo hidden; echo expired >&2; exit 3"}, `run password_command "sh": exit status 3: expired`},
		"failing, traced":     {[]string{"sh", "-xc", "echo hidden; exit 3"}, `run password_command "sh": exit status 3: + echo ...`},
		"nothing":             {[]string{"true"}, `run password_command "true": it printed nothing`},
		"too much":            {[]string{"sh", "-c", "yes hidden | head -c 100000"}, "it printed more than 65536 bytes"},
		"no such":             {[]string{"/none/such"}, `run password_command "/none/such"`},
		"wrong":               {[]string{"echo", "hidden"}, "password authentication failed"},
	} {
		server := serverOf(t, Config{Host: s.Host, Port: s.Port, Username: s.Username, PasswordCommand: tt.command})
		conn, err := server.Acquire(t.Context(), "")
		switch {
		case err == nil:
			conn.Release()
			if tt.err != "" {
				t.Errorf("%s: no error", name)
			}
		case tt.err == "" || !strings.Contains(err.Error(), tt.err) || strings.Contains(Explain(err), "hidden"):
			t.Errorf("%s: got %v, want %q", name, err, tt.err)
		}
	}
}

// A token is valid for one login: each connection runs the command again.
func TestPasswordCommandForEachConnection(t *testing.T) {
	s := sandbox.Shared(t, 0)
	count := filepath.Join(t.TempDir(), "count")
	server := serverOf(t, Config{
		Host: s.Host, Port: s.Port, Username: s.Username,
		PasswordCommand: []string{"sh", "-c", `echo run >>"$1"; echo "$2"`, "sh", count, s.Password},
	})
	for n := 1; n <= 3; n++ {
		conn, err := server.Acquire(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		text, err := os.ReadFile(count)
		if err != nil || strings.Count(string(text), "run") != n {
			t.Errorf("%d connections ran it %q (%v)", n, text, err)
		}
	}
}

// A command that hangs is ended in time, together with the processes that it started, even if
// these hold its output open.
func TestPasswordCommandHangs(t *testing.T) {
	child := filepath.Join(t.TempDir(), "child")
	config := Config{ConnectTimeout: time.Second, PasswordCommand: []string{"sh", "-c", `trap '' TERM INT HUP
		echo hidden; echo trace of hidden >&2
		sleep 300 & echo $! >"$1"; sleep 300; echo never`, "sh", child}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	_, err := config.password(ctx)
	if err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	text, err := os.ReadFile(child)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return isDead(pid) })
}

// isDead reports whether a process has ended. A process whose parent does not wait for it, as in
// a container without an init, remains as a zombie.
func isDead(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// The command has a timeout of its own, and the error says so.
func TestPasswordCommandTimeout(t *testing.T) {
	config := Config{ConnectTimeout: time.Second - passwordTime, PasswordCommand: []string{"sleep", "300"}}
	_, err := config.password(t.Context())
	if err == nil || !strings.Contains(err.Error(), `run password_command "sleep": it did not finish within 1s, and was stopped`) {
		t.Errorf("got %v", err)
	}
}
