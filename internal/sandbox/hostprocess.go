package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// A hostProcess is the first process of a host's namespaces. When it ends, the kernel ends all
// others and removes the mounts; and the kernel ends it when this process ends, for whatever
// reason. There is no directory and no file that could be left behind.
type hostProcess struct {
	pid   int // as this machine sees it
	log   logBuffer
	ended chan struct{} // closed when nothing is left
	err   error         // valid once ended is closed
	stop  func() error
}

// hostScript is the first process. It mounts a private root, with the tmpfs of its changes at "$1"
// above the directory "$2". Then it fills that root with the archive on standard input, and becomes
// its sshd. The mounts are never visible outside. Exit status 77 means that the machine does not
// allow this.
const hostScript = `
	set -eu
	base=$1 lower=$2 r=$1/r
	trap 'exit 77' EXIT
	mount --make-rprivate /
	mount -t tmpfs -o mode=755,size=1g sandbox "$base"
	cd "$base" # a path in the options of mount cannot have a comma or a colon
	mkdir lower upper work r
	mount --bind "$lower" lower
	mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay r
	mkdir -p "$r/proc" "$r/dev" "$r/run" "$r/sys" "$r/tmp" "$r/home" "$r/root" "$r/etc/ssh" "$r/.old"
	mount -t proc proc "$r/proc"
	for each in dev:755 run:755 home:755 tmp:1777 root:700; do
		mount -t tmpfs -o "mode=${each#*:}" tmpfs "$r/${each%:*}"
	done
	for each in null zero full random urandom tty; do
		: >"$r/dev/$each"
		mount --bind "/dev/$each" "$r/dev/$each"
	done
	mkdir "$r/dev/pts" "$r/run/sshd"
	mkdir -m 1777 "$r/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$r/dev/pts"
	ln -s pts/ptmx "$r/dev/ptmx"
	ln -s /proc/self/fd "$r/dev/fd"
	hostname sandbox
	trap - EXIT
	rm -f "$r"/etc/ssh/ssh_host_*
	tar --extract --preserve-permissions --numeric-owner --directory="$r"
	cd "$r"
	pivot_root . .old
	exec chroot . /bin/sh -c '
		set -eu
		umount -l /.old
		rmdir /.old
		for each in passwd shadow group gshadow; do
			if [ -e /etc/$each ]; then
				sed -i "/^operator:/d" /etc/$each
			fi
		done
		echo "operator:x:59000:59000:Operator:/home/operator:/bin/sh" >>/etc/passwd
		echo "operator:*:19000:0:99999:7:::" >>/etc/shadow
		echo "operator:x:59000:" >>/etc/group
		chpasswd </run/password
		rm /run/password
		penalties=PerSourcePenalties=no # or the failed logins of one test would shut out all
		if /usr/sbin/sshd -t -o $penalties 2>/dev/null; then
			exec /usr/sbin/sshd -D -e -o $penalties
		fi
		exec /usr/sbin/sshd -D -e' </dev/null`

func hostEnvironment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root"}
}

// startHostProcess returns once the process runs, which is long before it accepts connections.
func startHostProcess(base, lower string, files io.Reader) (*hostProcess, error) {
	p := &hostProcess{ended: make(chan struct{})}
	cmd := exec.Command("/bin/sh", "-c", hostScript, "host", base, lower)
	cmd.Dir = "/"
	cmd.Env = hostEnvironment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files, &p.log, &p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true, // so that Ctrl-C reaches this process, not the host
	}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait() // also for holders of the log
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
			return nil, lackNamespaces(fmt.Errorf("new namespaces: %w", err))
		}
		return nil, err
	}
	p.pid = cmd.Process.Pid
	p.stop = cmd.Process.Kill
	return p, nil
}

// kill returns once nothing is left.
func (p *hostProcess) kill() {
	_ = p.stop() // an error means that it has ended
	<-p.ended
}

// failure describes a process that ended too early.
func (p *hostProcess) failure() error {
	log := p.log.String()
	if strings.Contains(log, "Address already in use") {
		return errPortTaken
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok && exit.ExitCode() == 77 {
		return lackNamespaces(fmt.Errorf("mount a private root filesystem: %s", strings.TrimSpace(log)))
	}
	return fmt.Errorf("%w:\n%s", p.err, log)
}

// A logBuffer is text that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
