package linux

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// A keyLine is a line of authorized_keys that sshd reads as a key.
type keyLine struct {
	number  int // from 1
	options []string
	key     PublicKey
}

// A DuplicateError says that a file holds a key more than once, so that it is unclear which line is
// meant.
type DuplicateError struct {
	Fingerprint string
	Path        string
	Lines       []int
}

func (e *DuplicateError) Error() string {
	numbers := make([]string, len(e.Lines))
	for i, n := range e.Lines {
		numbers[i] = fmt.Sprint(n)
	}
	return fmt.Sprintf("the key %s is in %s more than once, in lines %s: remove all but one of these lines by hand",
		e.Fingerprint, e.Path, strings.Join(numbers, " and "))
}

// keyLines returns the lines that hold a key.
func keyLines(content string) (lines []keyLine) {
	number := 0
	for text := range strings.SplitAfterSeq(content, "\n") {
		number++
		if line, ok := parseKeyLine(text); ok {
			line.number = number
			lines = append(lines, line)
		}
	}
	return lines
}

// findKey returns the line of a key, or nil if there is none.
func findKey(content, path string, key PublicKey) (*keyLine, error) {
	var found []keyLine
	for _, line := range keyLines(content) {
		if line.key.Same(key) {
			found = append(found, line)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return &found[0], nil
	}
	duplicate := &DuplicateError{Fingerprint: key.Fingerprint(), Path: path}
	for _, line := range found {
		duplicate.Lines = append(duplicate.Lines, line.number)
	}
	return nil, duplicate
}

// parseKeyLine reads a line as sshd does: a key, or options and then a key.
func parseKeyLine(text string) (line keyLine, ok bool) {
	text, _, _ = strings.Cut(strings.TrimRight(text, "\r\n"), "\x00") // sshd ends the line there
	text = strings.TrimLeft(text, blanks)
	if strings.HasPrefix(text, "#") {
		return keyLine{}, false
	}
	if line.key, ok = parseKey(text); ok {
		return line, true
	}
	end, ok := optionsEnd(text)
	if !ok {
		return keyLine{}, false
	}
	line.options = splitOptions(text[:end])
	line.key, ok = parseKey(strings.TrimLeft(text[end:], blanks))
	return line, ok
}

// optionsEnd returns the position of the first blank outside of quotes.
func optionsEnd(text string) (end int, ok bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '"':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(blanks, text[i]) >= 0:
			return i, true
		}
	}
	return 0, false
}

// parseKey reads a type, base64 that holds a key of that type, and a comment. It accepts a weak
// key, too: the line exists.
func parseKey(text string) (key PublicKey, ok bool) {
	name, rest := cutBlank(text)
	blob, comment := cutBlank(rest)
	wire, err := base64.StdEncoding.DecodeString(blob)
	if err != nil || name == "" {
		return PublicKey{}, false
	}
	parsed, err := ssh.ParsePublicKey(wire)
	if err != nil || parsed.Type() != name {
		return PublicKey{}, false
	}
	return PublicKey{Type: name, Blob: base64.StdEncoding.EncodeToString(wire), Comment: comment}, true
}

// line renders a line, without its end.
func (k AuthorizedKey) line() string {
	if len(k.Options) == 0 {
		return k.PublicKey.String()
	}
	return joinOptions(k.Options) + " " + k.PublicKey.String()
}

// withKey returns content with one more line. Existing lines stay byte for byte; the last one gets
// a line end if it has none.
func withKey(content, path string, k AuthorizedKey) (string, error) {
	found, err := findKey(content, path, k.PublicKey)
	if err != nil {
		return "", err
	}
	if found != nil {
		return "", fmt.Errorf("the key %s %w in line %d of %s: import it, or remove that line", k.PublicKey.Fingerprint(), ErrExists, found.number, path)
	}
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	return content + k.line() + "\n", nil
}

// withChangedKey returns content with the line of the key replaced. If k has no comment, the line
// keeps its own.
func withChangedKey(content, path string, k AuthorizedKey) (string, error) {
	found, err := findKey(content, path, k.PublicKey)
	if err != nil {
		return "", err
	}
	if found == nil {
		return "", fmt.Errorf("the key %s in %s: %w", k.PublicKey.Fingerprint(), path, ErrNotFound)
	}
	if k.PublicKey.Comment == "" {
		k.PublicKey.Comment = found.key.Comment
	}
	if SameOptions(k.Options, found.options) && k.PublicKey.Comment == found.key.Comment {
		return content, nil
	}
	lines := strings.SplitAfter(content, "\n")
	old := lines[found.number-1]
	lines[found.number-1] = k.line() + old[len(strings.TrimRight(old, "\r\n")):]
	return strings.Join(lines, ""), nil
}

// withoutKey returns content without the line of the key.
func withoutKey(content, path string, key PublicKey) (string, error) {
	found, err := findKey(content, path, key)
	if err != nil || found == nil {
		return content, err
	}
	lines := strings.SplitAfter(content, "\n")
	lines[found.number-1] = ""
	return strings.Join(lines, ""), nil
}
