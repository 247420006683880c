package sshclient

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Command is a program and the data that it works on.
type Command struct {
	Script string            // POSIX sh, a constant; its exit status and standard output are the answer
	Data   map[string]string // shell variables that it sees, but what it runs does not; any text without zero bytes
	User   string            // whom it runs as; "" is root
}

var variable = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// A program is what a shell is sent: a command between two lines that nothing
// else writes, as login shells and PAM may have something to say too.
type program struct {
	text  string
	nonce string
}

// newProgram quotes data in the one way that holds for any text. The script is a
// function that is called in the last line: one that is cut short does nothing.
func newProgram(script string, data map[string]string) (program, error) {
	nonce := rand.Text()
	var b strings.Builder
	b.WriteString("LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport LC_ALL PATH\nunset CDPATH ENV BASH_ENV\numask 077\n")
	for _, name := range slices.Sorted(maps.Keys(data)) {
		value := data[name]
		if !variable.MatchString(name) {
			return program{}, fmt.Errorf("%q is no name of a variable", name)
		}
		if strings.ContainsRune(value, 0) {
			return program{}, fmt.Errorf("%s holds a zero byte", name)
		}
		fmt.Fprintf(&b, "%s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	fmt.Fprintf(&b, "main() {\n%s\n}\nprintf '\\n%%s\\n' 'begin %s'\n(main </dev/null)\nprintf '\\n%%s %%s\\n' 'end %s' \"$?\"\n", script, nonce, nonce)
	return program{text: b.String(), nonce: nonce}, nil
}

// becoming runs a program as another user. Run by root, su asks for no password,
// and the user's own shell, which may be nologin, is not used.
const becoming = `printf '%s' "$program" | su -s /bin/sh -c 'exec /bin/sh -s' "$user"`

// as returns the program that runs p as another user, for root to run.
func (p program) as(user string) (program, error) {
	outer, err := newProgram(becoming, map[string]string{"program": p.text, "user": user})
	if err != nil {
		return program{}, err
	}
	outer.nonce = p.nonce // what is looked for is what p says
	return outer, nil
}

var errIncomplete = errors.New("its answer is not complete")

// answer returns what the script wrote, and its exit status.
func (p program) answer(output []byte) (answer []byte, status int, err error) {
	_, rest, ok := bytes.Cut(output, []byte("\nbegin "+p.nonce+"\n"))
	if !ok {
		return nil, 0, errIncomplete
	}
	answer, rest, ok = bytes.Cut(rest, []byte("\nend "+p.nonce+" "))
	if !ok {
		return nil, 0, errIncomplete
	}
	line, _, ok := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return nil, 0, errIncomplete
	}
	status, err = strconv.Atoi(string(line))
	return answer, status, err
}
