package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// A watchdog is a shell that runs one command in a directory made for it. The command ends and the
// directory goes when this process says so, exits or is killed: the shell's standard input is a
// pipe that only this process holds open.
type watchdog struct {
	dir   string // the command's output is in dir/log
	cmd   *exec.Cmd
	hold  io.Closer     // the pipe
	ended chan struct{} // closed when the command has ended
	exit  string        // its exit status, valid once ended is closed
	stop  func() error  // ends the command and removes dir; idempotent
}

// watchdogScript starts the command "$@", and a keeper that waits for the pipe to close and then
// signals the command: SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one; each has
// ten seconds. The keeper ends with the command, so that it cannot signal a later process with the
// same number. The directory stays until the pipe closes: it holds the log.
const watchdogScript = `
	trap '' PIPE
	dir=$1
	shift
	exec 3<&0
	"$@" </dev/null >&2 3<&- &
	command=$!
	(
		read -r _
		for signal in INT QUIT KILL; do
			n=0
			while [ $n -lt 100 ] && kill -$signal $command; do
				sleep 0.1
				n=$((n + 1))
			done
		done
	) <&3 >/dev/null 2>&1 &
	keeper=$!
	wait $command
	echo $?
	kill $keeper
	read -r _
	rm -rf "$dir" || { sleep 1; rm -rf "$dir"; }`

// watch makes a directory, calls prepare on it, and runs the command that
// prepare returns, as the account.
func watch(as account, prepare func(dir string) (command []string, err error)) (*watchdog, error) {
	dir, err := as.makeDir()
	if err != nil {
		return nil, err
	}
	command, err := prepare(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	w, err := startWatchdog(as, dir, command)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("run %s in %s, which %s must be able to reach: %w", command[0], dir, as.name, err)
	}
	return w, nil
}

func startWatchdog(as account, dir string, command []string) (*watchdog, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if err := as.own(dir); err != nil {
		return nil, err
	}

	cmd := exec.Command("/bin/sh", append([]string{"-c", watchdogScript, "watchdog", dir}, command...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"} // without PGPORT and similar variables
	cmd.Stderr = log
	// With its own session, Ctrl-C reaches this process, not the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as.credential}
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	exit, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}

	w := &watchdog{dir: dir, cmd: cmd, hold: hold, ended: make(chan struct{})}
	w.stop = sync.OnceValue(w.end)
	go func() {
		line, _ := bufio.NewReader(exit).ReadString('\n')
		w.exit = strings.TrimSpace(line)
		close(w.ended)
	}()
	return w, nil
}

func (w *watchdog) end() error {
	w.hold.Close()
	<-w.ended
	if err := w.cmd.Wait(); err != nil {
		return fmt.Errorf("remove %s: %w", w.dir, err)
	}
	return nil
}

func (w *watchdog) log() (string, error) {
	text, err := os.ReadFile(filepath.Join(w.dir, "log"))
	return string(text), err
}

// failure describes a command that ended too early.
func (w *watchdog) failure() error {
	log, _ := w.log()
	return fmt.Errorf("exit status %s:\n%s", w.exit, log)
}
