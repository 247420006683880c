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
	Data   map[string]string // shell variables, which the programs that it starts do not see; any text without zero bytes
	User   string            // the user to run as; "" is root
	Limit  time.Duration     // how long it may run; 0 means 10 minutes
}

var variable = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// A program is the text that is sent to a shell: a command between two marks that no other program
// writes, because login shells and PAM may write, too.
type program struct {
	text  string
	nonce string
}

// newProgram quotes data in the one way that holds for any text. The script is a function that the
// last line calls: a truncated one does nothing.
func newProgram(script string, data map[string]string) (program, error) {
	nonce := rand.Text()
	var b strings.Builder
	b.WriteString("LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport LC_ALL PATH\nunset CDPATH ENV BASH_ENV\numask 077\n")
	for _, name := range slices.Sorted(maps.Keys(data)) {
		value := data[name]
		if !variable.MatchString(name) {
			return program{}, fmt.Errorf("%q is not a variable name", name)
		}
		if strings.ContainsRune(value, 0) {
			return program{}, fmt.Errorf("%s holds a zero byte", name)
		}
		fmt.Fprintf(&b, "%s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	fmt.Fprintf(&b, "main() {\n%s\n}\nprintf '\\n%%s\\n' 'begin %s'\n(main </dev/null)\nprintf '\\n%%s %%s\\n' 'end %s' \"$?\"\n", script, nonce, nonce)
	return program{text: b.String(), nonce: nonce}, nil
}

// becoming runs a program as another user. When root runs them, runuser and su ask for no password.
// They do not use the user's own shell, which may be nologin. With runuser, the user's account or
// password may have expired.
const becoming = `become=su
if command -v runuser >/dev/null; then become=runuser; fi
printf '%s' "$program" | "$become" -s /bin/sh -c 'exec /bin/sh -s' -- "$user"`

// as returns the program that runs p as another user, for root to run.
func (p program) as(user string) (program, error) {
	outer, err := newProgram(becoming, map[string]string{"program": p.text, "user": user})
	if err != nil {
		return program{}, err
	}
	outer.nonce = p.nonce // the mark to look for is p's
	return outer, nil
}

// answer returns the output of the script, its exit status, and whether the script began and
// whether this is its complete output.
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
