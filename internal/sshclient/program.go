package sshclient

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Command is a program and the data that it works on.
type Command struct {
	Script string            // POSIX sh, a constant; its exit status and standard output are the answer
	Data   map[string]string // shell variables that it sees, but what it runs does not; any text without zero bytes
	User   string            // whom it runs as; "" is root
	Limit  time.Duration     // how long it may run; 0 stands for 10 minutes
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

// becoming runs a program as another user. Run by root, runuser and su ask for no password,
// and the user's own shell, which may be nologin, is not used. Where there is runuser, the
// user's account or password may have expired.
const becoming = `become=su
if command -v runuser >/dev/null; then become=runuser; fi
printf '%s' "$program" | "$become" -s /bin/sh -c 'exec /bin/sh -s' -- "$user"`

// as returns the program that runs p as another user, for root to run.
func (p program) as(user string) (program, error) {
	outer, err := newProgram(becoming, map[string]string{"program": p.text, "user": user})
	if err != nil {
		return program{}, err
	}
	outer.nonce = p.nonce // what is looked for is what p says
	return outer, nil
}

// answer returns what the script wrote, its exit status, and whether it begun
// and whether this is all of it.
func (p program) answer(output []byte) (answer []byte, status int, begun, complete bool) {
	_, rest, begun := bytes.Cut(output, []byte("\nbegin "+p.nonce+"\n"))
	if !begun {
		return nil, 0, false, false
	}
	end := []byte("\nend " + p.nonce + " ")
	last := bytes.LastIndex(rest, end)
	if last < 0 {
		return nil, 0, true, false
	}
	line, _, whole := bytes.Cut(rest[last+len(end):], []byte("\n"))
	status, err := strconv.Atoi(string(line))
	if !whole || err != nil {
		return nil, 0, true, false
	}
	return rest[:last], status, true, true
}
