package sshclient

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestHostKeys(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	address := knownhosts.Normalize(fmt.Sprintf("%s:%d", h.Host, h.Port))
	line := func(key string) string { return address + " " + key }
	other := newKey(t)
	otherKey := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(other.PublicKey())))

	for name, tt := range map[string]struct {
		pinned []string
		known  string
		fails  []string // a part of the error; none if it works
	}{
		"ed25519":               {pinned: h.HostKeys[0:1]},
		"ecdsa":                 {pinned: h.HostKeys[1:2]},
		"rsa":                   {pinned: h.HostKeys[2:3]},
		"with a comment":        {pinned: []string{h.HostKeys[0] + " root@bastion\n"}},
		"the second of two":     {pinned: []string{otherKey, h.HostKeys[0]}},
		"another":               {pinned: []string{otherKey}, fails: []string{fingerprint(t, h.HostKeys[0]), "host_key expects " + ssh.FingerprintSHA256(other.PublicKey()), "ssh-keygen -lf"}},
		"known":                 {known: line(h.HostKeys[0])},
		"known rsa":             {known: line(h.HostKeys[2])},
		"known, hashed":         {known: knownhosts.HashHostname(address) + " " + h.HostKeys[1]},
		"known among others":    {known: "# mine\n\ngithub.com " + otherKey + "\n[*]:22 " + otherKey + "\n" + line(h.HostKeys[1]) + "\n"},
		"known, several":        {known: line(h.HostKeys[2]) + "\n" + line(h.HostKeys[1])},
		"known, another":        {known: line(otherKey), fails: []string{fingerprint(t, h.HostKeys[0]), "expects " + ssh.FingerprintSHA256(other.PublicKey()), "Either the host was set up again"}},
		"known at another port": {known: h.Host + " " + h.HostKeys[0], fails: []string{"holds no key for this host", "SHA256:"}},
		"unknown":               {known: "github.com " + otherKey, fails: []string{"holds no key for this host", "SHA256:", "host_key"}},
		"an empty file":         {known: "", fails: []string{"neither host_key nor known_hosts"}},
		"revoked":               {known: line(h.HostKeys[0]) + "\n@revoked * " + h.HostKeys[0], fails: []string{"marks as revoked", fingerprint(t, h.HostKeys[0])}},
	} {
		t.Run(name, func(t *testing.T) {
			c := asRoot(h)
			c.HostKeys = tt.pinned
			if tt.known != "" {
				c.KnownHosts = file(t, tt.known)
			}
			_, err := only(t, c).Run(t.Context(), Command{Script: "true"})
			switch {
			case tt.fails != nil:
				wantA[*ConnectError](t, err)
				wantText(t, err, tt.fails...)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func TestHostKeyOfAnAuthority(t *testing.T) {
	h := sandbox.SSHHost(t, sandbox.HostConfig{Settings: []string{"HostCertificate /etc/ssh/host-cert.pub"}})
	authority, stranger := newKey(t), newKey(t)
	certify := func(name string, by ssh.Signer) {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKeys[0]))
		if err != nil {
			t.Fatal(err)
		}
		certificate := &ssh.Certificate{Key: key, CertType: ssh.HostCert, ValidPrincipals: []string{name}, ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
		if err := certificate.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		h.Exec(t, `printf '%s' "$1" >/etc/ssh/host-cert.pub`, string(ssh.MarshalAuthorizedKey(certificate)))
		if err := h.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c := asRoot(h)
	c.HostKeys = nil
	c.KnownHosts = file(t, fmt.Sprintf("@cert-authority [*]:%d ", h.Port)+string(ssh.MarshalAuthorizedKey(authority.PublicKey())))

	certify(h.Host, authority)
	if _, err := only(t, c).Run(t.Context(), Command{Script: "true"}); err != nil {
		t.Error(err)
	}
	certify("another.example", authority)
	_, err := only(t, c).Run(t.Context(), Command{Script: "true"})
	wantA[*HostKeyError](t, err)
	wantText(t, err, "another.example", fingerprint(t, h.HostKeys[0]))
	certify(h.Host, stranger)
	_, err = only(t, c).Run(t.Context(), Command{Script: "true"})
	wantA[*HostKeyError](t, err)
	wantText(t, err, "@cert-authority")
}

func TestChangedHostKey(t *testing.T) {
	h := sandbox.SSHHost(t, sandbox.HostConfig{})
	proxy := proxyTo(t, h)
	c := through(proxy, asRoot(h))
	c.Password = "not to be sent"
	if err := h.ReplaceHostKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := proxy.Connections()
	_, err := only(t, c).Run(t.Context(), Command{Script: "true"})
	failure := as[*HostKeyError](t, err)
	if failure.Got != fingerprint(t, h.HostKeys[0]) || len(failure.Want) != 1 || failure.Want[0] != fingerprint(t, c.HostKeys[0]) {
		t.Errorf("%+v", failure)
	}
	wantText(t, err, failure.Got, failure.Want[0], `"bastion"`)
	if tries := proxy.Connections() - before; tries != 1 {
		t.Errorf("it was tried %d times", tries)
	}
}

func TestHostWithoutThePinnedKind(t *testing.T) {
	h := sandbox.SSHHost(t, sandbox.HostConfig{Settings: []string{"HostKeyAlgorithms ecdsa-sha2-nistp256"}})
	_, err := only(t, asRoot(h)).Run(t.Context(), Command{Script: "true"})
	wantText(t, err, "pin a key of a type that the host has")
}

func TestCheckHostKeys(t *testing.T) {
	good := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newKey(t).PublicKey())))
	for name, tt := range map[string]struct {
		keys []string
		ok   bool
	}{
		"one":              {[]string{good}, true},
		"none":             {nil, false},
		"with its host":    {[]string{"bastion.example.com " + good}, false},
		"a fingerprint":    {[]string{"SHA256:abc"}, false},
		"two in one":       {[]string{good + "\n" + good}, false},
		"the private half": {[]string{"-----BEGIN OPENSSH PRIVATE KEY-----"}, false},
	} {
		if err := CheckHostKeys(tt.keys); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A known_hosts file that was rewritten between two reads has other lines.
func TestWithoutAuthorities(t *testing.T) {
	key := newKey(t).PublicKey()
	for name, tt := range map[string]struct {
		lines     []string
		line      int
		authority bool
	}{
		"a key":          {lines: []string{"host ssh-ed25519 A"}, line: 1},
		"an authority":   {lines: []string{"", "  @cert-authority * ssh-ed25519 A"}, line: 2, authority: true},
		"a line gone":    {lines: []string{"host ssh-ed25519 A"}, line: 2},
		"all lines gone": {line: 1},
		"no line":        {lines: []string{"@cert-authority"}, line: 0},
	} {
		keys, authority := withoutAuthorities([]knownhosts.KnownKey{{Key: key, Line: tt.line}}, tt.lines)
		if authority != tt.authority || (len(keys) == 0) != tt.authority {
			t.Errorf("%s: %v %v", name, keys, authority)
		}
	}
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}
