package linux

import (
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

const (
	ed25519Key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+7YMIBOKEHlSKYzZRL8tLAg4dPZ7JXZ8qX/7hQy2tW"
	securityKey   = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIHTCzdZhUBlQSkOSoxn4BF3zY0Pi1YLPGJtGBM8xKVRyAAAABHNzaDo="
	dsaKey        = "ssh-dss AAAAB3NzaC1kc3M="
	opensshSecret = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----\n"
)

func rsaKey(t testing.TB, bits int) string {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func TestParsePublicKey(t *testing.T) {
	good := rsaKey(t, 2048)
	for name, tt := range map[string]struct{ text, want, problem string }{
		"ed25519":            {text: ed25519Key, want: ed25519Key},
		"security key":       {text: securityKey, want: securityKey},
		"RSA":                {text: good, want: good},
		"comment":            {text: ed25519Key + "  me at $(home); 'x' \n", want: ed25519Key + " me at $(home); 'x'"},
		"weak RSA":           {text: rsaKey(t, 1024), problem: "1024 bits"},
		"DSA":                {text: dsaKey, problem: "too weak"},
		"empty":              {text: " \n", problem: "empty"},
		"private":            {text: opensshSecret, problem: "ssh-keygen -y"},
		"two lines":          {text: ed25519Key + "\n" + good, problem: "more than one line"},
		"carriage return":    {text: ed25519Key + " a\rssh-rsa", problem: "more than one line"},
		"other line break":   {text: ed25519Key + " a\vb", problem: "control character"},
		"no UTF-8":           {text: ed25519Key + " \xff", problem: "not UTF-8 text"},
		"zero byte":          {text: ed25519Key + " a\x00b", problem: "control character"},
		"options":            {text: `command="x y" ` + ed25519Key, problem: "put them into the attribute options"},
		"unknown type":       {text: "ssh-ed448 AAAA", problem: "types that sshd knows"},
		"certificate":        {text: "ssh-ed25519-cert-v01@openssh.com AAAA", problem: "certificate"},
		"cut":                {text: ed25519Key[:60], problem: "damaged"},
		"no base64":          {text: "ssh-ed25519 AAAA*", problem: "not base64"},
		"type of another":    {text: "ssh-rsa " + strings.Fields(ed25519Key)[1], problem: "holds a key of type ssh-ed25519"},
		"something after it": {text: ed25519Key[:len(ed25519Key)-1] + "WAAA", problem: "damaged"},
		"type alone":         {text: "ssh-ed25519", problem: "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := ParsePublicKey(tt.text)
			switch {
			case tt.problem == "" && err != nil:
				t.Fatal(err)
			case tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)):
				t.Fatalf("got %v", err)
			case err == nil && key.String() != tt.want:
				t.Errorf("got %q", key)
			case err != nil && strings.Contains(err.Error(), "b3BlbnNza"):
				t.Error("the error holds the text")
			}
		})
	}
}

func TestPublicKeyFingerprint(t *testing.T) {
	plain, err := ParsePublicKey(ed25519Key)
	if err != nil {
		t.Fatal(err)
	}
	commented, err := ParsePublicKey(ed25519Key + " me")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := plain.Fingerprint(), "SHA256:"; !strings.HasPrefix(got, want) || len(got) != 50 || got != commented.Fingerprint() {
		t.Errorf("fingerprint is %q and %q", got, commented.Fingerprint())
	}
	if !plain.Same(commented) {
		t.Error("a comment makes another key")
	}
}
