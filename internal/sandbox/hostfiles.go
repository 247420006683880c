package sandbox

import (
	"archive/tar"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// operatorID is the operator's uid and gid, far from those that adduser assigns.
const operatorID = 59000

// A keyPair is a private key in OpenSSH's PEM, and its public half as in
// authorized_keys.
type keyPair struct {
	key             crypto.Signer
	private, public string
}

func newKeyPair(key crypto.Signer, err error) (keyPair, error) {
	if err != nil {
		return keyPair{}, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return keyPair{}, err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{key, string(pem.EncodeToMemory(block)), authorizedKey(public)}, nil
}

func newEd25519() (keyPair, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return newKeyPair(key, err)
}

func authorizedKey(key ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
}

// hostKeys are the keys with which a host proves its identity.
type hostKeys struct{ ed25519, ecdsa, rsa keyPair }

func newHostKeys() (k hostKeys, err error) {
	var errs [3]error
	k.ed25519, errs[0] = newEd25519()
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.ecdsa, errs[1] = newKeyPair(ecdsaKey, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	k.rsa, errs[2] = newKeyPair(rsaKey, err)
	return k, errors.Join(errs[:]...)
}

// all yields the types, as in the names of sshd's files, and their keys.
func (k hostKeys) all() iter.Seq2[string, keyPair] {
	return func(yield func(string, keyPair) bool) {
		_ = yield("ed25519", k.ed25519) && yield("ecdsa", k.ecdsa) && yield("rsa", k.rsa)
	}
}

func (k hostKeys) public() []string {
	return []string{k.ed25519.public, k.ecdsa.public, k.rsa.public}
}

// operatorKeys makes the operator's key, once for all hosts of this process: encrypting a key takes
// longer than starting a host.
var operatorKeys = sync.OnceValues(func() (encryptedKey, error) {
	pair, err := newEd25519()
	if err != nil {
		return encryptedKey{}, err
	}
	k := encryptedKey{keyPair: pair, passphrase: rand.Text()}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(pair.key, "", []byte(k.passphrase))
	if err != nil {
		return k, err
	}
	k.encrypted = string(pem.EncodeToMemory(block))
	return k, nil
})

type encryptedKey struct {
	keyPair
	encrypted, passphrase string
}

// makeKeys gives the host all its keys and passwords.
func (h *Host) makeKeys() (hostKeys, error) {
	keys, err := newHostKeys()
	if err != nil {
		return keys, err
	}
	h.HostKeys = keys.public()
	h.OperatorPassword = rand.Text()
	operator, err := operatorKeys()
	if err != nil {
		return keys, err
	}
	h.OperatorKey, h.OperatorEncryptedKey, h.OperatorPassphrase = operator.private, operator.encrypted, operator.passphrase

	var pairs [3]keyPair
	for i := range pairs {
		if pairs[i], err = newEd25519(); err != nil {
			return keys, err
		}
	}
	root, certified, ca := pairs[0], pairs[1], pairs[2]
	h.RootKey, h.CertifiedKey, h.UserCA = root.private, certified.private, ca.private
	h.Certificate, err = certifyUser(certified, ca)
	return keys, err
}

// certifyUser returns a certificate that lets only the operator in.
func certifyUser(user, ca keyPair) (string, error) {
	signer, err := ssh.NewSignerFromSigner(ca.key)
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(user.key.Public())
	if err != nil {
		return "", err
	}
	certificate := &ssh.Certificate{
		Key:             public,
		CertType:        ssh.UserCert,
		KeyId:           OperatorName,
		ValidPrincipals: []string{OperatorName},
		ValidAfter:      uint64(time.Now().Add(-time.Hour).Unix()),
		ValidBefore:     uint64(time.Now().Add(24 * time.Hour).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{
			"permit-port-forwarding": "", "permit-pty": "", "permit-agent-forwarding": "",
		}},
	}
	if err := certificate.SignCert(rand.Reader, signer); err != nil {
		return "", err
	}
	return authorizedKey(certificate), nil
}

// files returns, as a tar archive, the files in which the host differs from its
// root filesystem.
func (h *Host) files(cfg HostConfig, keys hostKeys) (io.Reader, error) {
	sudoers := map[Sudo]string{
		SudoNone:       "",
		SudoNoPassword: OperatorName + " ALL=(ALL:ALL) NOPASSWD: ALL\n",
		SudoPassword:   OperatorName + " ALL=(ALL:ALL) ALL\n",
	}
	public := map[string]string{}
	for user, private := range map[string]string{"root": h.RootKey, OperatorName: h.OperatorKey, "ca": h.UserCA} {
		signer, err := ssh.ParsePrivateKey([]byte(private))
		if err != nil {
			return nil, err
		}
		public[user] = authorizedKey(signer.PublicKey()) + "\n"
	}

	a := newArchive()
	a.file("run/password", 0o600, 0, OperatorName+":"+h.OperatorPassword+"\n")
	a.file("etc/hostname", 0o644, 0, "sandbox\n")
	a.file("etc/hosts", 0o644, 0, hostsFile(cfg.Hosts))
	a.file("etc/sudoers", 0o440, 0, "root ALL=(ALL:ALL) ALL\n"+sudoers[cfg.Sudo])
	a.file("etc/ssh/sshd_config", 0o644, 0, h.sshdConfig(cfg))
	a.file("etc/ssh/user_ca.pub", 0o644, 0, public["ca"])
	for kind, pair := range keys.all() {
		a.file("etc/ssh/ssh_host_"+kind+"_key", 0o600, 0, pair.private)
	}
	a.dir("root/.ssh", 0o700, 0)
	a.file("root/.ssh/authorized_keys", 0o600, 0, public["root"])
	home := "home/" + OperatorName
	a.dir(home, 0o755, operatorID)
	a.dir(home+"/.ssh", 0o700, operatorID)
	a.file(home+"/.ssh/authorized_keys", 0o600, operatorID, public[OperatorName])
	return a.close()
}

// sshdConfig puts the defaults last: sshd uses the first value that it reads. They follow "Match
// all", which ends any Match among the settings.
func (h *Host) sshdConfig(cfg HostConfig) string {
	pam := "no"
	if cfg.UsePAM {
		pam = "yes"
	}
	return fmt.Sprintf(`Port %d
ListenAddress %s
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_rsa_key
UsePAM %s
PidFile none
LogLevel VERBOSE
TrustedUserCAKeys /etc/ssh/user_ca.pub
Subsystem sftp internal-sftp
%s
Match all
PermitRootLogin prohibit-password
`, h.Port, h.Host, pam, strings.Join(cfg.Settings, "\n"))
}

func hostsFile(hosts map[string]string) string {
	var text strings.Builder
	text.WriteString("127.0.0.1 localhost sandbox\n::1 localhost\n")
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		fmt.Fprintf(&text, "%s %s\n", hosts[name], name)
	}
	return text.String()
}

// An archive is a tar file that is being written. It reports its errors at the end.
type archive struct {
	buffer *bytes.Buffer
	tar    *tar.Writer
	errs   []error
}

func newArchive() *archive {
	buffer := &bytes.Buffer{}
	return &archive{buffer: buffer, tar: tar.NewWriter(buffer)}
}

func (a *archive) file(name string, mode int64, owner int, text string) {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: owner, Gid: owner, Size: int64(len(text)), ModTime: time.Now()}
	a.errs = append(a.errs, a.tar.WriteHeader(header))
	_, err := io.WriteString(a.tar, text)
	a.errs = append(a.errs, err)
}

func (a *archive) dir(name string, mode int64, owner int) {
	header := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner, ModTime: time.Now()}
	a.errs = append(a.errs, a.tar.WriteHeader(header))
}

func (a *archive) close() (io.Reader, error) {
	a.errs = append(a.errs, a.tar.Close())
	return a.buffer, errors.Join(a.errs...)
}
