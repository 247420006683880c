package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Sudo says what the operator of a [Host] may do as root.
type Sudo int

// With SudoPassword, sudo asks for the operator's own password.
const (
	SudoNone Sudo = iota
	SudoNoPassword
	SudoPassword
)

// A HostConfig describes a host. The zero value is a host like this machine, whose operator is an
// ordinary user, and whose sshd runs without PAM.
type HostConfig struct {
	Sudo   Sudo
	UsePAM bool
	// Settings are lines of sshd_config. They take precedence over the defaults, but not over the
	// sandbox's own: port, host keys, PAM, log and the user CA.
	Settings []string
	// Hosts are names that only the host knows, with their addresses: a client that reaches such a
	// name reaches it through this host.
	Hosts map[string]string
	// Root is the directory of the root filesystem that the host starts from, one of [HostRoots];
	// if empty, it is this machine's own. The host reads it and never writes it.
	Root string
}

// OperatorName is the user of every host, apart from root.
const OperatorName = "operator"

// A Host is a running OpenSSH server with its own root filesystem, processes and hostname, on this
// machine's network. Root logs in by RootKey; the operator logs in by OperatorKey, by CertifiedKey
// together with Certificate, or by OperatorPassword. All keys are text: private ones in OpenSSH's
// PEM, public ones in the form of authorized_keys, without a comment. All are fresh, except that
// OperatorKey is the same on all hosts of this process.
type Host struct {
	Host     string // 127.0.0.1
	Port     int
	HostKeys []string // ed25519, ecdsa, rsa

	RootKey              string
	OperatorKey          string
	OperatorEncryptedKey string // OperatorKey, encrypted with OperatorPassphrase
	OperatorPassphrase   string
	OperatorPassword     string
	CertifiedKey         string
	Certificate          string // of CertifiedKey, valid for the operator alone
	UserCA               string // the private key that signed Certificate; the host trusts it

	process *hostProcess
}

// lackNamespaces reports that this machine does not let root start hosts.
func lackNamespaces(cause error) error {
	return &lackError{"namespaces and mounts of its own, which SSH hosts need: run the tests where root may make them", cause}
}

// StartHost returns a host that accepts connections. The context bounds the
// start, not the life of the host.
func StartHost(ctx context.Context, cfg HostConfig) (*Host, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	h := &Host{Host: "127.0.0.1"}
	keys, err := h.makeKeys()
	if err != nil {
		return nil, err
	}
	for range 5 {
		if h.Port, err = freePort(); err != nil {
			break
		}
		if err = h.start(ctx, cfg, keys); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start an SSH host: %w", err)
	}
	return h, nil
}

// check reports what is missing before anything starts.
func (cfg HostConfig) check() error {
	if os.Geteuid() != 0 {
		return &lackError{"root, who alone may start SSH hosts: run the tests as root", nil}
	}
	programs := []struct{ path, line string }{{"usr/sbin/sshd", "OpenSSH's server: install the Debian package openssh-server"}}
	if cfg.Sudo != SudoNone {
		programs = append(programs, struct{ path, line string }{"usr/bin/sudo", "sudo: install the Debian package sudo"})
	}
	for _, program := range programs {
		_, err := os.Stat(filepath.Join("/", cfg.Root, program.path))
		switch {
		case err != nil && cfg.Root == "":
			return &lackError{program.line, err}
		case err != nil:
			return fmt.Errorf("a host from %s: %w", cfg.Root, err)
		}
	}
	return nil
}

// start starts the host on h.Port. If it fails, it leaves nothing behind.
func (h *Host) start(ctx context.Context, cfg HostConfig, keys hostKeys) error {
	files, err := h.files(cfg, keys)
	if err != nil {
		return err
	}
	as, err := unprivileged()
	if err != nil {
		return err
	}
	parent, err := as.sandboxDir()
	if err != nil {
		return err
	}
	lower := cfg.Root
	if lower == "" {
		lower = "/"
	}
	h.process, err = startHostProcess(parent, lower, files)
	if err != nil {
		return err
	}
	if err := h.await(ctx, 1); err != nil {
		h.process.kill()
		return err
	}
	return nil
}

// Stop ends everything that runs on the host, and the host. It returns when nothing is left. A
// second Stop does nothing.
func (h *Host) Stop() error {
	h.process.kill()
	return nil
}

// Log returns what sshd and the start of the host have written so far.
func (h *Host) Log() string { return h.process.log.String() }

// Run runs a shell script on the host as root, with args as $1 and so on, and
// returns what it writes to standard output.
func (h *Host) Run(ctx context.Context, script string, args ...string) (string, error) {
	return h.run(ctx, "", script, args...)
}

func (h *Host) run(ctx context.Context, stdin, script string, args ...string) (string, error) {
	command := []string{
		"--target=" + strconv.Itoa(h.process.pid), "--mount", "--pid", "--uts", "--ipc", "--root", "--wd",
		"--", "/bin/sh", "-c", script, "sh",
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(command, args...)...)
	cmd.Env = hostEnvironment()
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second // processes that the script leaves running may hold its output open
	output, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(output), fmt.Errorf("%w:\n%s%s", err, output, exit.Stderr)
	}
	return string(output), err
}

// Restart makes sshd read its configuration and host keys again. Sessions stay. HostKeys keeps its
// value, even if the keys were replaced.
func (h *Host) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	starts := h.starts()
	if _, err := h.Run(ctx, "/usr/sbin/sshd -t && kill -HUP 1"); err != nil { // sshd is the init of the namespace
		return fmt.Errorf("restart sshd: %w", err)
	}
	return h.await(ctx, starts+1)
}

// ReplaceHostKeys gives the host new keys, as a new installation would, or another host at its
// address.
func (h *Host) ReplaceHostKeys(ctx context.Context) error {
	pairs, err := newHostKeys()
	if err != nil {
		return err
	}
	for kind, pair := range pairs.all() {
		if _, err := h.run(ctx, pair.private, `cat >"/etc/ssh/ssh_host_$1_key"`, kind); err != nil {
			return err
		}
	}
	h.HostKeys = pairs.public()
	return h.Restart(ctx)
}

// starts returns how many times sshd has begun to listen.
func (h *Host) starts() int {
	return strings.Count(h.Log(), fmt.Sprintf("Server listening on %s port %d.", h.Host, h.Port))
}

// await returns once sshd has begun to listen that many times.
func (h *Host) await(ctx context.Context, starts int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for h.starts() < starts {
		select {
		case <-tick.C:
		case <-h.process.ended:
			return h.process.failure()
		case <-ctx.Done():
			return fmt.Errorf("%w:\n%s", ctx.Err(), h.Log())
		}
	}
	return nil
}

// HostRoots returns the root filesystems of other systems that scripts/ssh-roots.sh
// has made, for [HostConfig]. There may be none.
func HostRoots() []string {
	cache, err := cacheDir()
	if err != nil {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(cache, "ssh-roots", "[a-z]*", "usr/sbin/sshd")) // the pattern is valid
	for i, sshd := range found {
		found[i] = strings.TrimSuffix(sshd, "/usr/sbin/sshd")
	}
	return found
}
