package linux

import (
	"slices"
	"strings"
	"testing"
)

// Whatever a file holds: adding and removing a key restores it, and changing a key leaves all other
// lines unchanged.
func FuzzEditKeys(f *testing.F) {
	for _, line := range otherLines {
		f.Add(line+securityKey+"\n", "laptop", `command="a"`)
		f.Add(ed25519Key+"\n"+line, "", "")
	}
	f.Fuzz(func(t *testing.T, content, comment, option string) {
		key, err := ParsePublicKey(ed25519Key + " " + comment)
		if err != nil {
			return
		}
		k := AuthorizedKey{PublicKey: key}
		if option != "" {
			k.Options = []string{option}
		}
		if k.check() != nil {
			return
		}
		found, err := findKey(content, "", key)
		if err != nil {
			return
		}
		if found == nil {
			added, err := withKey(content, "", k)
			if err != nil {
				t.Fatal(err)
			}
			if rest, ok := strings.CutPrefix(added, content); !ok || strings.Count(strings.TrimPrefix(rest, "\n"), "\n") != 1 {
				t.Fatalf("added %q", added)
			}
			removed, err := withoutKey(added, "", key)
			if err != nil || removed != content && removed != content+"\n" {
				t.Fatalf("removed: %q, %v", removed, err)
			}
			content = added
		}
		changed, err := withChangedKey(content, "", k)
		if err != nil {
			t.Fatal(err)
		}
		found, err = findKey(changed, "", key)
		if err != nil || found == nil || !SameOptions(k.Options, found.options) || comment != "" && found.key.Comment != key.Comment {
			t.Fatalf("changed: %q, %+v, %v", changed, found, err)
		}
		before, after := strings.SplitAfter(content, "\n"), strings.SplitAfter(changed, "\n")
		before[found.number-1], after[found.number-1] = "", ""
		if !slices.Equal(before, after) {
			t.Fatalf("other lines of %q became %q", content, changed)
		}
	})
}

// An accepted option is one option, also to a reader of the line.
func FuzzOptions(f *testing.F) {
	for option := range optionCases {
		f.Add(option, "restrict")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		options := []string{a, b}
		if CheckOptions(options) != nil {
			return
		}
		line := AuthorizedKey{Options: options, PublicKey: PublicKey{Type: "ssh-ed25519", Blob: strings.Fields(ed25519Key)[1]}}.line()
		if strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("more than a line: %q", line)
		}
		read, ok := parseKeyLine(line)
		if !ok || len(read.options) != 2 || !SameOptions(options, read.options) || !slices.Contains(read.options, a) || !slices.Contains(read.options, b) {
			t.Fatalf("%q was read as %+v", line, read)
		}
	})
}
