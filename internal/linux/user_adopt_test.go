package linux

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestUserRefusals(t *testing.T) {
	comment := "loads"
	want := NewUser{Name: "stitch", Comment: &comment}.withDefaults()
	same := foundUser{
		User:   User{Name: "stitch", UID: 1000, GID: 1000, Group: "stitch", Home: "/home/stitch", Shell: "/bin/sh", Comment: "loads", Created: true, Local: true, Password: PasswordNone},
		groups: []string{"stitch"},
	}
	but := func(change func(*foundUser)) foundUser { f := same; change(&f); return f }
	for name, tt := range map[string]struct {
		found    foundUser
		refusals []string
	}{
		"the same":          {found: same},
		"of a directory":    {found: but(func(f *foundUser) { f.Local = false }), refusals: []string{"it comes from a directory such as LDAP, not from /etc/passwd"}},
		"without the mark":  {found: but(func(f *foundUser) { f.Created = false }), refusals: []string{"this provider did not create it: its entry in /etc/passwd lacks the provider's mark"}},
		"root":              {found: but(func(f *foundUser) { f.UID = 0 }), refusals: []string{"its uid is 0, which is root's"}},
		"other attributes":  {found: but(func(f *foundUser) { f.Home, f.Shell, f.Comment = "/a", "/b", "" }), refusals: []string{`home is "/a", not "/home/stitch"`, `shell is "/b", not "/bin/sh"`, `comment is "", not "loads"`}},
		"another group":     {found: but(func(f *foundUser) { f.Group, f.groups = "users", []string{"users"} }), refusals: []string{`group is "users", not "stitch"`}},
		"more groups":       {found: but(func(f *foundUser) { f.groups = []string{"stitch", "sudo"} }), refusals: []string{`it is a member of group "sudo"`}},
		"with a password":   {found: but(func(f *foundUser) { f.Password = PasswordSet }), refusals: []string{"it has a password"}},
		"that expires":      {found: but(func(f *foundUser) { f.Expires = "2040-01-01" }), refusals: []string{"it expires on 2040-01-01"}},
		"with files":        {found: but(func(f *foundUser) { f.files = []string{".ssh", "a\x1bb"} }), refusals: []string{`its home directory holds ".ssh"`, `its home directory holds "a\x1bb"`}},
		"to be repaired":    {found: but(func(f *foundUser) { f.Password = PasswordLocked }), refusals: nil},
		"without its group": {found: but(func(f *foundUser) { f.Group, f.groups = "", []string{"1000"} }), refusals: []string{`group is "", not "stitch"`, `it is a member of group "1000"`}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := want.refusals(tt.found); !slices.Equal(got, tt.refusals) {
				t.Errorf("got %q, want %q", got, tt.refusals)
			}
		})
	}
}

// A user is adopted as CreateUser left it, but not once it has been used. The user's own privileges
// do not suffice to forge the mark.
func TestAdoptUser(t *testing.T) {
	eachRoot(t, testAdoptUser)
}

func testAdoptUser(t *testing.T, root string) {
	t.Parallel()
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{Root: root})
	h, name, comment := connect(t, sandboxed, sandbox.SudoNone), sandboxed.UserName(), "loads, nightly"
	want := NewUser{Name: name, Comment: &comment}
	if _, _, err := AdoptUser(ctx, h, want); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before it was made: %v", err)
	}
	made, err := CreateUser(ctx, h, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ change, undo, refusal string }{
		{"", "", ""},
		// busybox's ls writes a question mark for a line break.
		{`touch "/home/$1/$(printf 'a\nb')"`, `rm "/home/$1"/a*`, `its home directory holds "a`},
		{`mkdir "/home/$1/.ssh"`, `rmdir "/home/$1/.ssh"`, `its home directory holds ".ssh"`},
		{`sed -i "/^$1:/s/,terraform-provider-stitch:/,another:/" /etc/passwd`, `sed -i "/^$1:/s/,another:/,terraform-provider-stitch:/" /etc/passwd`, "lacks the provider's mark"},
		{`sed -i "/^$1:/s,:/bin/sh$,:/bin/false," /etc/passwd`, `sed -i "/^$1:/s,:/bin/false$,:/bin/sh," /etc/passwd`, `shell is "/bin/false"`},
		{`sed -i "/^root:/s/\$/,$1/; /^root:/s/:,/:/" /etc/group`, `sed -i "/^root:/s/,\?$1\$//" /etc/group`, `it is a member of group "root"`},
		{`printf '%s:%s\n' "$1" '$6$x$y' | chpasswd -e`, `printf '%s:*\n' "$1" | chpasswd -e`, "it has a password"},
		{`rmdir "/home/$1"`, "", ""}, // repaired
		{"", "", ""},
	} {
		sandboxed.Exec(t, tt.change, name)
		adopted, refusals, err := AdoptUser(ctx, h, want)
		found := slices.ContainsFunc(refusals, func(line string) bool { return strings.Contains(line, tt.refusal) })
		switch {
		case err != nil:
			t.Errorf("%s: %v", tt.change, err)
		case tt.refusal != "" && !found:
			t.Errorf("%s: refused because of %q, want %q", tt.change, refusals, tt.refusal)
		case tt.refusal == "" && (len(refusals) > 0 || !cmp.Equal(adopted, made, cmp.AllowUnexported(User{}, fileFacts{}))):
			t.Errorf("%s: refused because of %q\n%+v\n%+v", tt.change, refusals, adopted, made)
		}
		sandboxed.Exec(t, tt.undo, name)
	}
}

// The script of a dead client may still be making the user when the next client finds it. That
// client waits until the user is complete, and does not repair it before.
func TestAdoptUserMeanwhile(t *testing.T) {
	t.Parallel()
	ctx, sandboxed := t.Context(), sandbox.SSHHost(t, sandbox.HostConfig{})
	h, name := connect(t, sandboxed, sandbox.SudoNone), sandboxed.UserName()
	// The home directory is made once a client has read the user three times, or when a client
	// makes it itself.
	sandboxed.Exec(t, `
		mv /bin/mkdir /bin/mkdir.real && mv /usr/bin/id /usr/bin/id.real
		cat >/bin/mkdir <<'END'
#!/bin/sh
if (set -C && : >/root/making) 2>/dev/null; then
	until [ "$(wc -l </root/looks)" -ge 3 ] || [ -e /root/repaired ]; do sleep 0.05; done
	exec /bin/mkdir.real "$@"
fi
/bin/mkdir.real "$@" && : >/root/repaired
END
		printf '#!/bin/sh\necho >>/root/looks\nexec /usr/bin/id.real "$@"\n' >/usr/bin/id
		: >/root/looks
		chmod 755 /bin/mkdir /usr/bin/id`)
	made := make(chan error, 1)
	go func() {
		_, err := CreateUser(ctx, h, NewUser{Name: name})
		made <- err
	}()
	for found := false; !found; { // it is in /etc/passwd before it has a home directory
		_, err := ReadUser(ctx, h, name)
		if found = err == nil; err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	adopted, refusals, err := AdoptUser(ctx, h, NewUser{Name: name})
	if err != nil || refusals != nil || adopted.Problems() != nil {
		t.Errorf("adopted %+v, refused because of %q, %v", adopted, refusals, err)
	}
	if err := <-made; err != nil {
		t.Errorf("whoever made it was disturbed: %v", err)
	}
}

func TestAdoptedKeyRefusals(t *testing.T) {
	key, err := ParsePublicKey(ed25519Key + " stitch")
	if err != nil {
		t.Fatal(err)
	}
	want := AuthorizedKey{Username: "stitch", PublicKey: key, Options: []string{"restrict", `permitopen="a:1"`}}
	for line, refusals := range map[string][]string{
		`restrict,permitopen="a:1" ` + ed25519Key + " stitch": nil,
		`restrict ` + ed25519Key + " stitch":                  {`the options are [restrict], not [restrict, permitopen="a:1"]`},
		ed25519Key:                                            {`the options are [], not [restrict, permitopen="a:1"]`, `the comment of the key is "", not "stitch"`},
		`restrict,permitopen="a:1" ` + ed25519Key + " eve":    {`the comment of the key is "eve", not "stitch"`},
	} {
		found, ok := parseKeyLine(line)
		if !ok {
			t.Fatal(line)
		}
		if got := want.refusals(found); !slices.Equal(got, refusals) {
			t.Errorf("%s\n got %q\nwant %q", line, got, refusals)
		}
	}
}

// A key is adopted as AddAuthorizedKey left it, but not the one that Terraform is logged in with.
func TestAdoptAuthorizedKey(t *testing.T) {
	t.Parallel()
	ctx, sandboxed := t.Context(), sandbox.SharedSSHHost(t, sandbox.HostConfig{})
	h, name := connect(t, sandboxed, sandbox.SudoNone), sandboxed.UserName()
	newUser(t, h, name)
	key, _ := newKey(t, "stitch")
	k := AuthorizedKey{Username: name, PublicKey: key, Options: []string{"restrict"}}
	if _, err := AdoptAuthorizedKey(ctx, h, k); !errors.Is(err, ErrNotFound) {
		t.Errorf("before it was added: %v", err)
	}
	if err := AddAuthorizedKey(ctx, h, k); err != nil {
		t.Fatal(err)
	}
	if refusals, err := AdoptAuthorizedKey(ctx, h, k); err != nil || refusals != nil {
		t.Errorf("refused because of %q, %v", refusals, err)
	}
	k.Options = nil
	if refusals, err := AdoptAuthorizedKey(ctx, h, k); err != nil || !slices.Equal(refusals, []string{"the options are [restrict], not []"}) {
		t.Errorf("refused because of %q, %v", refusals, err)
	}
	text, err := h.LoginKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own, ok := parseKeyLine(text)
	if !ok {
		t.Fatal(text)
	}
	if refusals, err := AdoptAuthorizedKey(ctx, h, AuthorizedKey{Username: "root", PublicKey: own.key}); err != nil || !slices.Equal(refusals, []string{"ssh_hosts.bastion logs in with this key"}) {
		t.Errorf("refused because of %q, %v", refusals, err)
	}
}
