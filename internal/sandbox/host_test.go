package sandbox

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

func TestHostLogins(t *testing.T) {
	for _, pam := range []bool{false, true} {
		t.Run(fmt.Sprintf("pam=%t", pam), func(t *testing.T) {
			h := SharedSSHHost(t, HostConfig{UsePAM: pam})
			for name, tt := range map[string]struct {
				user string
				auth ssh.AuthMethod
			}{
				"root by key":             {"root", signer(t, h.RootKey)},
				"operator by key":         {OperatorName, signer(t, h.OperatorKey)},
				"operator by certificate": {OperatorName, certified(t, h)},
				"operator by password":    {OperatorName, ssh.Password(h.OperatorPassword)},
			} {
				t.Run(name, func(t *testing.T) {
					if got := login(t, h, tt.user, tt.auth, "id -un; hostname"); got != tt.user+"\nsandbox\n" {
						t.Errorf("is %q", got)
					}
				})
			}
			for name, tt := range map[string]struct {
				user string
				auth ssh.AuthMethod
			}{
				"root by password":                {"root", ssh.Password(h.OperatorPassword)},
				"root by the operator's key":      {"root", signer(t, h.OperatorKey)},
				"root by certificate":             {"root", certified(t, h)},
				"operator by the key alone":       {OperatorName, signer(t, h.CertifiedKey)},
				"operator by an unknown password": {OperatorName, ssh.Password("")},
			} {
				t.Run(name, func(t *testing.T) {
					if c, err := dial(h, tt.user, tt.auth); err == nil {
						c.Close()
						t.Error("is let in")
					}
				})
			}
			key, err := ssh.ParseRawPrivateKeyWithPassphrase([]byte(h.OperatorEncryptedKey), []byte(h.OperatorPassphrase))
			if err != nil {
				t.Fatal(err)
			}
			encrypted, err := ssh.NewSignerFromKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if got := login(t, h, OperatorName, ssh.PublicKeys(encrypted), "pwd"); got != "/home/operator\n" {
				t.Errorf("home is %q", got)
			}
		})
	}
}

func TestHostSudo(t *testing.T) {
	for name, tt := range map[string]struct {
		sudo       Sudo
		free, paid bool // whether sudo works without and with the password
	}{
		"none":        {SudoNone, false, false},
		"no password": {SudoNoPassword, true, true},
		"password":    {SudoPassword, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := SSHHost(t, HostConfig{Sudo: tt.sudo})
			if tt.sudo == SudoNone {
				h.Exec(t, "test -e /usr/bin/sudo || ln -s /bin/false /usr/bin/sudo")
			}
			got := login(t, h, OperatorName, signer(t, h.OperatorKey), `
				exec 2>/dev/null
				sudo -n -k id -u || echo no
				printf '%s\n' '`+h.OperatorPassword+`' | sudo -S -k -p '' id -u || echo no`)
			word := map[bool]string{true: "0\n", false: "no\n"}
			if want := word[tt.free] + word[tt.paid]; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A name that only the jump host knows leads through it to another host.
func TestHostJump(t *testing.T) {
	target := SharedSSHHost(t, HostConfig{})
	jump := SSHHost(t, HostConfig{Hosts: map[string]string{"target.sandbox.invalid": "127.0.0.1"}})
	address := net.JoinHostPort("target.sandbox.invalid", strconv.Itoa(target.Port))
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Fatal("the name is known outside")
	}
	client, err := dial(jump, "root", signer(t, jump.RootKey))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := client.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c, _, _, err := ssh.NewClientConn(conn, address, clientConfig(target, "root", signer(t, target.RootKey)))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestHostSettings(t *testing.T) {
	h := SSHHost(t, HostConfig{Settings: []string{"MaxSessions 3", "Match User operator", "AllowTcpForwarding no"}})
	script := `/usr/sbin/sshd -T -C "user=$1,host=h,addr=127.0.0.1,laddr=127.0.0.1,lport=1" | grep -E '^(maxsessions|allowtcpforwarding|permitrootlogin)' | sort`
	for user, forwarding := range map[string]string{"root": "yes", OperatorName: "no"} {
		want := "allowtcpforwarding " + forwarding + "\nmaxsessions 3\npermitrootlogin without-password\n"
		if diff := cmp.Diff(want, h.Exec(t, script, user)); diff != "" {
			t.Error(user, diff)
		}
	}
	if _, err := StartHost(t.Context(), HostConfig{Settings: []string{"Nonsense yes"}}); err == nil || !strings.Contains(err.Error(), "Nonsense") {
		t.Errorf("settings that sshd does not know: %v", err)
	}
}

func TestHostRestart(t *testing.T) {
	h := SSHHost(t, HostConfig{})
	old := *h
	h.Exec(t, `echo 'AllowUsers root' >>/etc/ssh/sshd_config`)
	if err := h.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(h, OperatorName, signer(t, h.OperatorKey)); err == nil {
		t.Error("sshd runs with the old settings")
	}
	if err := h.ReplaceHostKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	login(t, h, "root", signer(t, h.RootKey), "true")
	if _, err := dial(&old, "root", signer(t, h.RootKey)); err == nil || !strings.Contains(err.Error(), "host key mismatch") {
		t.Errorf("with the old host key: %v", err)
	}
	h.Exec(t, `echo 'Nonsense yes' >>/etc/ssh/sshd_config`)
	if err := h.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "Nonsense") {
		t.Errorf("restart with bad settings: %v", err)
	}
	login(t, h, "root", signer(t, h.RootKey), "true")
}

// Whatever is done on a host, this machine stays as it was.
func TestHostIsPrivate(t *testing.T) {
	SharedSSHHost(t, HostConfig{}) // or skip
	before := machine(t)
	h := SSHHost(t, HostConfig{Sudo: SudoNoPassword})
	name := h.UserName()
	h.Exec(t, `
		useradd --create-home --shell /bin/sh stranger
		echo stranger:secret | chpasswd
		echo key >>/root/.ssh/authorized_keys
		for each in /etc /home /root /tmp /usr /var /run /dev; do
			echo "$1" >"$each/$1"
		done
		hostname stranger
		mount -t tmpfs tmpfs /mnt
		sleep 600 </dev/null >/dev/null 2>&1 &
		rm -rf /etc/ssh /usr/bin/* /var/lib`, name)
	if diff := cmp.Diff(before, machine(t)); diff != "" {
		t.Error("while it runs", diff)
	}
	namespace := h.namespace(t)
	if len(inNamespace(namespace)) < 2 {
		t.Error("no process of the host is seen, so none can be seen to go")
	}
	if found, _ := filepath.Glob("/*/" + name); found != nil {
		t.Errorf("found here: %q", found)
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, machine(t)); diff != "" {
		t.Error("after it", diff)
	}
	if left := inNamespace(namespace); left != nil {
		t.Errorf("left: %q", left)
	}
	if c, err := net.Dial("tcp", net.JoinHostPort(h.Host, strconv.Itoa(h.Port))); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
	if err := h.Stop(); err != nil {
		t.Errorf("stopped again: %v", err)
	}
}

func (h *Host) namespace(t *testing.T) string {
	t.Helper()
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.process.pid))
	if err != nil {
		t.Fatal(err)
	}
	return namespace
}

// inNamespace returns the command lines of the processes of a PID namespace.
func inNamespace(namespace string) []string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, link := range links {
		if ns, _ := os.Readlink(link); ns == namespace {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "../cmdline"))
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// machine describes what a host could damage: files, mounts, and names.
func machine(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, name := range []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/sudoers", "/etc/hosts", "/proc/self/mounts"} {
		text, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		state[name] = fmt.Sprintf("%x", sha256.Sum256(text))
	}
	for _, dir := range []string{"/root/.ssh", "/home", "/etc/ssh", "/var/mail"} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			state[path] = fmt.Sprint(err)
			if d == nil {
				return nil // it does not exist
			}
			if info, err := d.Info(); err == nil {
				state[path] += fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
			}
			return nil
		})
	}
	state["hostname"], _ = os.Hostname()
	return state
}

func signer(t *testing.T, private string) ssh.AuthMethod {
	t.Helper()
	s, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.PublicKeys(s)
}

func certified(t *testing.T, h *Host) ssh.AuthMethod {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(h.CertifiedKey))
	if err != nil {
		t.Fatal(err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(public.(*ssh.Certificate), key)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.PublicKeys(s)
}

func clientConfig(h *Host, user string, auth ssh.AuthMethod) *ssh.ClientConfig {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKeys[0]))
	if err != nil {
		panic(err)
	}
	return &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{auth}, Timeout: slowTimeout,
		HostKeyCallback: ssh.FixedHostKey(key), HostKeyAlgorithms: []string{key.Type()},
	}
}

func dial(h *Host, user string, auth ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", net.JoinHostPort(h.Host, strconv.Itoa(h.Port)), clientConfig(h, user, auth))
}

func login(t *testing.T, h *Host, user string, auth ssh.AuthMethod, command string) string {
	t.Helper()
	c, err := dial(h, user, auth)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	var stderr bytes.Buffer
	session.Stderr = &stderr
	output, err := session.Output(command)
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return string(output)
}

func BenchmarkHost(b *testing.B) {
	var start, stop time.Duration
	for b.Loop() {
		begin := time.Now()
		h, err := StartHost(b.Context(), HostConfig{})
		if err != nil {
			b.Fatal(err)
		}
		start += time.Since(begin)
		begin = time.Now()
		_ = h.Stop()
		stop += time.Since(begin)
	}
	b.ReportMetric(float64(start.Milliseconds())/float64(b.N), "start-ms")
	b.ReportMetric(float64(stop.Microseconds())/float64(b.N)/1000, "stop-ms")
}

func TestHostRoots(t *testing.T) {
	EachHostRoot(t, func(t *testing.T, root string) {
		cfg := HostConfig{Root: root}
		if executable(filepath.Join("/", root, "usr/bin/sudo")) { // busybox has none
			cfg.Sudo = SudoNoPassword
		}
		h := SSHHost(t, cfg)
		before := login(t, h, "root", signer(t, h.RootKey), `cat /etc/passwd`)
		name := h.UserName()
		h.Exec(t, `
			if command -v useradd >/dev/null; then
				useradd --create-home "$1"
			else
				adduser -D "$1"
			fi
			echo "$1:$2" | chpasswd`, name, h.OperatorPassword)
		for _, user := range []string{OperatorName, name} {
			if got, want := login(t, h, user, ssh.Password(h.OperatorPassword), "id -un; pwd"), user+"\n/home/"+user+"\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if cfg.Sudo == SudoNoPassword {
			if got := login(t, h, OperatorName, signer(t, h.OperatorKey), "sudo -n id -u"); got != "0\n" {
				t.Errorf("sudo says %q", got)
			}
		}
		if err := h.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := SSHHost(t, cfg)
		if diff := cmp.Diff(before, login(t, again, "root", signer(t, again.RootKey), `cat /etc/passwd`)); diff != "" {
			t.Error("the root filesystem has changed", diff)
		}
		for range 8 { // more than newer versions tolerate from one address
			if _, err := dial(h, "root", ssh.Password("wrong")); err == nil {
				t.Fatal("a wrong password is let in")
			}
		}
		login(t, h, "root", signer(t, h.RootKey), "true")
	})
}
