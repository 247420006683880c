package sshclient

import (
	"os/exec"
	"strings"
	"testing"
)

// hostile are texts with a meaning to shells and their tools.
var hostile = []string{
	"", "plain", "'", "''", `'\''`, `"`, "`id`", "$(touch /tmp/pwned)", "a;b", "a|b", "a&b", "%s%n", "-rf", "--", "*", "~root", "$HOME", "${IFS}", `\`, `\n`, `a\`,
	"two\nlines", "\n", "trailing\n\n", "\r\n", " blanks  ", "\ttab", "ünïcödé", "日本", "\x01\x02\x7f\x80\x81\x82\x83\x84\x88\xff\xfe", "'; exit 3; '", "EOF", "}\nmain() {", "!!",
	strings.Repeat("long'\n", 20_000),
}

func TestProgram(t *testing.T) {
	all := make([]byte, 0, 255)
	for b := 1; b < 256; b++ {
		all = append(all, byte(b))
	}
	for _, text := range append(hostile, string(all)) {
		p, err := newProgram(`printf '%s' "$text"; printf 'noise' >&2; cat; return 7`, map[string]string{"text": text, "other": "'"})
		if err != nil {
			t.Fatal(err)
		}
		sh := exec.Command("/bin/sh", "-s")
		sh.Stdin = strings.NewReader(p.text)
		output, err := sh.Output()
		if err != nil {
			t.Fatal(err)
		}
		answer, status, begun, complete := p.answer(append([]byte("Welcome!\nend x 0\n"), output...))
		if string(answer) != text || status != 7 || !begun || !complete {
			t.Errorf("%.50q arrives as %.50q, status %d, %v %v", text, answer, status, begun, complete)
		}
	}
}

func TestProgramRefuses(t *testing.T) {
	for name, data := range map[string]map[string]string{
		"a zero byte":    {"a": "\x00"},
		"no name":        {"": ""},
		"code as a name": {"a;id": ""},
		"a variable":     {"PATH": "/tmp"},
	} {
		if _, err := newProgram("", data); err == nil {
			t.Errorf("%s: there is no error", name)
		}
	}
}

// A program that is cut anywhere does nothing, or its answer is incomplete.
func TestProgramCut(t *testing.T) {
	p, err := newProgram("echo done", map[string]string{"text": "it's\nhere"})
	if err != nil {
		t.Fatal(err)
	}
	for length := range len(p.text) - 1 {
		sh := exec.Command("/bin/sh", "-s")
		sh.Stdin = strings.NewReader(p.text[:length])
		output, _ := sh.Output() // it may be a syntax error
		if _, _, _, complete := p.answer(output); complete && length < len(p.text)-2 {
			t.Fatalf("cut after %d of %d bytes it is complete: %q", length, len(p.text), output)
		}
	}
}

func TestAnswer(t *testing.T) {
	p := program{nonce: "N"}
	for name, tt := range map[string]struct {
		output, answer  string
		status          int
		begun, complete bool
	}{
		"whole":             {"\nbegin N\nx\n\nend N 0\n", "x\n", 0, true, true},
		"noise around":      {"hi\nbegin N\nx\nend N 3\nbye", "x", 3, true, true},
		"empty":             {"\nbegin N\n\nend N 0\n", "", 0, true, true},
		"nothing":           {"", "", 0, false, false},
		"only noise":        {"hello\n", "", 0, false, false},
		"another's":         {"\nbegin M\nx\nend M 0\n", "", 0, false, false},
		"cut in the answer": {"\nbegin N\nx", "", 0, true, false},
		"cut in the end":    {"\nbegin N\nx\nend N ", "", 0, true, false},
		"cut in the status": {"\nbegin N\nx\nend N 1", "", 0, true, false},
		"no status":         {"\nbegin N\nx\nend N \n", "", 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			answer, status, begun, complete := p.answer([]byte(tt.output))
			if string(answer) != tt.answer || status != tt.status || begun != tt.begun || complete != tt.complete {
				t.Errorf("%q %d %v %v", answer, status, begun, complete)
			}
		})
	}
}
