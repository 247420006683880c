package linux

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// otherLines are lines that a file may hold: all of them stay unchanged.
var otherLines = []string{
	"", "\n", "# comment\n", "#" + ed25519Key + "\n", "nonsense\r\n", "\t  \n", securityKey + " other\n", "  \t" + securityKey + "\tother\r\n",
	`command="echo \"a b\", # ` + ed25519Key + `" ` + securityKey + "\n", "ssh-ed25519 AAAA broken\n", "restrict\n", `command="never closed ` + ed25519Key + "\n",
	"\x00\xff\n", "nonsense " + ed25519Key[:50] + "\n", "ssh-rsa " + strings.Fields(ed25519Key)[1] + " of another type\n",
}

func ours(t testing.TB, comment string, options ...string) AuthorizedKey {
	t.Helper()
	key, err := ParsePublicKey(ed25519Key + " " + comment)
	if err != nil {
		t.Fatal(err)
	}
	return AuthorizedKey{Username: "stitch", PublicKey: key, Options: options}
}

func TestEditKeys(t *testing.T) {
	for i, before := range otherLines {
		for j, after := range otherLines {
			t.Run(fmt.Sprint(i, " ", j), func(t *testing.T) { testEditKeys(t, before, after) })
		}
	}
}

// testEditKeys edits one key of a file. No other byte changes.
func testEditKeys(t *testing.T, before, after string) {
	k := ours(t, "laptop", "port-forwarding", "restrict", `permitopen="a:1"`)
	line := `restrict,port-forwarding,permitopen="a:1" ` + ed25519Key + " laptop\n"
	added, err := withKey(before, "file", k)
	ended := before
	if before != "" && !strings.HasSuffix(before, "\n") {
		ended += "\n"
	}
	if err != nil || added != ended+line {
		t.Fatalf("added: %q, %v", added, err)
	}
	content := added + after
	found, err := findKey(content, "file", k.PublicKey)
	if err != nil || found == nil || !SameOptions(k.Options, found.options) || found.key.Comment != "laptop" {
		t.Fatalf("found: %+v, %v", found, err)
	}
	if same, err := withChangedKey(content, "file", k); err != nil || same != content {
		t.Errorf("changed into itself: %q, %v", same, err)
	}
	changed, err := withChangedKey(content, "file", ours(t, ""))
	if err != nil || changed != ended+ed25519Key+" laptop\n"+after {
		t.Errorf("changed: %q, %v", changed, err)
	}
	if _, err := withKey(content, "file", ours(t, "another")); !errors.Is(err, ErrExists) {
		t.Errorf("added again: %v", err)
	}
	removed, err := withoutKey(content, "file", k.PublicKey)
	if err != nil || removed != ended+after {
		t.Errorf("removed: %q, %v", removed, err)
	}
	var duplicate *DuplicateError
	twice := content + "\n" + ed25519Key
	for name, edit := range map[string]func() (string, error){
		"add":    func() (string, error) { return withKey(twice, "file", k) },
		"change": func() (string, error) { return withChangedKey(twice, "file", k) },
		"remove": func() (string, error) { return withoutKey(twice, "file", k.PublicKey) },
	} {
		if text, err := edit(); text != "" && name != "remove" || !errors.As(err, &duplicate) || len(duplicate.Lines) != 2 {
			t.Errorf("%s of two: %q, %v", name, text, err)
		}
	}
}

func TestParseKeyLine(t *testing.T) {
	for name, tt := range map[string]struct {
		line    string
		options []string
		comment string
		none    bool
	}{
		"plain":                 {line: ed25519Key},
		"comment":               {line: ed25519Key + " a  b\r\n", comment: "a  b"},
		"tabs":                  {line: "\t" + strings.ReplaceAll(ed25519Key, " ", "\t \t") + "\tx", comment: "x"},
		"options":               {line: `restrict,from="a b,c" ` + ed25519Key, options: []string{"restrict", `from="a b,c"`}},
		"escaped quote":         {line: `command="a \" b" ` + ed25519Key, options: []string{`command="a \" b"`}},
		"unknown option":        {line: `nonsense=,, ` + ed25519Key, options: []string{"nonsense=", "", ""}},
		"commented out":         {line: "# " + ed25519Key, none: true},
		"open quote":            {line: `command="a ` + ed25519Key, none: true},
		"in a comment":          {line: "x y " + ed25519Key, none: true},
		"ends at the zero byte": {line: "x\x00 " + ed25519Key, none: true},
		"zero byte after it":    {line: ed25519Key + " a\x00b", comment: "a"},
		"empty":                 {line: "\n", none: true},
	} {
		t.Run(name, func(t *testing.T) {
			line, ok := parseKeyLine(tt.line)
			if ok == tt.none {
				t.Fatalf("is a key: %t", ok)
			}
			if ok && (!slices.Equal(line.options, tt.options) || line.key.Comment != tt.comment || line.key.Blob != strings.Fields(ed25519Key)[1]) {
				t.Errorf("got %+v", line)
			}
		})
	}
}

func TestChooseKeysFile(t *testing.T) {
	for name, tt := range map[string]struct {
		home, setting string
		want          string // the path, or a part of the error
		directory     string
	}{
		"default":         {"/home/a", ".ssh/authorized_keys .ssh/authorized_keys2", "/home/a/.ssh/authorized_keys", ".ssh"},
		"of the home":     {"/home/a", "%h/keys/%u", "/home/a/keys/a", "keys"},
		"in the home":     {"/home/a", "keys", "/home/a/keys", ""},
		"second":          {"/home/a", "/etc/ssh/keys/%u .ssh/%U", "/home/a/.ssh/1001", ".ssh"},
		"percent":         {"/home/a", ".ssh/%%u", "/home/a/.ssh/%u", ".ssh"},
		"outside":         {"/home/a", "/etc/ssh/keys/%u", "not below the home directory", ""},
		"leads out":       {"/home/a", "../b/.ssh/authorized_keys", "not below the home directory", ""},
		"looks alike":     {"/home/a", "/home/ab/keys", "not below the home directory", ""},
		"none":            {"/home/a", "none", "no file", ""},
		"root":            {"/root/", ".ssh/authorized_keys", "/root/.ssh/authorized_keys", ".ssh"},
		"home of nothing": {"/", ".ssh/authorized_keys", "/.ssh/authorized_keys", ".ssh"},
	} {
		f, err := chooseKeysFile("a", 1001, tt.home, strings.Fields(tt.setting))
		switch {
		case err != nil && !strings.Contains(err.Error(), tt.want):
			t.Errorf("%s: %v", name, err)
		case err == nil && (f.path() != tt.want || f.directory != tt.directory):
			t.Errorf("%s: %+v", name, f)
		}
	}
}
