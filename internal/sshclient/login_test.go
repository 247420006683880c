package sshclient

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestLogin(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	for name, tt := range map[string]struct {
		change func(*Config)
		fails  []string
	}{
		"key":                     {change: func(*Config) {}},
		"key without its newline": {change: func(c *Config) { c.PrivateKey = strings.TrimSpace(c.PrivateKey) }},
		"key in a file":           {change: func(c *Config) { c.PrivateKey = file(t, c.PrivateKey) }},
		"encrypted":               {change: func(c *Config) { c.PrivateKey, c.PrivateKeyPassphrase = h.OperatorEncryptedKey, h.OperatorPassphrase }},
		"no passphrase":           {func(c *Config) { c.PrivateKey = h.OperatorEncryptedKey }, []string{"private_key", "encrypted, and no passphrase"}},
		"wrong passphrase":        {func(c *Config) { c.PrivateKey, c.PrivateKeyPassphrase = h.OperatorEncryptedKey, "s3cret" }, []string{"passphrase does not decrypt"}},
		"public half":             {func(c *Config) { c.PrivateKey = h.HostKeys[0] }, []string{"private_key", "it is a public key"}},
		"public half, a file":     {func(c *Config) { c.PrivateKey = file(t, h.HostKeys[0]) }, []string{"private_key", "it is a public key"}},
		"no such file":            {func(c *Config) { c.PrivateKey = "/nowhere/id_ed25519" }, []string{"private_key", "/nowhere/id_ed25519", "no such file"}},
		"a tilde":                 {func(c *Config) { c.PrivateKey = "~/.ssh/id_nowhere" }, []string{"pathexpand"}},
		"half a key":              {func(c *Config) { c.PrivateKey = c.PrivateKey[:100] }, []string{"is incomplete or damaged"}},
		"certificate":             {change: func(c *Config) { c.PrivateKey, c.Certificate = h.CertifiedKey, h.Certificate }},
		"certificate, files":      {change: func(c *Config) { c.PrivateKey, c.Certificate = file(t, h.CertifiedKey), file(t, h.Certificate) }},
		"of another key":          {func(c *Config) { c.Certificate = h.Certificate }, []string{"certificate", "it is for the key SHA256:"}},
		"key as certificate":      {func(c *Config) { c.Certificate = h.HostKeys[0] }, []string{"certificate", "-cert.pub"}},
		"no certificate":          {func(c *Config) { c.PrivateKey = h.CertifiedKey }, []string{"unable to authenticate", "private_key SHA256:", "the host accepts: publickey, password"}},
		"password":                {change: func(c *Config) { c.PrivateKey, c.Password = "", h.OperatorPassword }},
		"refused key, password":   {change: func(c *Config) { c.PrivateKey, c.Password = h.CertifiedKey, h.OperatorPassword }},
		"wrong password":          {func(c *Config) { c.PrivateKey, c.Password = "", "s3cret" }, []string{"unable to authenticate", "The provider offered: password", "Check username"}},
		"nothing":                 {func(c *Config) { c.PrivateKey = "" }, []string{"no private_key, agent or password"}},
		"no such user":            {func(c *Config) { c.Username = "nobody-of-that-name" }, []string{"unable to authenticate"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := proxyTo(t, h)
			c := through(proxy, asOperator(h))
			tt.change(&c)
			_, err := only(t, c).Run(t.Context(), Command{Script: "true", User: c.Username})
			if tt.fails == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantA[*ConnectError](t, err)
			wantText(t, err, tt.fails...)
			if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "PRIVATE KEY-") {
				t.Errorf("it shows a secret: %v", err)
			}
			if proxy.Connections() > 1 {
				t.Errorf("it was tried %d times", proxy.Connections())
			}
		})
	}
}

func TestLoginByKeyboard(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{UsePAM: true, Settings: []string{"PasswordAuthentication no", "KbdInteractiveAuthentication yes"}})
	c := asOperator(h)
	c.PrivateKey, c.Password = "", h.OperatorPassword
	if _, err := only(t, c).Run(t.Context(), Command{Script: "true", User: c.Username}); err != nil {
		t.Error(err)
	}
	c.Password = "s3cret"
	_, err := only(t, c).Run(t.Context(), Command{Script: "true", User: c.Username})
	wantText(t, err, "the login failed", "keyboard-interactive")
}

// A password answers a single question for it, and no other question.
func TestAnswerOnce(t *testing.T) {
	answer := answerOnce("s3cret")
	if got, err := answer("", "", nil, nil); got != nil || err != nil {
		t.Errorf("no question: %q %v", got, err)
	}
	if _, err := answer("", "", []string{"Name: "}, []bool{true}); err == nil {
		t.Error("a question for what may be seen is answered")
	}
	if _, err := answer("", "", []string{"Password: ", "Code: "}, []bool{false, false}); err == nil {
		t.Error("two questions are answered")
	}
	if got, err := answer("", "", []string{"Password: "}, []bool{false}); len(got) != 1 || got[0] != "s3cret" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	_, err := answer("", "", []string{"Code: "}, []bool{false})
	wantText(t, err, "Code: ")
}

func TestLoginByBoth(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{Settings: []string{"AuthenticationMethods publickey,password"}})
	c := asOperator(h)
	c.Password = h.OperatorPassword
	if _, err := only(t, c).Run(t.Context(), Command{Script: "true", User: c.Username}); err != nil {
		t.Error(err)
	}
	c.Password = ""
	_, err := only(t, c).Run(t.Context(), Command{Script: "true", User: c.Username})
	wantText(t, err, "the host accepts: password")
}

func TestLoginByAgent(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	keyring := serveAgent(t)
	c := asOperator(h)
	c.PrivateKey, c.Agent = "", true
	login := func(c Config) error {
		_, err := only(t, c).Run(t.Context(), Command{Script: "true", User: c.Username})
		return err
	}
	add := func(private string) {
		key, err := ssh.ParseRawPrivateKey([]byte(private))
		if err != nil {
			t.Fatal(err)
		}
		if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}

	wantText(t, login(c), "holds no key", "ssh-add")
	add(h.CertifiedKey)
	wantText(t, login(c), "The provider offered: agent with 1 keys")
	certified := c
	certified.Certificate = h.Certificate
	if err := login(certified); err != nil {
		t.Errorf("a certificate of a key of the agent: %v", err)
	}
	add(h.OperatorKey)
	if err := login(c); err != nil {
		t.Error(err)
	}
	both := c
	both.PrivateKey = h.UserCA // the host refuses it
	if err := login(both); err != nil {
		t.Errorf("a key that is refused, then the agent's: %v", err)
	}
	for range 8 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := login(c); err != nil { // it is among the first
		t.Error(err)
	}
	gone := c
	gone.Username = "nobody"
	wantText(t, login(gone), "The provider offered: agent with 10 keys", "MaxAuthTries", "private_key of ssh_hosts.bastion")
	t.Setenv("SSH_AUTH_SOCK", "/nowhere/agent")
	wantText(t, login(c), "SSH_AUTH_SOCK", "/nowhere/agent")
	t.Setenv("SSH_AUTH_SOCK", "")
	wantText(t, login(c), "SSH_AUTH_SOCK is not set")
}

// serveAgent starts an agent without keys, and names it in SSH_AUTH_SOCK.
func serveAgent(t *testing.T) agent.Agent {
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	keyring := agent.NewKeyring()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(keyring, conn)
				conn.Close()
			}()
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", socket)
	return keyring
}

func TestLoginKey(t *testing.T) {
	h := sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	want, err := PublicKey(h.OperatorKey, "")
	if err != nil {
		t.Fatal(err)
	}
	c := asOperator(h)
	if got, err := only(t, c).LoginKey(t.Context()); strings.TrimSpace(got) != want || err != nil {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	c.PrivateKey, c.Password = "", h.OperatorPassword
	if got, err := only(t, c).LoginKey(t.Context()); got != "" || err != nil {
		t.Errorf("by password: %q %v", got, err)
	}
}

func TestPublicKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("p"))
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	want := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	for name, tt := range map[string]struct{ private, passphrase, fails string }{
		"PKCS #1":               {private: text("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))},
		"PKCS #8":               {private: text("PRIVATE KEY", pkcs8)},
		"encrypted":             {private: string(pem.EncodeToMemory(encrypted)), passphrase: "p"},
		"a needless passphrase": {private: text("PRIVATE KEY", pkcs8), passphrase: "p"},
		"no passphrase":         {private: string(pem.EncodeToMemory(encrypted)), fails: "no passphrase is set"},
		"encrypted PKCS #8":     {private: text("ENCRYPTED PRIVATE KEY", pkcs8), fails: "ssh-keygen -p"},
		"public":                {private: want, fails: "it is a public key"},
		"nothing":               {fails: "not a private key"},
		"a password":            {private: "s3cret", fails: "not a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := PublicKey(tt.private, tt.passphrase)
			if tt.fails != "" {
				wantText(t, err, tt.fails)
				return
			}
			if got != want || err != nil {
				t.Errorf("%q %v, want %q", got, err, want)
			}
		})
	}
}

// A key without its header, as CI systems store keys, looks like a path.
func TestKeyWithoutHeader(t *testing.T) {
	key := ""
	for !strings.Contains(key, "/") { // most base64 holds one
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		key = base64.StdEncoding.EncodeToString(der)
	}
	for attribute, c := range map[string]Config{
		"private_key": {PrivateKey: key},
		"certificate": {Certificate: key},
	} {
		_, err := (&login{}).signers(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), attribute) || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", attribute, err)
		}
	}
}
